"""The items of a DynamoDB table: golden ones, exact numbers, damage, and items that something else wrote."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import BatchError, IntegrityError
from satchel.backend.record import Record
from satchel.stores.dynamodb.items import item_of, key_of, outcome_of, searchable
from satchel.testing import FakeClock
from tests.golden.dynamodb.entries import ENTRIES, VERSION, WRITTEN, items, record
from tests.stores.dynamodb.table import local_store, new_name, new_store, raw_client

pytestmark = pytest.mark.server("dynamodb")

VALUES = {
    "json": {"name": "Ada", "notes": ["é", 1.5, None]},
    "json-deadline": [1, 2.5, None],
    "bytes": bytes(range(256)),
    "bytes-empty": b"",
    "msgpack": {"name": "Ada"},
    "names-long": None,
    "names-almost-long": True,
}


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_has_the_form_of_every_release(name: str) -> None:
    assert item_of(*record(name)) == items()[name]


async def test_golden_items_are_read_from_a_table() -> None:
    name = new_name()
    async with local_store(name, create_table=True, clock=FakeClock(WRITTEN + 1)) as store, raw_client() as client:
        await store.ping()
        for item in items().values():
            await client.put_item(TableName=name, Item=item)
        for entry, ((collection, key), _, _, deadline) in ENTRIES.items():
            found = await store.get_entry(collection, key)
            assert found is not None
            assert found.value == VALUES[entry]
            assert type(found.value) is type(VALUES[entry])
            assert found.version == VERSION
            assert found.updated_at.timestamp() == WRITTEN
            assert (found.expires_at.timestamp() if found.expires_at else float("inf")) == deadline
        assert {key async for key in store.keys("users")} == {
            key for (at, key), *_ in ENTRIES.values() if at == "users"
        }
        assert [name async for name in store.collections() if len(name) > 2044] == [ENTRIES["names-long"][0][0]]


async def test_what_a_store_writes_is_what_the_page_says() -> None:
    name = new_name()
    async with local_store(name, create_table=True, clock=FakeClock(WRITTEN)) as store, raw_client() as client:
        await store.put("users", "ada", {"name": "Ada"}, ttl=3600.2)
        item = (await client.get_item(TableName=name, Key=key_of(("users", "ada"))))["Item"]
        assert set(item) == {
            *("collection", "key", "satchel", "version", "updated_at", "codec", "checksum", "value"),
            *("deadline", "ttl"),
        }
        assert item["value"] == {"S": '{"name":"Ada"}'}
        assert float(item["deadline"]["N"]) == WRITTEN + 3600.2
        assert int(item["ttl"]["N"]) == 4102444800 + 3601 + 3600
        assert await store.touch("users", "ada", ttl=None)
        touched = (await client.get_item(TableName=name, Key=key_of(("users", "ada"))))["Item"]
        assert item.keys() - touched.keys() == {"deadline", "ttl"}
        await store.put("users", "ada", "é" * 40_000)
        large = (await client.get_item(TableName=name, Key=key_of(("users", "ada"))))["Item"]["value"]
        assert large == {"B": ('"' + "é" * 40_000 + '"').encode()}
        await store.put("users", "ada", b"\x00")
        assert (await client.get_item(TableName=name, Key=key_of(("users", "ada"))))["Item"]["value"] == {"B": b"\x00"}


async def test_every_double_comes_back_exactly_from_a_table() -> None:
    """Times near now, one unit in the last place apart, and the hardest ones to write down in decimals."""
    (bits,) = struct.unpack("<q", struct.pack("<d", WRITTEN))
    doubles = [struct.unpack("<d", struct.pack("<q", bits + step))[0] for step in range(40)]
    doubles += [0.1 + 0.2, 5e-324**0.25, 2**53 + 1.0, 123456789.123456789, 1e22, 4503599627370497.5]
    async with new_store() as store:
        await store.ping()
        for number, moment in enumerate(doubles):
            await store._write([(("c", str(number)), Record(b"1", 1, VERSION, moment, moment + 1).sealed())])
        read: Any = [(await store._read([("c", str(number))]))[0] for number in range(len(doubles))]
    assert [found.updated_at for found in read] == doubles
    assert [found.deadline for found in read] == [moment + 1 for moment in doubles]


@given(
    st.floats(min_value=-1e100, max_value=1e100, allow_nan=False).filter(
        lambda value: value == 0 or abs(value) > 1e-100
    )
)
def test_every_double_comes_back_exactly_from_an_item(moment: float) -> None:
    found = outcome_of(item_of(("c", "k"), Record(b"1", 1, VERSION, moment, moment)))
    assert isinstance(found, Record)
    assert (found.updated_at, found.deadline) == (moment, moment)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), st.integers(1, 1400), st.data())
def test_a_search_for_a_prefix_finds_every_kept_form_that_has_it(part: str, length: int, data: st.DataObject) -> None:
    name = (part * length)[:length]
    prefix = name[: data.draw(st.integers(1, len(name)))]
    kept = key_of(("c", name))["key"]["S"]
    assert kept.startswith(searchable(prefix))
    assert len(kept.encode()) <= 1024


def test_a_name_that_looks_like_a_kept_form_is_another() -> None:
    long = "k" * 2000
    kept = key_of(("c", long))["key"]["S"]
    assert len(kept) == 1024
    assert key_of(("c", kept))["key"]["S"] != kept


DAMAGE: dict[str, dict[str, Any]] = {
    "another value": {"value": {"S": '{"name":"Eve"}'}},
    "another time": {"updated_at": {"N": "1"}},
    "another codec": {"codec": {"N": "2"}},
    "another version": {"version": {"S": "f" * 32}},
    "a version that none is": {"version": {"S": "nothing"}},
    "a value of another type": {"value": {"N": "1"}},
    "no checksum": {"checksum": ...},
    "a later format": {"satchel": {"N": "2"}},
    "not satchel's": {"satchel": ..., "version": ..., "codec": ...},
    "a list for a deadline": {"deadline": {"L": []}},
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_an_item_that_is_damaged_or_not_ours_is_refused(damage: str) -> None:
    name = new_name()
    async with local_store(name, create_table=True) as store, raw_client() as client:
        await store.put_many("c", {"k": {"name": "Ada"}, "other": 1})
        item = (await client.get_item(TableName=name, Key=key_of(("c", "k"))))["Item"]
        changed = {each: value for each, value in (item | DAMAGE[damage]).items() if value is not ...}
        await client.put_item(TableName=name, Item=changed)
        with pytest.raises(IntegrityError) as refused:
            await store.get("c", "k")
        assert "Ada" not in str(refused.value)
        assert await store.get("c", "other") == 1
        await store.put("c", "k", "new")
        assert await store.get("c", "k") == "new"
        if "satchel" in changed:
            for remove in (lambda: store.delete("c", "k"), lambda: store.destroy_collection("c")):
                await client.put_item(TableName=name, Item=changed)
                assert await remove() is True
                assert (await client.scan(TableName=name))["Count"] <= 1
            assert (await client.scan(TableName=name))["Count"] == 0


async def test_an_item_of_others_is_not_removed_and_says_so() -> None:
    name = new_name()
    theirs = {**key_of(("c", "theirs")), "note": {"S": "hunter2"}}
    async with local_store(name, create_table=True) as store, raw_client() as client:
        await store.put("c", "ours", 1)
        await client.put_item(TableName=name, Item=theirs)
        for call in (
            lambda: store.get("c", "theirs"),
            lambda: store.delete("c", "theirs"),
            lambda: store.touch("c", "theirs", ttl=5),
        ):
            with pytest.raises(IntegrityError, match="not an entry of satchel's; give the store a table") as refused:
                await call()
            assert "hunter2" not in str(refused.value)
        with pytest.raises(BatchError) as failed:
            await store.delete_many("c", ["theirs", "ours", "missing"])
        assert list(failed.value.failed) == ["theirs"]
        assert await store.put_if_absent("c", "theirs", 1) is None
        assert await store.compare_and_put("c", "theirs", 1, version=VERSION) is None
        assert await store.compare_and_delete("c", "theirs", version=VERSION) is False
        assert (await client.scan(TableName=name))["Items"] == [theirs]


async def test_items_of_others_are_neither_listed_nor_destroyed_nor_overwritten_by_put_if_absent() -> None:
    name = new_name()
    async with local_store(name, create_table=True) as store, raw_client() as client:
        await store.put("c", "mine", 1)
        others = [{**key_of(("c", "theirs")), "deadline": {"N": "1"}}, {**key_of(("d", "theirs")), "note": {"S": "x"}}]
        for item in others:
            await client.put_item(TableName=name, Item=item)
        assert [key async for key in store.keys("c")] == ["mine"]
        assert [each async for each in store.collections()] == ["c"]
        assert await store.put_if_absent("c", "theirs", 1) is None
        assert await store.cull() == 0
        assert await store.destroy_collection("d") is False
        assert await store.destroy() is True
        left = (await client.scan(TableName=name))["Items"]
    assert sorted(left, key=str) == sorted(others, key=str)


async def test_cull_removes_what_has_expired_and_nothing_else() -> None:
    name, clock = new_name(), FakeClock(WRITTEN)
    async with local_store(name, create_table=True, clock=clock) as store, raw_client() as client:
        await store.put_many("c", {f"gone {number}": 1 for number in range(30)}, ttl=5)
        await store.put_many("c", {"later": 1}, ttl=50)
        await store.put_many("d", {"never": 1})
        clock.advance(6)
        assert await store.cull() == 30
        assert (await client.scan(TableName=name))["Count"] == 2
        assert await store.cull() == 0
