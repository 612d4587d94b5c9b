"""The wire form of records: what is written stays readable, and what was damaged never comes back wrong."""

import itertools
import re
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import IntegrityError
from satchel.backend.record import (
    DEADLINE_OFFSET,
    HEADER_SIZE,
    Record,
    checksum_of,
    new_version,
    pack,
    pack_deadline,
    pack_in_two,
    unpack,
    unpack_outcome,
    unpack_pieces,
)
from satchel.clock import NEVER
from tests.golden.records import RECORDS, VERSION, path_of

SMALL = [
    Record(b'{"a":1}', 1, VERSION, 1700000000.25).sealed(),
    Record(b"abc", 0, VERSION, 1700000000.25, 1700003600.25).sealed(("c", "kéy")),
    Record(b"", 0, VERSION, 0.0).sealed(),
]


def read(wire):
    record = unpack(wire)
    record.verify()
    return msgspec.structs.replace(record, checksum=None)


@pytest.mark.parametrize("name", RECORDS)
def test_golden_files_are_read_and_written(name):
    wire = path_of(name).read_bytes()
    assert read(wire) == RECORDS[name]
    assert pack(RECORDS[name]) == wire


def test_every_golden_record_is_known():
    assert {path.name for path in path_of("x").parent.glob("record-*.bin")} == {path_of(name).name for name in RECORDS}


names = st.none() | st.tuples(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
records = st.builds(
    Record,
    payload=st.binary(max_size=200),
    codec=st.integers(0, 255),
    version=st.binary(min_size=16, max_size=16).map(bytes.hex),
    updated_at=st.floats(0, 1e11),
    deadline=st.floats(0, 1e11) | st.just(NEVER),
    names=names,
)


@given(records)
def test_what_is_packed_is_unpacked(record):
    assert read(pack(record)) == read(pack(record.sealed(record.names))) == record


@given(records, st.floats(0, 1e11) | st.just(NEVER))
def test_a_touch_replaces_twelve_bytes(record, deadline):
    wire = pack(record)
    touched = wire[:DEADLINE_OFFSET] + pack_deadline(deadline) + wire[DEADLINE_OFFSET + 12 :]
    assert len(touched) == len(wire)
    assert read(touched) == msgspec.structs.replace(record, deadline=deadline)
    assert touched == pack(msgspec.structs.replace(record, deadline=deadline))


@pytest.mark.parametrize("record", SMALL, ids=["json", "names", "empty"])
def test_every_flipped_bit_is_noticed(record):
    wire = pack(record)
    for bit in range(len(wire) * 8):
        damaged = bytearray(wire)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            read(bytes(damaged))


@pytest.mark.parametrize("record", SMALL, ids=["json", "names", "empty"])
def test_every_truncation_and_every_addition_is_noticed(record):
    wire = pack(record)
    for length in range(len(wire)):
        with pytest.raises(IntegrityError):
            read(wire[:length])
    with pytest.raises(IntegrityError):
        read(wire + b"\0")


@given(st.binary(max_size=100))
def test_foreign_bytes_are_refused(wire):
    with pytest.raises(IntegrityError):
        read(wire)


def test_a_foreign_entry_is_called_one():
    with pytest.raises(IntegrityError, match="something else wrote it"):
        unpack(b"x" * 100)


def test_a_future_format_says_to_upgrade():
    with pytest.raises(IntegrityError, match=r"format 2.*reads format 1.*upgrade"):
        unpack(b"\x89S\x02" + pack(SMALL[0])[3:])


@pytest.mark.parametrize("change", [{"version": "not hexadecimal"}, {"version": "00"}, {"codec": 256}, {"codec": -1}])
def test_a_header_that_cannot_be_is_damage(change):
    # A document engine keeps the header as fields, which others can change.
    with pytest.raises(IntegrityError):
        msgspec.structs.replace(SMALL[0], **change).verify()


def test_a_damaged_item_is_an_outcome_and_not_an_exception():
    assert isinstance(unpack_outcome(b"?"), IntegrityError)
    assert unpack_outcome(None) is None
    assert unpack_outcome(pack(SMALL[0])) == msgspec.structs.replace(SMALL[0], checksum=None)


def test_small_wires_are_checked_at_once_and_large_ones_when_they_are_decoded():
    small, large = (bytearray(pack(Record(b"x" * size, 0, VERSION, 0.0))) for size in (100, 100_000))
    small[-1] ^= 1
    large[-1] ^= 1
    with pytest.raises(IntegrityError):
        unpack(bytes(small))
    record = unpack(bytes(large))
    with pytest.raises(IntegrityError):
        record.verify()


def test_an_unsealed_record_is_not_checked():
    Record(b"anything", 1, "any version", 0.0).verify()


def test_the_worked_example_of_the_documentation_is_right():
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    example = re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0]
    wire = bytes.fromhex("".join(line.partition(" # ")[0] for line in example.splitlines()))
    assert wire == path_of("json-deadline").read_bytes()
    assert f"{HEADER_SIZE} bytes" in text


def test_versions_are_32_hexadecimal_digits_and_differ():
    versions = [new_version() for _ in range(10_000)]
    assert len(set(versions)) == 10_000
    assert all(re.fullmatch("[0-9a-f]{32}", version) for version in versions)


def test_versions_differ_between_threads():
    made = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda out=out: out.extend(new_version() for _ in range(5000))) for out in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(itertools.chain(*made))) == 20_000


