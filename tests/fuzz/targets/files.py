"""Files of trees and branches, as people edit them: an entry, or an error that says what is wrong."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from satchel import IntegrityError
from satchel.backend.record import Record
from satchel.backend.serializer import RecordSerializer
from satchel.clock import NEVER, as_datetime
from satchel.stores._documents import (
    head_of_document,
    read_committed_document,
    read_document,
    read_head,
    write_document,
)

GOLDEN = Path(__file__).parents[2] / "golden/filetree/tree"
REF = ("users", "ada")
MOMENT = 1_700_000_000_250_000_000
FIELDS = ("satchel", "expires_at", "collection", "key", "version", "updated_at", "saved_at", "checksum", "value")
TOKENS = [
    *(f'"{field}": '.encode() for field in FIELDS),
    *(b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59-23:59"', b'"2030-01-31T12:00:00Z"', b"null", b"1", b"-1"),
    *(b"[" * 200, b'"\xff"', b'"\\ud800"', b"\xef\xbb\xbf", b"1e309", b"9" * 400),
]
_SERIALIZER = RecordSerializer(None, checksums="record", max_bytes=None)


def seeds() -> Sequence[bytes]:
    records = [Record(b'{"name":"Ada"}', 1, "ab" * 16, 1.5, deadline).sealed(REF) for deadline in (NEVER, 2e9)]
    golden = [path.read_bytes() for path in sorted(GOLDEN.rglob("*.json"))]
    return [*golden, *(write_document(REF, record, MOMENT) for record in records), b'{"satchel": 1, "value": [1, 2]}']


def check(data: bytes) -> None:
    head_of_document(data)
    read_head(data[:200])
    for read in (lambda: read_document(REF, data, MOMENT), lambda: read_committed_document(REF, data)):
        with suppress(IntegrityError):
            record = read()
            _SERIALIZER.decode(record)
            as_datetime(record.updated_at)
            if record.deadline != NEVER:
                as_datetime(record.deadline)
                write_document(REF, record.sealed(REF), MOMENT)
