"""Blobs as a store of Zarr: its own suite, and arrays."""

import asyncio
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.core.buffer.cpu import Buffer
from zarr.testing.store import StoreTests

from satchel import ConfigurationError, MemoryStore
from satchel.blobs import StoreBlobs
from satchel.integrations.zarr import BlobZarrStore


class OverBlobs(StoreTests[BlobZarrStore, Buffer]):
    """Zarr's own suite; it looks at the files, past the store."""

    store_cls = BlobZarrStore
    buffer_cls = Buffer

    async def set(self, store, key, value):
        await store.blobs.put(key, value.to_bytes())

    async def get(self, store, key):
        return self.buffer_cls.from_bytes(await store.blobs.get(key))

    def test_store_repr(self, store):
        assert repr(store) == f"BlobZarrStore({store.blobs!r})"

    def test_store_supports_writes(self, store):
        assert store.supports_writes

    def test_store_supports_listing(self, store):
        assert store.supports_listing

    # A store whose calls are all awaited has nothing that these could test.
    test_get_bytes_sync = test_get_json_sync = None
    test_get_sync = test_get_sync_missing = test_set_sync = test_delete_sync = test_delete_sync_missing = None


class TestOverFiles(OverBlobs):
    @pytest.fixture
    def store_kwargs(self, tmp_path):
        return {"blobs": f"file:{tmp_path}/data"}

    async def set(self, store, key, value):
        path = Path(store._given.removeprefix("file:")) / key
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        await asyncio.to_thread(path.write_bytes, value.to_bytes())

    async def get(self, store, key):
        path = Path(store._given.removeprefix("file:")) / key
        return self.buffer_cls.from_bytes(await asyncio.to_thread(path.read_bytes))


class TestOverAStore(OverBlobs):
    @pytest.fixture
    def store_kwargs(self, tmp_path):
        return {"blobs": f"disk:{tmp_path}/data"}


def test_an_array_goes_in_and_out():
    blobs = StoreBlobs(MemoryStore())
    group = zarr.create_group(BlobZarrStore(blobs))
    array = group.create_array("temperature", shape=(100, 100), chunks=(10, 50), dtype="f8")
    array[:] = np.arange(10_000).reshape(100, 100)
    assert zarr.open_group(BlobZarrStore(blobs, read_only=True), mode="r")["temperature"][99, 99] == 9999
    assert (array[5:15, 45:55] == np.arange(10_000).reshape(100, 100)[5:15, 45:55]).all()
    assert list(group.array_keys()) == ["temperature"]


def test_one_made_from_a_url_can_be_pickled_and_keeps_what_it_is():
    store = BlobZarrStore("memory:?collection=a", read_only=True)
    again = pickle.loads(pickle.dumps(store))
    assert again == store
    assert again.read_only
    assert again != BlobZarrStore("memory:?collection=b", read_only=True)
    assert store.with_read_only(False) == BlobZarrStore("memory:?collection=a")


@pytest.mark.parametrize("blobs", [None, MemoryStore(), "nonsense"])
def test_what_is_neither_blobs_nor_their_url_is_refused(blobs):
    with pytest.raises(ConfigurationError):
        BlobZarrStore(blobs)