def test_versions_differ_after_a_fork():
    # In a process of its own: one with threads must not fork.
    program = (
        "import os; from satchel.backend.record import new_version\n"
        "new_version(); child = os.fork()\n"
        "os.write(1, ''.join(new_version() + '\\n' for _ in range(50)).encode())\n"
        "if child: os.waitpid(child, 0)"
    )
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert len(set(made)) == len(made) == 100


EACH_SMALL = pytest.mark.parametrize("record", SMALL, ids=["json", "names", "empty"])
NAMED = SMALL[1]


def damage(function, *arguments):
    """Return how a function calls what it was given damaged."""
    with pytest.raises(IntegrityError) as caught:
        function(*arguments)
    start, _, what = str(caught.value).partition(": ")
    assert start == "a stored entry is damaged or not satchel's"
    return what


@EACH_SMALL
def test_a_seal_holds_for_what_was_sealed_alone(record):
    record.verify()
    assert damage(msgspec.structs.replace(record, payload=b"another").verify) == "its checksum does not match"
    assert damage(msgspec.structs.replace(record, names=("c", "other")).verify) == "its checksum does not match"
    assert damage(msgspec.structs.replace(record, codec=256).verify) == "its header has a value that none can have"


@EACH_SMALL
def test_damage_between_sealing_and_packing_is_not_sealed_anew(record):
    damaged = msgspec.structs.replace(record, payload=b"another")
    assert damage(unpack, pack(damaged)) == "its checksum does not match"
    assert damage(unpack, b"".join(pack_in_two(damaged))) == "its checksum does not match"


@EACH_SMALL
def test_header_and_payload_together_are_what_is_packed(record):
    for each in (record, msgspec.structs.replace(record, checksum=None)):
        header, payload = pack_in_two(each)
        assert header + payload == pack(each)
        assert payload is each.payload


@EACH_SMALL
def test_a_record_in_pieces_is_read_as_a_whole_one(record):
    wire = pack(msgspec.structs.replace(record, payload=b"0123456789" * 10, checksum=None))
    at = len(wire) - 90
    whole = unpack_pieces([wire[:at], wire[at : at + 30], wire[at + 30 :]])
    whole.verify()
    assert msgspec.structs.replace(whole, checksum=None) == read(wire)


def test_the_beginning_of_a_wire_is_an_outcome_too():
    head = unpack_outcome(pack(NAMED)[:-1], whole=False)
    assert (head.names, head.updated_at, head.deadline) == (NAMED.names, NAMED.updated_at, NAMED.deadline)


def test_a_checksum_from_the_parts_is_that_of_the_record():
    parts = NAMED.payload, NAMED.codec, bytes.fromhex(NAMED.version), NAMED.updated_at, NAMED.names
    assert checksum_of(*parts) == NAMED.checksum


def with_header(wire, offset, byte):
    """Return a wire with a byte of its header changed, and sealed again by one who knows the format."""
    changed = wire[:offset] + bytes([byte]) + wire[offset + 1 :]
    checksum = zlib.crc32(changed[HEADER_SIZE:], zlib.crc32(changed[:DEADLINE_OFFSET]))
    return changed[:42] + struct.pack(">I", checksum) + changed[HEADER_SIZE:]


@pytest.mark.parametrize(
    ("offset", "byte", "found"), [(2, 2, "2 with flags 0"), (4, 2, "1 with flags 2"), (5, 1, "1 w")]
)
def test_what_a_newer_release_wrote_says_to_upgrade(offset, byte, found):
    what = damage(unpack, with_header(pack(SMALL[0]), offset, byte))
    assert what.startswith(f"it has format {found}")
    assert what.endswith(
        ", this release reads format 1 with flags 0 and 1; if a newer release wrote it, upgrade this one"
    )


@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (b"?", "1 bytes are too few for an entry"),
        (b"?" * 46, "it does not start as an entry of satchel's does; something else wrote it"),
        (pack(NAMED)[:30] + b"\1" + pack(NAMED)[31:], "the checksum of its deadline does not match"),
        (pack(NAMED)[:-1] + b"?", "its checksum does not match"),
        (pack(NAMED)[:47], "its names cannot be read"),
        (pack(NAMED)[:50], "its names cannot be read"),
        (pack(NAMED)[:52], "it ends within its names"),
    ],
)
def test_damage_is_described(wire, what):
    assert damage(unpack, wire) == what


def test_two_processes_make_different_versions():
    sources = [type(new_version)() for _ in range(2)]
    versions = [source() for source in sources for _ in range(3)]
    sources[0].renew()
    versions.append(sources[0]())
    assert len(set(versions)) == 7
    assert all(re.fullmatch("[0-9a-f]{32}", version) for version in versions)


@pytest.mark.parametrize(
    "names", [("", "k"), ("c", ""), ("c" * 4097, "k"), ("c", "k" * 4097)], ids=["collection", "key", "long", "longer"]
)
def test_names_that_no_entry_can_have_are_damage(names):
    wire = pack(Record(b"1", 1, VERSION, 0.0, NEVER, names))
    assert damage(unpack, wire) == "its names are none that an entry can have"


def test_a_sealed_record_has_the_names_it_was_sealed_with():
    sealed = msgspec.structs.replace(NAMED, names=None, checksum=None).sealed(NAMED.names)
    assert sealed == NAMED
    sealed.verify()
