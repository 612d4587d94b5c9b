"""Archives of entries: an entry, an error of one entry, or an error that the archive is damaged."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from satchel import (
    ConfigurationError,
    IntegrityError,
    MemoryStore,
    SerializationError,
    ValueTooLargeError,
    ZipStore,
    write_zip,
)
from tests.fuzz.harness import run

INPUTS = 500
TOKENS = [
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"satchel 1"),
    *(b"\xff\xff\xff\xff", b"\0\0", b"/", b"\x01"),
]
LARGEST = 1 << 20
_FOLDER = tempfile.TemporaryDirectory(prefix="satchel-fuzz-")
_PATH = Path(_FOLDER.name, "archive.zip")


@cache
def seeds() -> Sequence[bytes]:
    return [archive({"k": 1}), archive({"k": b"x" * 2000}), archive({"a": "b", "b/c": [1] * 50}), archive({})]


def archive(values: dict[str, object]) -> bytes:
    _PATH.unlink(missing_ok=True)
    run(write(values))
    return _PATH.read_bytes()


async def write(values: dict[str, object]) -> None:
    async with MemoryStore() as store:
        await store.put_many("c", values)
        await write_zip(store, _PATH)


def check(data: bytes) -> None:
    _PATH.write_bytes(data)
    run(read())


async def read() -> None:
    with suppress(IntegrityError, ConfigurationError):
        async with ZipStore(_PATH, max_value_bytes=LARGEST) as store:
            async for collection in store.collections():
                async for key in store.keys(collection):
                    with suppress(IntegrityError, SerializationError, ValueTooLargeError):
                        await store.get_entry(collection, key)
