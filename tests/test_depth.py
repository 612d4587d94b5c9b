"""How many functions of satchel a value goes through from `put` to the driver and back, on a store that is warm."""

import gc
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import satchel
from satchel import DiskStore, MemoryStore, RedisStore
from satchel.wrappers import BaseWrapper, PrefixKeysWrapper, StatisticsWrapper, TieredStore
from tests.servers import server_url

SOURCE = str(Path(satchel.__file__).parent)
INLINED = {"<listcomp>", "<dictcomp>", "<setcomp>"}
"""What Python 3.11 calls as functions, and later ones do not."""


class Recording:
    """Functions of satchel that are called, in all threads; a coroutine counts once, however often it goes on."""

    def __init__(self):
        self.functions = []
        self.is_on = False
        self._frames = []

    def __call__(self, frame, event, _):
        code = frame.f_code
        if not self.is_on or event != "call" or not code.co_filename.startswith(SOURCE) or code.co_name in INLINED:
            return
        if not any(frame is seen for seen in self._frames):
            self._frames.append(frame)
            self.functions.append(f"{Path(code.co_filename).relative_to(SOURCE)} {code.co_qualname}")


@contextmanager
def recording():
    recorded, before = Recording(), sys.getprofile()
    threading.setprofile(recorded)  # for the threads that a store starts
    sys.setprofile(recorded)
    try:
        yield recorded
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


STACKS = {
    "MemoryStore": (lambda _: MemoryStore(), 5),
    "DiskStore": (DiskStore, 31),
    "BaseWrapper over MemoryStore": (lambda _: BaseWrapper(MemoryStore()), 5),
    "PrefixKeysWrapper over MemoryStore": (lambda _: PrefixKeysWrapper(MemoryStore(), prefix="p"), 10),
    "StatisticsWrapper over DiskStore": (lambda path: StatisticsWrapper(DiskStore(path)), 32),
    "TieredStore over two MemoryStores": (lambda _: TieredStore(MemoryStore(), MemoryStore()), 50),
    "RedisStore": (lambda path: RedisStore(server_url("redis"), prefix=path.name), 35),
}


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.server("redis") if "Redis" in name else ()) for name in STACKS]
)
async def test_a_put_goes_through_few_functions(name, tmp_path):
    make, most = STACKS[name]
    with recording() as recorded:
        async with make(tmp_path) as store:
            for _ in range(3):
                await store.put("c", "k", {"a": 1})
            gc.collect()
            gc.disable()  # what other tests have left must not be finalized within the put
            recorded.is_on = True
            await store.put("c", "k", {"a": 1})
            recorded.is_on = False
            gc.enable()
    files = {function.split()[0] for function in recorded.functions}
    shown = [f"{name}: {len(recorded.functions)} functions in {len(files)} files", *recorded.functions]
    print(*shown, sep="\n  ")  # noqa: T201  # pytest shows it with -s, or when the bound is passed
    assert 0 < len(recorded.functions) <= most
