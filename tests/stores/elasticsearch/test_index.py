"""The index of a store: made by the first write alone, the store's own or refused, and what listing does to it."""

import asyncio
import logging

import pytest
from elasticsearch import AsyncElasticsearch

from satchel import ConfigurationError, InvalidKeyError, StoreError
from satchel.stores.elasticsearch import index as _elasticsearch_index
from tests.servers import private_server
from tests.stores.elasticsearch.indices import indices_go, looking, make_store, new_prefix  # noqa: F401  # fixtures

pytestmark = pytest.mark.server("elasticsearch")


async def exists(client, prefix):
    return bool((await client.indices.get_mapping(index=f"{prefix}*", allow_no_indices=True)).body)


async def test_emulated_nothing_is_made_before_the_first_write(prefix, client):
    async with make_store(prefix) as store:
        await store.ping()
        assert await store.get("c", "k") is None
        assert await store.get_many("c", ["k", "l"]) == {}
        assert await store.delete("c", "k") is False
        assert await store.touch("c", "k", ttl=1) is False
        assert await store.compare_and_put("c", "k", 1, version="v") is None
        assert [key async for key in store.keys("c")] == []
        assert [name async for name in store.collections()] == []
        assert await store.destroy_collection("c") is False
        assert await store.destroy() is False
        assert await store.cull() == 0
        with pytest.raises(InvalidKeyError):
            await store.put("", "k", 1)
        assert not await exists(client, prefix)
        await store.put("c", "k", 1)
        assert await exists(client, prefix)


async def test_emulated_stores_that_start_at_once_make_one_index(prefix, client):
    stores = [make_store(prefix) for _ in range(8)]
    await asyncio.gather(*(store.ping() for store in stores))
    await asyncio.gather(*(store.put("c", str(number), number) for number, store in enumerate(stores)))
    assert len((await client.indices.get_mapping(index=f"{prefix}*")).body) == 1
    for store in stores:
        assert await store.get_many("c", map(str, range(8))) == {str(number): number for number in range(8)}
        await store.aclose()


async def test_emulated_an_index_that_was_removed_is_made_anew_with_the_same_mapping(prefix, client):
    async with make_store(prefix) as store:
        await store.put("c", "k", 1)
        before = (await client.indices.get_mapping(index=prefix)).body
        await client.indices.delete(index=list(before))
        assert await store.get("c", "k") is None
        assert await store.delete("c", "k") is False
        assert [key async for key in store.keys("c")] == []
        await asyncio.gather(store.put("c", "k", 2), store.put_if_absent("c", "l", 3), store.delete("c", "m"))
        assert (await client.indices.get_mapping(index=prefix)).body == before
        assert await store.get_many("c", ["k", "l"]) == {"k": 2, "l": 3}


async def test_emulated_only_listing_and_removing_refresh(prefix, caplog):
    caplog.set_level(logging.INFO, "elastic_transport.transport")
    async with make_store(prefix) as store:
        await store.put("c", "k", 1)
        await store.put_if_absent("c", "l", 1, ttl=60)
        assert await store.touch("c", "k", ttl=60) is True
        assert await store.get_many("c", ["k", "l"]) == {"k": 1, "l": 1}
        assert await store.delete("c", "k") is True
        assert "_bulk" in caplog.text
        assert "refresh" not in caplog.text
        assert [key async for key in store.keys("c")] == ["l"]
        assert "_refresh" in caplog.text


@pytest.mark.parametrize(
    "mappings",
    [
        {},
        {"properties": {"key": {"type": "keyword"}}},
        {
            "_meta": {"satchel_format": 1},
            "properties": {
                "key": {"type": "text"},
                "collection": {"type": "keyword"},
                "deadline": {"type": "double"},
            },
        },
    ],
)
async def test_emulated_an_index_with_another_mapping_is_refused(prefix, client, mappings):
    await client.indices.create(index=f"{prefix}-000001", mappings=mappings, aliases={prefix: {}})
    async with make_store(prefix) as store:
        for call in (lambda: store.get("c", "k"), lambda: store.put("c", "k", 1), store.ping):
            with pytest.raises(ConfigurationError, match="not have satchel"):
                await call()


async def test_emulated_an_index_of_a_later_release_is_refused(prefix, client):
    mappings = {"_meta": {"satchel_format": 2}}
    await client.indices.create(index=f"{prefix}-000001", mappings=mappings, aliases={prefix: {}})
    async with make_store(prefix) as store:
        with pytest.raises(ConfigurationError, match="later release"):
            await store.get("c", "k")


