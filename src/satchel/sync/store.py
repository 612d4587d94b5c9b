"""`SyncStore`: any store behind blocking calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar, overload

from ..backend.lifecycle import leave
from ..capability import Capability
from ..change import Change
from ..clock import TTL
from ..codec import Codec
from ..collection import Collection
from ..entry import Entry
from ..errors import UnsupportedOperationError
from ..names import check_items, check_names
from ..protocol import AsyncKeyValue, SupportsEverything, check_store
from ..url import open_store
from ..verbs import NEEDED
from .collection import Listing, SyncCollection
from .entered import watched
from .thread import LoopThread

D = TypeVar("D")
T = TypeVar("T")


class SyncStore:
    """Any store for code without an event loop: the same verbs, which block until they are done.

    The store runs on one event loop in a thread of its own, which starts with the first call and ends with `close`. Any
    number of threads may call at once; concurrent calls share requests, as those of tasks do. Each call runs in its
    caller's context variables. `KeyboardInterrupt` cancels the call that it interrupts.

    `docs/sync.md` describes the cost of a call, and what happens without closing and after a fork.

    Args:
        store: The store, or its URL. From now on it belongs to the `SyncStore`, which closes it.

    Raises:
        ConfigurationError: It is not a store, or the URL does not name one.
        MissingExtraError: Its driver is not installed.
    """

    def __init__(self, store: AsyncKeyValue | str) -> None:
        opened: Any = open_store(store) if isinstance(store, str) else store
        check_store(opened, "SyncStore")
        self._store: SupportsEverything = opened  # as far as `_able` confirms
        self._thread = LoopThread(lambda: f"SyncStore({opened!r})", lambda: leave(opened.aclose))
        self._call = self._thread.call

    def __repr__(self) -> str:
        return f"SyncStore({self._store!r})"

    def __del__(self) -> None:
        if hasattr(self, "_thread"):
            self._thread.end()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be copied or pickled, because it has a thread; make a SyncStore in each process"
        )

    def __enter__(self) -> Self:
        self._thread.refuse_here("__enter__")
        self._thread.check("__enter__")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._thread.closed and not self._thread.forked:
            self.close()

    def close(self) -> None:
        """Refuse new calls, wait for those under way, close the store, and end the thread.

        Raises:
            StoreClosedError: It was closed before. Leaving `with` after that raises nothing.
            StoreError: The store could not be closed properly. The thread has ended all the same.
        """
        self._thread.close()

    @property
    def inner(self) -> AsyncKeyValue:
        """The async store, for making objects to pass to `in_sync`."""
        return self._store

    @property
    def capabilities(self) -> Capability:
        """The capabilities of this store beyond the core."""
        return self._store.capabilities

    @property
    def max_key_bytes(self) -> int:
        """Maximum length of a key, in UTF-8 bytes."""
        return self._store.max_key_bytes

    @property
    def max_value_bytes(self) -> int | None:
        """Maximum bytes of an encoded value; None if no limit is known."""
        return self._store.max_value_bytes

    @overload
    def collection(self, name: str, *, ttl: TTL | None = None, codec: Codec | None = None) -> SyncCollection[Any]: ...
    @overload
    def collection(
        self, name: str, *, model: type[T], ttl: TTL | None = None, codec: Codec | None = None
    ) -> SyncCollection[T]: ...
    @overload
    def collection(
        self, name: str, *, model: object, ttl: TTL | None = None, codec: Codec | None = None
    ) -> SyncCollection[Any]: ...
    @overload
    def collection(
        self,
        name: str,
        *,
        encode: Callable[[T], object],
        decode: Callable[[Any], T],
        ttl: TTL | None = None,
        codec: Codec | None = None,
    ) -> SyncCollection[T]: ...
    def collection(self, name: str, **options: Any) -> SyncCollection[Any]:
        """Return a collection of this store with values of one type; arguments and errors are those of `Collection`.

        Args:
            name: The name of the collection.
            **options: `model`, the type of the values, such as a pydantic model, a dataclass or `list[int]`; `ttl`, the
                default time to live of values put there; `encode` and `decode`; `codec`.
        """
        return SyncCollection(self, Collection(self._store, name, **options))

    # The verbs, described in `satchel.protocol`. Keys and items are read in the caller's thread: they may be a listing
    # of this store, for which the loop's own thread could not wait.

    @overload
    def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    def get(self, collection: str, key: str, default: D) -> Any | D: ...
    def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent. A stored `None` is returned as itself."""
        return self._call(self._store.get, collection, key, default)

    def get_entry(self, collection: str, key: str) -> Entry | None:
        """Return the entry under a key: the value with version, times and size."""
        return self._call(self._store.get_entry, collection, key)

    def exists(self, collection: str, key: str) -> bool:
        """Return whether there is an entry under a key."""
        return self._call(self._store.exists, collection, key)

    def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing any existing entry and its deadline."""
        self._call(self._store.put, collection, key, value, ttl=ttl)

    def delete(self, collection: str, key: str) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        return self._call(self._store.delete, collection, key)

    def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of the keys that exist, in the order requested."""
        return self._call(self._store.get_many, collection, check_names(keys))

    def get_entries(self, collection: str, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of the keys that exist, in the order requested."""
        return self._call(self._store.get_entries, collection, check_names(keys))

    def put_many(self, collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        self._call(self._store.put_many, collection, dict(check_items(items)), ttl=ttl)

    def delete_many(self, collection: str, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many existed."""
        return self._call(self._store.delete_many, collection, check_names(keys))

    def ping(self) -> None:
        """Return when the backend answers."""
        self._call(self._store.ping)

    def keys(
        self, collection: str, *, prefix: str = "", limit: int | None = None, after: str | None = None
    ) -> Iterator[str]:
        """Iterate over the keys of a collection, in no particular order unless `after` is given, in constant memory."""
        order = {} if after is None else {"after": after}  # a third-party store may not have `after`
        keys: Any = self._able("keys").keys
        return self._listed("keys", keys(collection, prefix=prefix, limit=limit, **order))

    def count(self, collection: str, *, prefix: str = "") -> int:
        """Return how many entries a collection has, or how many of its keys start with a prefix."""
        return self._call(self._able("count").count, collection, prefix=prefix)

    def collections(self) -> Iterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        return self._listed("collections", self._able("collections").collections())

    def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and return whether there was one."""
        return self._call(self._able("destroy_collection").destroy_collection, collection)

    def destroy(self) -> bool:
        """Remove everything that this store wrote and nothing else, and return whether there was any entry."""
        return self._call(self._able("destroy").destroy)

    def cull(self) -> int:
        """Reclaim the space of expired entries now, and return how many there were."""
        return self._call(self._able("cull").cull)

    def put_if_absent(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> str | None:
        """Store a value if the key is absent, and return its version; None when the key exists."""
        return self._call(self._able("put_if_absent").put_if_absent, collection, key, value, ttl=ttl)

    def compare_and_put(
        self, collection: str, key: str, value: object, *, version: str, ttl: TTL | None = None
    ) -> str | None:
        """Replace the entry if it still has the version, and return the new version; otherwise None."""
        put = self._able("compare_and_put").compare_and_put
        return self._call(put, collection, key, value, version=version, ttl=ttl)

    def compare_and_delete(self, collection: str, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and return whether it was removed."""
        return self._call(self._able("compare_and_delete").compare_and_delete, collection, key, version=version)

    def touch(self, collection: str, key: str, *, ttl: TTL | None) -> bool:
        """Give the entry a new deadline, None for no deadline, and return whether it existed."""
        return self._call(self._able("touch").touch, collection, key, ttl=ttl)

    def watch(self, collection: str, *, prefix: str = "") -> AbstractContextManager[Iterator[Change]]:
        """Watch the entries of a collection for changes by any client; each step of the iterator waits for one."""
        return self._watched(self._able("watch").watch(collection, prefix=prefix))

    def _able(self, operation: str) -> SupportsEverything:
        if NEEDED[operation] not in self.capabilities:
            raise UnsupportedOperationError(f"{self!r} does not have {operation}; see its .capabilities")
        return self._store

    def _watched(self, manager: AbstractAsyncContextManager[AsyncIterator[T]]) -> AbstractContextManager[Iterator[T]]:
        return watched(manager, self._thread)

    def _listed(self, operation: str, items: AsyncIterator[T]) -> Iterator[T]:
        listing = Listing(items)
        try:
            while page := self._thread.carry_out(operation, listing.page):
                yield from page
        finally:
            self._thread.post(listing.close)  # not waited for: the garbage collector may run this in any thread
