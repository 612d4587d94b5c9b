"""Many threads on one `SyncStore`: each keeps a dict beside its part of a collection, and all count together."""

import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from satchel import DiskStore, FileTreeStore, MemoryStore
from satchel.stores.redis import RedisStore
from satchel.sync import SyncStore
from tests.servers import server_url

THREADS = 8


def redis_store(place: Path) -> Any:
    return RedisStore(server_url("redis"), prefix=f"sync-{uuid.uuid4().hex}")


STORES = [
    pytest.param(lambda place: MemoryStore(), id="memory"),
    pytest.param(DiskStore, id="disk"),
    pytest.param(FileTreeStore, id="filetree"),
    pytest.param(redis_store, id="redis", marks=pytest.mark.server("redis")),
]


def do_at_random(store: SyncStore, seed: int, steps: int) -> None:
    """Use this thread's part of one collection as a dict, beside a dict, and count in a shared entry."""
    choose = random.Random(seed)
    mapping, model = store.collection("shared").as_mapping(), dict[str, Any]()
    for step in range(steps):
        key = f"{seed}:{choose.randrange(6)}"
        match choose.randrange(10):
            case 0 | 1 | 2:
                mapping[key] = model[key] = choose.choice([None, step, [step], {"step": step}, b"bytes"])
            case 3:
                new = {f"{seed}:{number}": step for number in range(choose.randrange(4))}
                mapping.update(new)
                model.update(new)
            case 4:
                assert mapping.pop(key, "absent") == model.pop(key, "absent")
            case 5:
                assert mapping.setdefault(key, step) == model.setdefault(key, step)
            case 6:
                assert (key in mapping) is (key in model)
                if key in model:
                    del mapping[key], model[key]
                else:
                    with pytest.raises(KeyError):
                        del mapping[key]
            case 7:
                mine = {name for name in mapping if name.startswith(f"{seed}:")}
                assert mine == set(model)
            case 8:
                assert {name: value for name, value in mapping.items() if name.startswith(f"{seed}:")} == model
            case 9:
                increment(store)
        assert mapping.get(key, "absent") == model.get(key, "absent")


def increment(store: SyncStore) -> None:
    while True:
        entry = store.get_entry("counters", "c")
        if entry is None:
            version = store.put_if_absent("counters", "c", 1)
        else:
            version = store.compare_and_put("counters", "c", entry.value + 1, version=entry.version)
        if version is not None:
            return


@pytest.mark.parametrize("make", STORES)
def test_8_threads_use_one_store_as_dicts(make: Callable[[Path], Any], tmp_path: Path) -> None:
    with SyncStore(make(tmp_path)) as store, ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(do_at_random, store, seed, 100) for seed in range(THREADS)]:
            done.result()
        store.destroy()


@pytest.mark.parametrize("make", STORES)
def test_8_threads_lose_no_increment(make: Callable[[Path], Any], tmp_path: Path) -> None:
    def work() -> None:
        for _ in range(15):
            increment(store)
            numbers.update("u", lambda count: count + 1, initial=0)

    with SyncStore(make(tmp_path)) as store, ThreadPoolExecutor(THREADS) as pool:
        numbers = store.collection("counters", model=int)
        for done in [pool.submit(work) for _ in range(THREADS)]:
            done.result()
        assert store.get_many("counters", ["c", "u"]) == {"c": 15 * THREADS, "u": 15 * THREADS}
        store.destroy()