async def test_emulated_an_index_that_has_the_name_of_the_alias_is_refused(prefix, client):
    await client.index(index=prefix, document={"somebody": "else's"})
    async with make_store(prefix) as store:
        with pytest.raises(ConfigurationError, match="choose another index_prefix"):
            await store.put("c", "k", 1)
    assert (await client.count(index=prefix))["count"] == 1


async def test_emulated_an_index_without_its_alias_is_refused(prefix, client):
    await client.indices.create(index=f"{prefix}-000001")
    async with make_store(prefix) as store:
        assert await store.get("c", "k") is None
        with pytest.raises(ConfigurationError, match="add the alias"):
            await store.put("c", "k", 1)


async def test_emulated_an_alias_of_several_indices_is_refused(prefix, client):
    for number in range(2):
        await client.indices.create(index=f"{prefix}-00000{number}", aliases={prefix: {}})
    async with make_store(prefix) as store:
        with pytest.raises(ConfigurationError, match="several indices"):
            await store.get("c", "k")


async def test_emulated_stores_with_another_prefix_are_apart(prefix):
    async with make_store(prefix) as store, make_store(f"{prefix}-b") as other:
        await store.put("c", "k", 1)
        await other.put("c", "l", 2)
        assert await other.get("c", "k") is None
        assert await store.destroy() is True
        assert await other.get("c", "l") == 2


@pytest.fixture
async def server_of_its_own():
    """A server on which all points in time may be closed, which other tests need on the shared one."""
    with private_server("elasticsearch") as server:
        async with AsyncElasticsearch(server.url.replace("elasticsearch", "http", 1)) as client:
            yield server.url, client


async def test_emulated_a_listing_goes_on_when_its_point_in_time_was_lost(
    prefix, server_of_its_own, monkeypatch, caplog
):
    url, client = server_of_its_own
    caplog.set_level(logging.INFO, "elastic_transport.transport")
    monkeypatch.setattr(_elasticsearch_index, "PAGE", 10)
    expected = [f"{number:03}" for number in range(35)]
    async with make_store(prefix, url) as store:
        await store.put_many("c", dict.fromkeys(expected, 1))
        listed = []
        async for key in store.keys("c", prefix="0"):
            listed.append(key)
            if len(listed) in (10, 25):
                await client.delete(index=prefix, id=f"c:{listed[-1]}")
                await close_points_in_time(client)
        assert listed == expected
        assert caplog.text.count("_pit?") == 3


@pytest.mark.parametrize("times", [1, 2])
async def test_emulated_a_point_in_time_that_is_lost_before_its_use_is_opened_again(
    prefix, server_of_its_own, monkeypatch, times
):
    url, client = server_of_its_own
    open_it, left = AsyncElasticsearch.open_point_in_time, times

    async def open_in_vain(*arguments, **named):
        nonlocal left
        opened = await open_it(*arguments, **named)
        if left:
            left -= 1
            await close_points_in_time(client)
        return opened

    async with make_store(prefix, url) as store:
        await store.put_many("c", {"k": 1, "l": 2})
        monkeypatch.setattr(AsyncElasticsearch, "open_point_in_time", open_in_vain)
        if times == 1:
            assert [key async for key in store.keys("c")] == ["k", "l"]
        else:
            with pytest.raises(StoreError, match="404"):
                await anext(store.keys("c"))


async def test_emulated_a_listing_that_is_left_closes_its_point_in_time(prefix, caplog):
    caplog.set_level(logging.INFO, "elastic_transport.transport")
    async with make_store(prefix) as store:
        await store.put_many("c", {"k": 1, "l": 2})
        listing = store.keys("c")
        assert await anext(listing) == "k"
        assert "DELETE" not in caplog.text
        await listing.aclose()
        assert caplog.text.count("_pit [status:200") == 1


async def close_points_in_time(client):
    """Do what the server does when nobody asks for a while."""
    await client.options(ignore_status=404).perform_request(
        "DELETE", "/_search/point_in_time/_all", headers={"accept": "application/json"}
    )


async def test_emulated_removing_goes_on_over_all_pages(prefix, monkeypatch):
    monkeypatch.setattr(_elasticsearch_index, "PAGE", 10)
    async with make_store(prefix) as store:
        await store.put_many("c", {str(number): number for number in range(35)})
        await store.put_many("d", {str(number): number for number in range(35)})
        assert [name async for name in store.collections()] == ["c", "d"]
        assert await store.destroy_collection("c") is True
        assert [name async for name in store.collections()] == ["d"]
        assert len([key async for key in store.keys("d")]) == 35
        assert await store.destroy() is True
        assert await store.destroy() is False
