"""Exports as JSON lines: entries that a store takes, or an error with the number of the line."""

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from satchel import ConfigurationError, MemoryStore, SatchelError
from satchel.cli.export_format import batches, entry_line, first_line, last_line, without_expired
from satchel.copying import EntryWriter
from tests.fuzz.harness import run

GOLDEN = Path(__file__).parents[2] / "golden/export/version-1.jsonl"
FIELDS = ("collection", "key", "version", "updated_at", "expires_at", "value", "bytes", "entries", "satchel-export")
TOKENS = [
    *(f'"{field}":'.encode() for field in FIELDS),
    *(b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59-23:59"', b'"2030-01-31T12:00:00Z"', b"null", b"1", b"-1"),
    *(b"[" * 200, b'"\xff"', b'"\\ud800"', b"\n", b'{"entries":1}', b"1e309", b"9" * 30, b'""', b"{}", b","),
]


def seeds() -> Sequence[bytes]:
    lines = GOLDEN.read_bytes().splitlines(keepends=True)
    single = [first_line() + line + last_line(1) for line in lines[1:-1] if len(line) < 1000]
    return [*single, first_line() + last_line(0)]


def check(data: bytes) -> None:
    # Most inputs break the first line or the last, and then what is between them is not looked at.
    middle = b"".join(data.splitlines(keepends=True)[1:-1])
    for file in (data, first_line() + middle + last_line(middle.count(b"\n"))):
        found = []
        with suppress(ConfigurationError):
            found = list(batches(io.BytesIO(file), "file", 4096))
        for batch in found:
            for collection, entries in batch.items():
                run(load(collection, without_expired(entries)))


async def load(collection: str, entries: dict) -> None:
    store = MemoryStore()
    outcomes = await EntryWriter(store, "always", False).write(collection, entries)
    assert outcomes.keys() == entries.keys()
    for key, outcome in outcomes.items():
        assert outcome is True or isinstance(outcome, SatchelError)
        if outcome is True and (entry := await store.get_entry(collection, key)) is not None:
            assert entry.value == entries[key].value
            again = first_line() + entry_line(collection, key, entry) + last_line(1)
            (batch,) = batches(io.BytesIO(again), "file", 4096)
            assert batch[collection][key].value == entry.value
