"""The writer of the crash rounds: `python -m tests.crash.writer MODE MODULE:CLASS SEED OPTIONS`.

It writes until it is killed. Each key belongs to one task, so that the journal knows the order of what is done to it.
"""

import asyncio
import importlib
import json
import random
import sys
import time

from satchel import SupportsEverything
from tests.crash.harness import begin, done

COLLECTIONS = ("a", "B/..")
TASKS = 4
SIZES = (0, 10, 3000, 100_000)


async def changes(store: SupportsEverything, chance: random.Random) -> None:
    """Puts, deletes, touches and replaces entries, one by one and in batches."""
    await asyncio.gather(*[_change_for_ever(store, chance, str(task)) for task in range(TASKS)])


async def destroys(store: SupportsEverything, chance: random.Random) -> None:
    """Fills the store and destroys it, or a collection of it, again and again."""
    held: dict[str, dict[str, object]] = {}
    while True:
        for collection in COLLECTIONS:
            held[collection] = {f"{number}": _value(chance) for number in range(20)}
            await _put_many(store, collection, held[collection])
        whole = chance.random() < 0.5
        gone = [(name, key, None) for name in held for key in held[name] if whole or name == COLLECTIONS[0]]
        begin(*gone)
        await (store.destroy() if whole else store.destroy_collection(COLLECTIONS[0]))
        done(*gone)


async def culls(store: SupportsEverything, chance: random.Random) -> None:
    """Lets entries expire and culls them, beside entries that stay."""
    while True:
        stay = {f"{number}": _value(chance) for number in range(10)}
        await _put_many(store, "stay", stay)
        await store.put_many("go", {f"{number}": _value(chance) for number in range(50)}, ttl=0.001)
        await asyncio.sleep(0.002)
        await store.cull()


async def evicts(store: SupportsEverything, chance: random.Random) -> None:
    """Puts more than a store with a small `max_size` holds."""
    await asyncio.gather(*[_fill_for_ever(store, chance, str(task)) for task in range(TASKS)])


async def _change_for_ever(store: SupportsEverything, chance: random.Random, task: str) -> None:
    while True:
        collection, key, value = chance.choice(COLLECTIONS), f"{task}-{chance.randrange(5)}", _value(chance)
        match chance.choice(("put", "put_many", "delete", "touch", "compare_and_put", "put_if_absent")):
            case "put":
                begin((collection, key, value))
                await store.put(collection, key, value)
                done((collection, key, value))
            case "put_many":
                await _put_many(store, collection, {f"{task}-{number}": _value(chance) for number in range(5)})
            case "delete":
                begin((collection, key, None))
                await store.delete(collection, key)
                done((collection, key, None))
            case "touch":
                await store.touch(collection, key, ttl=1000)
            case "compare_and_put":
                entry = await store.get_entry(collection, key)
                begin((collection, key, value))
                version = entry and await store.compare_and_put(collection, key, value, version=entry.version)
                done((collection, key, value if version else await store.get(collection, key)))
            case "put_if_absent":
                begin((collection, key, value))
                version = await store.put_if_absent(collection, key, value)
                done((collection, key, value if version else await store.get(collection, key)))


async def _put_many(store: SupportsEverything, collection: str, items: dict[str, object]) -> None:
    entries = [(collection, key, value) for key, value in items.items()]
    begin(*entries)
    await store.put_many(collection, items)
    done(*entries)


async def _fill_for_ever(store: SupportsEverything, chance: random.Random, task: str) -> None:
    while True:
        collection, key, value = chance.choice(COLLECTIONS), f"{task}-{chance.randrange(20)}", _value(chance)
        begin((collection, key, value))
        await store.put(collection, key, value)
        done((collection, key, value))


def _value(chance: random.Random) -> list[object]:
    return [time.monotonic_ns(), chance.choice("abc") * chance.choice(SIZES)]


def main() -> None:
    mode, name, seed, options = sys.argv[1:]
    module, _, kind = name.partition(":")
    store = getattr(importlib.import_module(module), kind)(**json.loads(options))
    asyncio.run(globals()[mode](store, random.Random(int(seed))))


if __name__ == "__main__":
    main()
