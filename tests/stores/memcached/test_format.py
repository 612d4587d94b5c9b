"""What is written under which key stays as it is: what any release wrote is read by every later one."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.backend.record import Record, pack
from satchel.clock import NEVER
from satchel.stores.memcached import MemcachedStore
from satchel.stores.memcached.store import MAX_KEY, Layout
from satchel.testing import FakeClock
from tests.golden.records import VERSION
from tests.stores.memcached.wire import raw, shared_port, store_raw

GOLDEN = Path(__file__).parents[2] / "golden" / "memcached"
KEYS = json.loads((GOLDEN / "keys.json").read_text("utf-8"))
PREFIX = "golden"
AT = 1700000000.25
ENTRIES = {
    "plain": (("users", "ada"), {"name": "Ada"}, Record(b'{"name":"Ada"}', 1, VERSION, AT)),
    "deadline": (("users", "a b|c"), [1, 2.5, None], Record(b"[1,2.5,null]", 1, VERSION, AT, AT + 3600)),
    "bytes": (("files", "é"), b"\0\r\nEND\r\n", Record(b"\0\r\nEND\r\n", 0, VERSION, AT)),
    "hashed": (("users", "k" * 200), True, Record(b"true", 1, VERSION, AT, NEVER, ("users", "k" * 200))),
    "hashed-collection": (("c" * 4096, "k"), True, Record(b"true", 1, VERSION, AT, NEVER, ("c" * 4096, "k"))),
}


@pytest.mark.parametrize(("collection", "key", "written"), KEYS)
def test_golden_keys_are_written(collection: str, key: str, written: str) -> None:
    assert Layout(PREFIX).key((collection, key)).decode() == written


@pytest.mark.parametrize("name", ENTRIES)
def test_golden_entries_are_written(name: str) -> None:
    ref, _, record = ENTRIES[name]
    assert Layout(PREFIX).hidden_names(ref) == record.names
    assert pack(record) == (GOLDEN / f"{name}.bin").read_bytes()


def test_every_golden_file_is_known() -> None:
    assert {path.stem for path in GOLDEN.glob("*.bin")} == set(ENTRIES)


@pytest.mark.server("memcached")
@pytest.mark.parametrize("name", ENTRIES)
async def test_golden_entries_are_read(name: str) -> None:
    ref, value, record = ENTRIES[name]
    key = next(written for collection, key, written in KEYS if (collection, key) == ref)
    store_raw(shared_port(), key.encode(), (GOLDEN / f"{name}.bin").read_bytes())
    async with MemcachedStore(port=shared_port(), prefix=PREFIX, clock=FakeClock(AT + 1)) as store:
        entry = await store.get_entry(*ref)
    assert entry is not None
    assert entry.value == value
    assert entry.version == VERSION
    assert entry.updated_at.timestamp() == AT
    assert (entry.expires_at is None) == (record.deadline == NEVER)


@pytest.mark.server("memcached")
async def test_what_a_store_writes_is_the_format() -> None:
    async with MemcachedStore(port=shared_port(), prefix="written", clock=FakeClock(AT)) as store:
        await store.put("users", "ada", {"name": "Ada"})
        entry = await store.get_entry("users", "ada")
    assert entry is not None
    wire = pack(Record(b'{"name":"Ada"}', 1, entry.version, AT))
    assert raw(shared_port(), b"get written|users|ada\r\n") == b"VALUE written|users|ada 0 60\r\n%b\r\nEND\r\n" % wire


name = st.text(min_size=1, max_size=60) | st.text("ab%-|. ", min_size=1, max_size=300)
refs = st.tuples(name, name)
prefix = st.text(string.ascii_letters + string.digits + "%-|:.", min_size=1, max_size=88)


@given(prefix, refs, prefix, refs)
def test_two_entries_never_share_a_key(one: str, ref: tuple[str, str], other: str, other_ref: tuple[str, str]) -> None:
    keys = Layout(one).key(ref), Layout(other).key(other_ref)
    assert (keys[0] == keys[1]) == ((one, ref) == (other, other_ref))
    for key in keys:
        assert len(key) <= MAX_KEY
        assert all(0x21 <= byte < 0x7F for byte in key)


@given(refs)
def test_names_are_kept_just_where_the_key_cannot_give_them_back(ref: tuple[str, str]) -> None:
    layout = Layout("satchel")
    hashed = b"%-" in layout.key(ref)
    assert layout.hidden_names(ref) == (ref if hashed else None)
