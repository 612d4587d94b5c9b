"""A program that forks with an open store: `python -m tests.stores.forking URL`, or `--given KIND URL` for a client.

Parent and child go on with the same store object, on the loop that the parent had before and on new ones. What the two
are to do at once is ordered by pipes, so that nothing depends on how fast they are.
"""

import asyncio
import os
import sys
import uuid
import warnings

from satchel import StoreError, open_store

KEYS = [f"k{number}" for number in range(50)]
COLLECTION = f"c{uuid.uuid4().hex[:8]}"

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)


async def fill(store):
    await asyncio.gather(*[store.put(COLLECTION, key, f"value of {key}") for key in KEYS])


async def look(store):
    for _ in range(10):
        found = await asyncio.gather(*[store.get(COLLECTION, key) for key in KEYS])
        assert found == [f"value of {key}" for key in KEYS], found
        await store.put(COLLECTION, f"of {os.getpid()}", "mine")
        assert await store.get(COLLECTION, f"of {os.getpid()}") == "mine"


def is_refused(loop, store):
    try:
        loop.run_until_complete(asyncio.wait_for(store.get(COLLECTION, "k1"), 50))
    except StoreError as error:
        text = str(error)
        assert "fork" in text, text
        assert "new event loop" in text, text
        return True
    return False


def be_child(loop, store, ready, go):
    belongs_to_no_loop = type(store).__name__ == "MemoryStore"
    assert is_refused(loop, store) != belongs_to_no_loop
    asyncio.run(look(store))
    os.write(ready, b"1")
    os.read(go, 1)  # the parent has gone on meanwhile
    asyncio.run(look(store))
    loop_of_its_own = asyncio.new_event_loop()
    loop_of_its_own.run_until_complete(look(store))
    loop_of_its_own.run_until_complete(store.aclose())
    loop_of_its_own.close()


def main(url):
    store = open_store(url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(fill(store))
    (waiting, ready), (go, gone) = os.pipe(), os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            be_child(loop, store, ready, go)
            sys.exit(0)  # with all that the end of an interpreter does
        children.append(child)
    os.read(waiting, 1)
    loop.run_until_complete(look(store))
    os.write(gone, b"12")
    loop.run_until_complete(look(store))
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    loop.run_until_complete(look(store))
    if type(store).__name__ != "MemoryStore":
        for child in children:
            assert loop.run_until_complete(store.get(COLLECTION, f"of {child}")) == "mine"
    loop.run_until_complete(store.aclose())
    loop.close()
    sys.stdout.write("right\n")


if __name__ == "__main__":
    main(sys.argv[1])
