"""What shares its collections is destroyed key by key, and then fails as a batch does: every wrapper stands that."""

import pytest

from satchel import Capability, MemoryStore
from satchel.errors import BatchError, StoreError, StoreUnavailableError
from satchel.wrappers import PrefixKeysWrapper
from tests.wrappers.layers import LAYERS

DESTROYS = {
    "destroy_collection": lambda store: store.destroy_collection("c"),
    "destroy": lambda store: store.destroy(),
}


class Stuck(MemoryStore):
    """Cannot delete many entries, until it can."""

    failure = None

    async def delete_many(self, collection, keys):
        names = list(keys)
        if self.failure is not None and names:
            failed = {key: self.failure("down", store="s", operation="delete_many", key=key) for key in names}
            raise BatchError("down", failed=failed, store="s", operation="delete_many", collection=collection)
        return await super().delete_many(collection, names)


DESTROYING = [
    layer
    for layer, wrap in LAYERS.items()
    if Capability.DESTROY_STORE in wrap(PrefixKeysWrapper(MemoryStore(), prefix="p")).capabilities
]
"""Those that leave something to list; the others refuse by name, as the conformance suite shows."""


@pytest.mark.parametrize("failure", [StoreError, StoreUnavailableError])
@pytest.mark.parametrize("operation", DESTROYS)
@pytest.mark.parametrize("layer", DESTROYING)
async def test_destroying_fails_as_a_batch_and_succeeds_later(layer, operation, failure):
    stuck = Stuck()
    store = LAYERS[layer](PrefixKeysWrapper(stuck, prefix="p"))
    await store.put("c", "k", 1)
    stuck.failure = failure
    with pytest.raises(BatchError) as caught:
        await DESTROYS[operation](store)
    assert all(type(error) is failure for error in caught.value.failed.values())
    stuck.failure = None
    await DESTROYS[operation](store)
    assert await store.get("c", "k") is None
