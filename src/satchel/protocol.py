"""The protocol that every store and every wrapper satisfies.

`AsyncKeyValue` is the core, which every store has. The `Supports...` protocols add the methods of one capability;
`satchel.require` checks the capability and narrows the type. They are no runtime checks: every store has every
method, and those that it cannot honour raise `UnsupportedOperationError`.
"""

# mypy: disable-error-code="overload-overlap"
# One flag gives a narrower type than several, on purpose.

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar, overload

from .capability import Capability
from .change import Change
from .clock import TTL
from .entry import Entry
from .errors import ConfigurationError, UnsupportedOperationError

D = TypeVar("D")


class AsyncKeyValue(Protocol):
    """Store that keeps values under keys in collections.

    * A value is a JSON value (`None`, `bool`, a 64-bit `int`, finite `float`, `str`, `list`, `dict` with `str` keys)
      or, at the top level, `bytes`. A value that would come back changed is refused by `put`.
    * A key and a collection is any non-empty `str` of at most 4,096 UTF-8 bytes.
    * Missing and expired entries are both absent, which is not an error.
    """

    @property
    def capabilities(self) -> Capability:
        """The capabilities of this store beyond the core."""
        ...

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes."""
        ...

    @property
    def max_value_bytes(self) -> int | None:
        """The largest encoded value that the backend takes; None for no limit that is known.

        What a wrapper adds to values, such as a signature, counts too.
        """
        ...

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent. A stored `None` is returned as itself."""
        ...

    async def get_entry(self, collection: str, key: str) -> Entry | None:
        """Return the entry under a key: the value with version, times and size."""
        ...

    async def exists(self, collection: str, key: str) -> bool:
        """Return whether there is an entry under a key."""
        ...

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing any existing entry and its deadline.

        Args:
            collection: The collection; it needs no creating.
            key: The key.
            value: The value to store. It is encoded before the call returns: do not change it during the call.
            ttl: Time to live in seconds or as a `timedelta`; None for no expiry.

        Raises:
            InvalidKeyError: The collection or key is not a legal name.
            InvalidTTLError: The ttl is not finite, above 0 and at most 100 years.
            SerializationError: The value would not come back unchanged.
            ValueTooLargeError: The encoded value is larger than the backend takes.
            StoreError: The backend failed.
        """
        ...

    async def delete(self, collection: str, key: str) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        ...

    async def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of the keys that exist, in the order requested.

        Raises:
            InvalidKeyError: A key is not legal, or one bare `str` was given for the keys.
            BatchError: Some keys could not be read; `.failed` names them.
        """
        ...

    async def get_entries(self, collection: str, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of the keys that exist, in the order requested."""
        ...

    async def put_many(self, collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step.

        Raises:
            BatchError: Some keys were not written, or may not have been; `.failed` names them.
        """
        ...

    async def delete_many(self, collection: str, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many of them were there."""
        ...

    async def ping(self) -> None:
        """Return when the backend answers.

        Raises:
            StoreUnavailableError: It cannot be reached.
        """
        ...

    async def aclose(self) -> None:
        """Refuse new calls, wait for those under way, and release the store's own resources."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class SupportsEnumerateKeys(AsyncKeyValue, Protocol):
    """Store with `Capability.ENUMERATE_KEYS`."""

    def keys(
        self, collection: str, *, prefix: str = "", limit: int | None = None, after: str | None = None
    ) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order unless `after` is given, in constant memory.

        * An entry that is present throughout is listed exactly once; one put or removed meanwhile may be.
        * Arguments are checked at the call, before the first step.

        Args:
            collection: The collection; a missing one is empty.
            prefix: Only keys that start with exactly this.
            limit: Maximum number of keys.
            after: Only keys that sort after this one, in order of code points; `""` begins with the first. The
                last key of a page is the `after` of the next. A store that cannot start in the middle of a collection,
                such as Redis, reads all of it for each page.
        """
        ...

    async def count(self, collection: str, *, prefix: str = "") -> int:
        """Return how many entries a collection has, or how many of its keys start with a prefix.

        Entries that are put or removed meanwhile may be counted or not.
        """
        ...


class SupportsEnumerateCollections(AsyncKeyValue, Protocol):
    """Store with `Capability.ENUMERATE_COLLECTIONS`."""

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        ...


class SupportsDestroyCollection(AsyncKeyValue, Protocol):
    """Store with `Capability.DESTROY_COLLECTION`."""

    async def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and return whether there was one."""
        ...


class SupportsDestroyStore(AsyncKeyValue, Protocol):
    """Store with `Capability.DESTROY_STORE`."""

    async def destroy(self) -> bool:
        """Remove everything that this store wrote and nothing else, and return whether there was any entry.

        The store is usable again at once.
        """
        ...


class SupportsCull(AsyncKeyValue, Protocol):
    """Store with `Capability.CULL`."""

    async def cull(self) -> int:
        """Reclaim the space of expired entries now, and return how many there were."""
        ...


class SupportsConditional(AsyncKeyValue, Protocol):
    """Store with `Capability.CONDITIONAL`: writes made only if a condition holds, in one atomic step."""

    async def put_if_absent(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> str | None:
        """Store a value if the key is absent, and return its version; None when something was there."""
        ...

    async def compare_and_put(
        self, collection: str, key: str, value: object, *, version: str, ttl: TTL | None = None
    ) -> str | None:
        """Replace the entry if it still has the version, and return the new version; None when it has not."""
        ...

    async def compare_and_delete(self, collection: str, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and return whether it was removed."""
        ...

    async def touch(self, collection: str, key: str, *, ttl: TTL | None) -> bool:
        """Give the entry a new deadline, None for no deadline, and return whether it existed.

        The version and `updated_at` stay.
        """
        ...


class SupportsWatch(AsyncKeyValue, Protocol):
    """Store with `Capability.WATCH`."""

    def watch(self, collection: str, *, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Watch the entries of a collection for changes by any client, this one included.

        `async with store.watch("users") as changes:` gives an iterator without end over what may have changed, not a
        log: there are no values, keys that wait are given once and in no particular order, and nothing is repeated
        from before. See `Change` for the three kinds.

        * `ready` comes first. What is listed or read after it misses nothing.
        * When 10,000 changed keys wait to be taken, they become one `lost`, followed by `ready`.
        * When the connection to the backend breaks, `lost` comes, and `ready` once it is restored.
        * A report may come for an entry that did not change.

        Args:
            collection: The collection; it need not exist.
            prefix: Only keys that start with exactly this.

        Raises:
            StoreError: On entering: the backend cannot be watched. In the iteration: the store was closed.
        """
        ...


class SupportsEverything(
    SupportsEnumerateKeys,
    SupportsEnumerateCollections,
    SupportsDestroyCollection,
    SupportsDestroyStore,
    SupportsCull,
    SupportsConditional,
    SupportsWatch,
    Protocol,
):
    """Store with every capability."""


S = TypeVar("S", bound="SupportsEverything")


def is_store(thing: object) -> bool:
    """Return whether an object is a store: it has capabilities and, unlike a `SyncStore`, `aclose`."""
    return isinstance(getattr(thing, "capabilities", None), Capability) and hasattr(thing, "aclose")


def check_store(store: object, who: str) -> None:
    """Raise ConfigurationError unless an object is a store.

    Args:
        store: The object to check.
        who: The name in the message of the function that takes it.

    Raises:
        ConfigurationError: It is a class, or an object without capabilities.
    """
    if isinstance(store, type):
        raise ConfigurationError(f"{who} takes a store, got the class {store.__name__}; make one of it first")
    if not is_store(store):
        raise ConfigurationError(f"{who} takes a store, got an object of type {type(store).__name__}")


@overload
def require(store: S, capability: Capability) -> S: ...


@overload
def require(store: AsyncKeyValue, capability: Literal[Capability.ENUMERATE_KEYS]) -> SupportsEnumerateKeys: ...


@overload
def require(
    store: AsyncKeyValue, capability: Literal[Capability.ENUMERATE_COLLECTIONS]
) -> SupportsEnumerateCollections: ...


@overload
def require(store: AsyncKeyValue, capability: Literal[Capability.DESTROY_COLLECTION]) -> SupportsDestroyCollection: ...


@overload
def require(store: AsyncKeyValue, capability: Literal[Capability.DESTROY_STORE]) -> SupportsDestroyStore: ...


@overload
def require(store: AsyncKeyValue, capability: Literal[Capability.CULL]) -> SupportsCull: ...


@overload
def require(store: AsyncKeyValue, capability: Literal[Capability.CONDITIONAL]) -> SupportsConditional: ...


@overload
def require(store: AsyncKeyValue, capability: Literal[Capability.WATCH]) -> SupportsWatch: ...


@overload
def require(store: AsyncKeyValue, capability: Capability) -> SupportsEverything: ...


def require(store: AsyncKeyValue, capability: Capability) -> Any:
    """Return the store, typed as having a capability, or refuse it.

    A store whose type has every method already, such as what `open_store` returns, keeps its type.

    Args:
        store: Any store.
        capability: One flag, or several joined by `|`. With several, the result is typed as having every method;
            only the flags named were checked.

    Raises:
        ConfigurationError: It is not a store.
        TypeError: The capability is not a `Capability`.
        UnsupportedOperationError: The store lacks a flag; the message names the store and each flag.
    """
    check_store(store, "require")
    if not isinstance(capability, Capability):
        raise TypeError(
            f"require takes a Capability, such as Capability.CULL, got an object of type {type(capability).__name__}"
        )
    missing = capability & ~store.capabilities
    if missing:
        names = ", ".join(str(flag.name) for flag in Capability if flag in missing)
        raise UnsupportedOperationError(f"{store!r} does not have {names}")
    return store
