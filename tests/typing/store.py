"""What type checkers make of stores. This file is checked, not run."""

from collections.abc import AsyncIterator
from typing import Any, assert_type

from satchel import (
    AsyncKeyValue,
    Capability,
    CopyReport,
    Entry,
    MemoryStore,
    StoreDifference,
    SupportsConditional,
    SupportsCull,
    SupportsDestroyCollection,
    SupportsDestroyStore,
    SupportsEnumerateCollections,
    SupportsEnumerateKeys,
    SupportsEverything,
    check_stores,
    copy_store,
    require,
)


async def core(store: AsyncKeyValue) -> None:
    assert_type(await store.get("c", "k"), Any | None)
    assert_type(await store.get("c", "k", 3), Any | int)
    assert_type(await store.get_entry("c", "k"), Entry[Any] | None)
    assert_type(await store.exists("c", "k"), bool)
    assert_type(await store.delete("c", "k"), bool)
    assert_type(await store.get_many("c", ["k"]), dict[str, Any])
    assert_type(await store.get_entries("c", {"k"}), dict[str, Entry[Any]])
    assert_type(await store.delete_many("c", ("k",)), int)
    await store.put("c", "k", {"any": ["value"]}, ttl=0.5)
    await store.put_many("c", {"k": 1, "l": b"bytes"})


async def narrowing(store: AsyncKeyValue) -> None:
    assert_type(require(store, Capability.CONDITIONAL), SupportsConditional)
    assert_type(require(store, Capability.ENUMERATE_KEYS), SupportsEnumerateKeys)
    assert_type(require(store, Capability.ENUMERATE_COLLECTIONS), SupportsEnumerateCollections)
    assert_type(require(store, Capability.DESTROY_COLLECTION), SupportsDestroyCollection)
    assert_type(require(store, Capability.DESTROY_STORE), SupportsDestroyStore)
    assert_type(require(store, Capability.CULL), SupportsCull)
    assert_type(require(store, Capability.CULL | Capability.CONDITIONAL), SupportsEverything)
    assert_type(await require(store, Capability.CONDITIONAL).put_if_absent("c", "k", 1), str | None)
    assert_type(require(store, Capability.ENUMERATE_KEYS).keys("c"), AsyncIterator[str])


def a_store_is_a_store(store: MemoryStore) -> SupportsEverything:
    return store


async def opened() -> None:
    async with MemoryStore() as store:
        assert_type(store, MemoryStore)


async def refused(store: AsyncKeyValue) -> None:
    store.keys("c")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    require(store, Capability.CULL).keys("c")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await store.get("c", 3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    await store.put("c", "k", 1, 60)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await store.put("c", "k", 1, ttl="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    MemoryStore(max_entries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    entry = await store.get_entry("c", "k")
    str(entry.value)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]


async def copied(source: AsyncKeyValue, target: AsyncKeyValue) -> None:
    assert_type(await copy_store(source, target, overwrite="newer"), CopyReport)
    async for difference in check_stores(source, target):
        assert_type(difference, StoreDifference)
    await copy_store(source, target, overwrite="sometimes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
