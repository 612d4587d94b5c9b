"""Entries for the tests of a disk store's file, and ways to look at the file from outside."""

import sqlite3
from contextlib import closing
from pathlib import Path

from satchel.stores.disk import DiskStore

ENTRIES: dict[tuple[str, str], object] = {
    ("users", "ada"): {"name": "Ada", "age": 36, "tags": [1, 2.5, None, True, "ü"]},
    ("users", "../x\0\n%"): "text",
    ("users", "bytes"): b"\x00\xff",
    ("users", "empty"): b"",
    ("sessions", "for an hour"): None,
    ("large", "text"): "x" * 5_000,
    ("large", "bytes"): bytes(range(256)) * 300,
}


async def fill(store: DiskStore) -> None:
    for (collection, key), value in ENTRIES.items():
        await store.put(collection, key, value, ttl=3600 if collection == "sessions" else None)


async def contents(store: DiskStore) -> dict[tuple[str, str], object]:
    return {
        (collection, key): await store.get(collection, key, "absent")
        async for collection in store.collections()
        async for key in store.keys(collection)
    }


def listed(directory: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in directory.glob(pattern))


def open_file(directory: Path) -> closing[sqlite3.Connection]:
    """Open the file for a `with`, whose end closes it also where an assertion fails: `with connection:` would not."""
    return closing(sqlite3.connect(directory / "satchel.sqlite3", isolation_level=None))
