"""The messages of entries: their form does not change, names come back, damage and strangers are refused."""

from pathlib import Path

import msgspec
import pytest

from satchel import IntegrityError
from satchel.backend.record import Record
from satchel.names import Ref
from satchel.stores.nats.layout import HEADER, Layout, decode, encode
from satchel.testing.conformance.cases import LEGAL_NAMES

GOLDEN = Path(__file__).parents[2] / "golden" / "nats"
VERSION = "00112233445566778899aabbccddeeff"
LAYOUT = Layout("cache")

GOLDEN_ENTRIES: dict[str, tuple[Ref, Record]] = {
    "json": (("users", "ada"), Record(b'{"name":"Ada","born":1815}', 1, VERSION, 1700000000.25)),
    "json-deadline": (("users", "bob"), Record(b"[1,2.5,null]", 1, VERSION, 1700000000.25, 1700003600.2501)),
    "bytes": (("a/b%", "c.d e=é"), Record(bytes(range(256)), 0, VERSION, 0.0)),
    "long-names": (("é" * 2048, "k" * 4096), Record(b"null", 1, VERSION, 1700000000.25)),
}


def written(ref: Ref, record: Record) -> bytes:
    header, payload = encode(record.sealed(LAYOUT.hidden(ref)))
    return b"\n".join((LAYOUT.subject(ref).encode(), f"{HEADER}: {header}".encode(), payload))


@pytest.mark.parametrize("name", GOLDEN_ENTRIES)
def test_a_message_has_the_form_it_had_in_every_release(name: str) -> None:
    ref, record = GOLDEN_ENTRIES[name]
    golden = (GOLDEN / f"{name}.message").read_bytes()
    assert written(ref, record) == golden
    subject, header, payload = golden.split(b"\n", 2)
    read = decode(header.decode().removeprefix(f"{HEADER}: "), payload)
    assert msgspec.structs.replace(read, names=None) == record
    assert LAYOUT.ref_of(subject.decode(), read) == ref


def test_two_names_never_have_one_subject() -> None:
    refs = [(collection, key) for collection in LEGAL_NAMES for key in list(LEGAL_NAMES)[::8]]
    refs += [
        ("a.b", "c"),
        ("a", "b.c"),
        ("a=2eb", "c"),
        ("*", "c"),
        (">", "c"),
        ("a", "*"),
        ("a b", "\r\n"),
        ("a", "="),
    ]
    subjects = {LAYOUT.subject(ref) for ref in refs}
    assert len(subjects) == len(set(refs))
    for ref in refs:
        subject = LAYOUT.subject(ref)
        assert subject.count(".") == 3
        assert not set(subject) & set("*> \t\r\n%")
        assert LAYOUT.ref_of(subject, Record(b"1", 1, VERSION, 1.0, names=LAYOUT.hidden(ref))) == ref


@pytest.mark.parametrize("header", [None, "", "AAAA", "not base64!", "=", "é"])
def test_what_satchel_did_not_write_is_refused(header: str | None) -> None:
    with pytest.raises(IntegrityError):
        decode(header, b"1")


def test_a_changed_value_is_refused() -> None:
    header, _ = encode(Record(b"1", 1, VERSION, 1.0))
    with pytest.raises(IntegrityError, match="checksum"):
        decode(header, b"2")


def test_a_message_under_the_subject_of_another_is_not_listed() -> None:
    long = Record(b"1", 1, VERSION, 1.0, names=("c", "k" * 4096))
    assert LAYOUT.ref_of(LAYOUT.subject(("c", "other")), long) is None


def write_missing() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, entry in GOLDEN_ENTRIES.items():
        file = GOLDEN / f"{name}.message"
        if not file.exists():
            file.write_bytes(written(*entry))


if __name__ == "__main__":
    write_missing()
