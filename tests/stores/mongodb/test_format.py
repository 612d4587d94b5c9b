"""The documents of entries: their form does not change, values come back exactly, damage and strangers are refused."""

from pathlib import Path
from typing import Any

import bson
import msgspec
import pytest
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument

from satchel import IntegrityError
from satchel.backend.record import Record
from satchel.clock import NEVER
from satchel.names import Ref
from satchel.stores.mongodb.document import (
    LARGEST_VALUE,
    document_id,
    names_in,
    range_of,
    read_document,
    write_document,
)
from satchel.testing.conformance.cases import ACCEPTED_VALUES, LEGAL_NAMES, identical, nested

GOLDEN = Path(__file__).parents[2] / "golden" / "mongodb"
VERSION = "00112233445566778899aabbccddeeff"
LONG = "k" * 4096

GOLDEN_ENTRIES: dict[str, tuple[Ref, Record]] = {
    "json": (("users", "ada"), Record(b'{"name":"Ada","born":1815}', 1, VERSION, 1700000000.25)),
    "json-deadline": (("users", "bob"), Record(b"[1,2.5,null,4294967296]", 1, VERSION, 1700000000.25, 1700003600.2501)),
    "json-encoded": (("users", "$"), Record(b'{"$set":1,"a.b":2}', 1, VERSION, 1700000000.25)),
    "bytes": (("a/b%", "c/d"), Record(bytes(range(256)), 0, VERSION, 0.0)),
    "msgpack": (("users", "\0"), Record(b"\x81\xa4name\xa3Ada", 2, VERSION, 1700000000.25)),
    "long-names": (("é" * 2048, LONG), Record(b"null", 1, VERSION, 1700000000.25)),
}


def written(ref: Ref, record: Record) -> bytes:
    return write_document(document_id(ref), record.sealed()).raw


def stored(value: Any) -> dict[str, Any]:
    payload = msgspec.json.encode(value)
    return bson.decode(written(("c", "k"), Record(payload, 1, VERSION, 1700000000.25)))


def changed(**fields: Any) -> bytes:
    document = {**stored({"n": 1}), **fields}
    return bson.encode({name: value for name, value in document.items() if value is not ...})


@pytest.mark.parametrize("name", GOLDEN_ENTRIES)
def test_a_document_has_the_form_it_had_in_every_release(name: str) -> None:
    ref, record = GOLDEN_ENTRIES[name]
    golden = (GOLDEN / f"{name}.bson").read_bytes()
    assert written(ref, record) == golden
    found, read = read_document(golden)
    assert names_in(found) == ref
    assert isinstance(read, Record)
    read.verify()
    assert read == record.sealed()


@pytest.mark.parametrize("theme", ACCEPTED_VALUES)
def test_every_accepted_value_comes_back_exactly(theme: str) -> None:
    for value in ACCEPTED_VALUES[theme]:
        codec, payload = (0, value) if type(value) is bytes else (1, msgspec.json.encode(value))
        _, read = read_document(written(("c", "k"), Record(payload, codec, VERSION, 1.0)))
        assert isinstance(read, Record)
        read.verify()
        assert read.payload == payload
        assert codec == 0 or identical(msgspec.json.decode(read.payload), value)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 2**63 - 1, -0.0, "a\0b", [], {}, {"": 1, "_id": 2}, {"b": {"a": [1, {"c": 2.0}]}}, nested(90)],
)
def test_a_value_that_bson_keeps_exactly_is_native(value: Any) -> None:
    document = stored(value)
    assert "payload" not in document
    assert document["value"] == value


@pytest.mark.parametrize(
    "value", [{"$set": 1}, {"a": [{"b.c": 1}]}, {"a\0": 1}, {"$ref": "a", "$id": 1}, nested(91), nested(100, dict)]
)
def test_a_value_that_mongodb_would_read_more_into_is_kept_encoded(value: Any) -> None:
    document = stored(value)
    assert "value" not in document
    assert msgspec.json.decode(document["payload"]) == value


def test_a_value_that_is_too_large_as_bson_is_kept_encoded() -> None:
    assert "payload" in stored([1] * 2_000_000)


