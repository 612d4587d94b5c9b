"""How entries are kept: the documents, their names, what of them is searched, and that old ones stay readable."""

import json
from pathlib import Path

import pytest

from satchel import IntegrityError, JsonCodec, MessagePackCodec
from satchel.backend.record import Record
from satchel.codec import RAW_BYTES
from satchel.stores.elasticsearch.document import document, document_id, is_searchable
from tests.stores.elasticsearch.indices import indices_go, looking, make_store, new_prefix  # noqa: F401  # fixtures

pytestmark = pytest.mark.server("elasticsearch")

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/elasticsearch/documents-1.json").read_text())
VALUES = {
    "object": {"name": "Ada", "score": 1.5, "tags": ["a", None, True]},
    "object-deadline": {"name": "Ada"},
    "object-nul": {"a\0": "b"},
    "text": "text",
    "bytes": b"\x00\xff",
    "messagepack": {"a": 1},
    "long-names": [1],
}
CODECS = {RAW_BYTES: None, 1: JsonCodec(), 2: MessagePackCodec()}
LATER = 1767225700.0


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden["name"])
def test_documents_are_written_as_ever(golden):
    source, value = golden["_source"], VALUES[golden["name"]]
    codec = CODECS[source["codec"]]
    record = Record(
        payload=value if codec is None else codec.encode(value),
        codec=source["codec"],
        version=source["version"],
        updated_at=source["updated_at"],
        deadline=float("inf") if source["deadline"] is None else source["deadline"],
    ).sealed()
    ref = source["collection"], source["key"]
    assert document_id(ref) == golden["_id"]
    assert len(golden["_id"].encode()) <= 512
    assert json.loads(document(ref, record, searchable=is_searchable(record))) == source


async def test_emulated_documents_of_old_are_read(prefix, client):
    async with make_store(prefix, clock=lambda: LATER) as store:
        await store.put("other", "k", 1)
        for golden in GOLDEN:
            source = golden["_source"]
            await client.index(index=prefix, id=golden["_id"], document=source)
            found = await store.get_entry(source["collection"], source["key"])
            assert (found.value, found.version) == (VALUES[golden["name"]], source["version"])
            assert found.updated_at.timestamp() == source["updated_at"]
            assert found.ttl == (None if source["deadline"] is None else source["deadline"] - LATER)


async def test_emulated_objects_can_be_searched(prefix, client):
    async with make_store(prefix) as store:
        await store.put_many("users", {"ada": {"name": "Ada", "at": {"city": "London"}}, "bob": {"name": "Bob"}})
        await store.put("users", "list", ["Ada"])
        await client.indices.refresh(index=prefix)
        found = await client.search(index=prefix, query={"term": {"value.at.city": "London"}})
        assert [hit["_source"]["key"] for hit in found["hits"]["hits"]] == ["ada"]
        assert found["hits"]["hits"][0]["_source"]["value"] == {"name": "Ada", "at": {"city": "London"}}


async def test_emulated_a_touch_leaves_the_value_as_it_is(prefix, client):
    value = {"z": 1.0, "a": -0.0, "big": 2**63 - 1, "e": 1e22, "tiny": 5e-324, "": [{}, []], "x.y": None}
    async with make_store(prefix) as store:
        await store.put("c", "k", value)
        before = await store.get_entry("c", "k")
        assert await store.touch("c", "k", ttl=60) is True
        after = await store.get_entry("c", "k")
        assert (after.value, after.version, after.updated_at) == (before.value, before.version, before.updated_at)
        assert list(after.value) == list(value)
        assert repr(after.value) == repr(value)


async def test_emulated_an_object_that_cannot_be_indexed_is_kept_all_the_same(prefix, client):
    async with make_store(prefix) as store:
        await store.put("c", "first", 1)
        (index,) = (await client.indices.get_mapping(index=prefix)).body
        mapping = (await client.indices.get_mapping(index=index)).body[index]["mappings"]
        mapping["properties"]["value"] = {"type": "long"}  # one that refuses every object
        await client.indices.delete(index=index)
        await client.indices.create(index=index, mappings=mapping, aliases={prefix: {}})
        await store.put("c", "k", {"name": "Ada"})
        assert await store.put_if_absent("c", "l", {"name": "Ada"}) is not None
        assert await store.put_if_absent("c", "l", {"name": "Bob"}) is None
        assert await store.get_many("c", ["k", "l"]) == {"k": {"name": "Ada"}, "l": {"name": "Ada"}}
        source = (await client.get(index=prefix, id=document_id(("c", "k"))))["_source"]
        assert "value" not in source
        assert "payload" in source


async def test_emulated_a_changed_value_is_refused(prefix, client):
    async with make_store(prefix) as store:
        await store.put_many("c", {"k": {"name": "Ada"}, "l": b"bytes"})
        await client.update(index=prefix, id=document_id(("c", "k")), doc={"value": {"name": "Eve"}})
        await client.update(index=prefix, id=document_id(("c", "l")), doc={"payload": "AAAA"})
        for key in ("k", "l"):
            with pytest.raises(IntegrityError):
                await store.get("c", key)
        await store.put("c", "k", {"name": "Ada"})
        assert await store.get("c", "k") == {"name": "Ada"}


@pytest.mark.parametrize("source", [{"collection": "c"}, {"collection": "c", "key": "k", "deadline": 5}, {}])
async def test_emulated_a_document_that_is_not_ours_is_refused_and_can_be_removed(prefix, client, source):
    async with make_store(prefix) as store:
        await store.put("c", "other", 1)
        await client.index(index=prefix, id=document_id(("c", "k")), document=source)
        for call in (
            lambda: store.get("c", "k"),
            lambda: store.put_if_absent("c", "k", 1),
            lambda: store.touch("c", "k", ttl=1),
        ):
            with pytest.raises(IntegrityError, match="not one that satchel wrote"):
                await call()
        assert await store.compare_and_delete("c", "k", version="v") is False
        assert await store.delete("c", "k") is True
        assert await store.get("c", "k") is None


async def test_emulated_a_document_under_the_names_of_another_is_refused(prefix, client):
    async with make_store(prefix) as store:
        await store.put("c", "k", 1)
        source = (await client.get(index=prefix, id=document_id(("c", "k"))))["_source"]
        await client.index(index=prefix, id=document_id(("c", "l")), document=source)
        with pytest.raises(IntegrityError):
            await store.get("c", "l")
