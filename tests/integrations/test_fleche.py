"""Calls that fleche 0.22.2 recorded in files, moved into satchel's."""

import gzip
import shutil
from collections import UserDict
from pathlib import Path

import pytest

from satchel import MemoryStore
from satchel.content import Calls, ContentStore, memoize
from satchel.errors import IntegrityError
from satchel.integrations.fleche import FlecheCall, copy_fleche, read_fleche

FILES = Path(__file__).parents[1] / "golden" / "fleche"
RESULT = {"energy": 150.0, "path": [1, (2, "three"), {"deep": [None, True]}], 7: []}


@pytest.fixture
def calls():
    return Calls(ContentStore(MemoryStore()))


async def never(*args, **named):
    raise AssertionError("it ran")


async def simulate(steps, options=None, *more, **named):
    await never()


async def greet(name, verbose=False):
    await never()


async def test_memoized_functions_find_the_calls_as_their_own(calls):
    assert await copy_fleche(read_fleche(FILES), calls) == 3  # the result of a fourth was evicted
    memoized = memoize(calls, name="study.simulate", version=2)(simulate)
    assert await memoized(100, {"seed": 7, "dense": [True, None]}, 1, 2, extra=[3]) == RESULT
    assert (await memoized(steps=200))["energy"] == 300.0
    assert await memoize(calls, name="study.greet", ignore=["verbose"])(greet)("Ada", verbose=False) == "hello Ada"
    call = await calls.query(tags={"project": "alpha", "n": 1}).only()
    assert (await call.arguments())["more"] == (1, 2)
    assert call.metadata["runtime"]["seconds"] == pytest.approx(0.0177, abs=0.001)
    assert call.recorded_at == pytest.approx(call.metadata["runtime"]["ended_at"])
    assert await copy_fleche(read_fleche(FILES), calls) == 3
    assert await calls.query().count() == 3


def test_compressed_and_signed_files_are_read(tmp_path):
    shutil.copytree(FILES, tmp_path / "cache")
    for number, path in enumerate(sorted((tmp_path / "cache").rglob("*"))):
        if path.is_file():
            data = path.read_bytes() + b"0" * 64  # a signature
            path.write_bytes(gzip.compress(data) if number % 2 else data)
    (tmp_path / "cache" / "calls" / ".tmp").write_bytes(b"")
    assert list(read_fleche(tmp_path / "cache")) == list(read_fleche(FILES))


def test_a_damaged_file_is_refused(tmp_path):
    shutil.copytree(FILES, tmp_path / "cache")
    next((tmp_path / "cache" / "calls").iterdir()).write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match=r"fleche's file \w{12} cannot be read"):
        list(read_fleche(tmp_path / "cache"))


async def test_calls_of_a_query_of_fleche_itself_are_moved(calls):
    class Gone(UserDict):
        def __getitem__(self, name):
            raise KeyError("evicted")

    found = [
        FlecheCall("f", None, None, {"x": 1}, "result", {"git": {"commit": None}}),
        FlecheCall("f", "module", "1.0", Gone(x=1), "result", {}),
    ]
    assert await copy_fleche(found, calls) == 1
    call = await calls.query(fn="f").only()
    assert (await call.result(), dict(call.metadata)) == ("result", {"git": {"commit": None}})