def test_json_that_would_not_be_written_the_same_again_is_kept_encoded() -> None:
    for payload in (b'{"a":1,"a":2}', b"18446744073709551615"):
        document = bson.decode(written(("c", "k"), Record(payload, 1, VERSION, 1.0)))
        assert document["payload"] == payload


def test_the_largest_value_fits_with_the_longest_names() -> None:
    raw = written(("/" * 4096, "é" * 2048), Record(bytes(LARGEST_VALUE), 0, VERSION, 1700000000.25, 1800000000.5))
    assert len(raw) <= 16 * 1024 * 1024


def test_two_names_never_have_one_id() -> None:
    refs = [(collection, key) for collection in LEGAL_NAMES for key in LEGAL_NAMES]
    refs += [("a%2fb", "c"), ("a/b", "c"), ("a", "b/c"), ("a%252fb", "c"), ("a%25", "2fb/c")]
    names = {document_id(ref): ref for ref in refs}
    assert len(names) == len(set(refs))
    assert all(names_in(name) == ref for name, ref in names.items())


@pytest.mark.parametrize("prefix", ["", "a", "a/", "\ud7ff", "\U0010ffff", "a\U0010ffff\U0010ffff", "\0"])
def test_a_range_has_exactly_the_keys_with_a_prefix(prefix: str) -> None:
    bounds = range_of("c/d", prefix)
    first, end = bounds["$gte"].encode(), bounds["$lt"].encode()
    for key in (*LEGAL_NAMES, prefix or "x", prefix + "\U0010ffff" * 3, prefix + "\0", "\ue000", "b"):
        for collection in ("c/d", "c", "c/", "c/d/", "c/d0", "c/e"):
            inside = first <= document_id((collection, key)).encode() < end
            assert inside is (collection == "c/d" and key.startswith(prefix)), (collection, key)


@pytest.mark.parametrize(
    "fields",
    [
        {"value": {"n": 2}},
        {"value": {"n": 1.0}},
        {"value": {"n": Int64(2)}},
        {"value": {"n": bson.ObjectId(b"\0" * 12)}},
        {"value": ...},
        {"codec": "1"},
        {"codec": 999},
        {"checksum": None},
        {"version": "x" * 32},
        {"updated_at": 1},
        {"deadline": "never"},
        {"deadline": ...},
        {"deadline": float("nan")},
    ],
)
def test_a_change_by_hand_is_refused(fields: dict[str, Any]) -> None:
    _, read = read_document(changed(**fields))
    if isinstance(read, Record):
        with pytest.raises(IntegrityError):
            read.verify()
    else:
        assert "changed" in str(read)


def test_a_deadline_may_be_changed_by_hand() -> None:
    _, read = read_document(changed(deadline=1800000000))
    assert isinstance(read, Record)
    read.verify()
    assert read.deadline == 1800000000.0


def test_a_number_that_another_tool_wrote_wider_is_the_same_number() -> None:
    _, read = read_document(changed(value={"n": Int64(1)}))
    assert isinstance(read, Record)
    read.verify()
    assert read.payload == b'{"n":1}'


def test_what_satchel_did_not_write_says_so() -> None:
    _, stranger = read_document(changed(satchel=...))
    _, newer = read_document(changed(satchel=2))
    assert "not an entry" in str(stranger)
    assert "coll_name" in str(stranger)
    assert "upgrade" in str(newer)


def test_a_deadline_has_a_date_for_the_server_that_is_not_before_it() -> None:
    raw = written(("c", "k"), Record(b"1", 1, VERSION, 1.0, 1700000000.0001))
    assert bson.decode(raw)["expire_at"].timestamp() >= 1700000000.0001
    assert "expire_at" not in RawBSONDocument(written(("c", "k"), Record(b"1", 1, VERSION, 1.0, NEVER)))


def write_missing() -> None:
    for name, entry in GOLDEN_ENTRIES.items():
        file = GOLDEN / f"{name}.bson"
        if not file.exists():
            file.write_bytes(written(*entry))


if __name__ == "__main__":
    write_missing()
