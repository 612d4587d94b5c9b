"""`from_py_key_value`: a store of py-key-value as a satchel store."""

from __future__ import annotations

import math
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, ClassVar, TypeVar

from key_value.aio.protocols import AsyncKeyValue as TheirKeyValue
from key_value.aio.protocols.key_value import (
    AsyncEnumerateCollectionsProtocol,
    AsyncEnumerateKeysProtocol,
    AsyncKeyValueProtocol,
)

from ..._threads import Worker
from ...backend.base import BaseStore, ChangeResult, ReadResult, WriteResult
from ...backend.network import DEFAULT_TIMEOUT
from ...backend.record import Record
from ...capability import Capability
from ...clock import NEVER, Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, IntegrityError, SatchelError, StoreError
from ...names import FOLDED_SAFE, Escaping, Ref
from .envelope import unwrap, wrap
from .errors import as_ours

T = TypeVar("T")

# Their stores join collection and key with colons, fold the case of some, and keep H_ and S_ at the start for
# themselves: no name of ours has any of that.
_NAMES = Escaping(FOLDED_SAFE, max_bytes=200)
_MOST_NAMES = 10_000
_PAGE = 500
_SPARE_SECONDS = 1
_BLOCKING = frozenset({"chdb", "disk", "duckdb", "keyring", "rocksdb", "vault", "windows_registry"})


def from_py_key_value(
    store: TheirKeyValue,
    *,
    timeout: float | None = DEFAULT_TIMEOUT,
    codec: Codec | None = None,
    clock: Clock = system_clock,
) -> PyKeyValueStore:
    """Return a store of py-key-value as a satchel store.

    It accepts exactly what every satchel store accepts: each entry is a dict that holds the encoded value, its version,
    times and a checksum. Reading an entry put through py-key-value raises `IntegrityError`; `docs/migrating.md` shows
    how to copy those.

    * It can list, and destroy satchel's entries, if the store has `keys` and `collections`; but at most 10,000 names,
      because py-key-value has no pages: beyond that it raises `StoreError` rather than omit names.
    * It has no conditional writes and no `cull`: py-key-value has nothing to build them on.
    * Stores whose calls block, such as its `DiskStore`, are called in a worker thread, one call at a time.
    * Stores that hold connections, such as its `RedisStore`, work on the event loop of their first call alone.

    The store passed in stays yours: close it yourself.

    Args:
        store: A store or wrapper of py-key-value.
        timeout: Seconds that a call may take; None for no limit.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: The argument is not a store of py-key-value.
    """
    return PyKeyValueStore(store, timeout=timeout, codec=codec, clock=clock)


class PyKeyValueStore(BaseStore):
    """Store that keeps entries in a store of py-key-value, as made by `from_py_key_value`."""

    _max_inflight: ClassVar[int] = 4
    _native_expiry: ClassVar[bool] = True

    def __init__(
        self,
        store: TheirKeyValue,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if isinstance(store, type) or not isinstance(store, AsyncKeyValueProtocol):
            kind = store.__name__ if isinstance(store, type) else type(store).__name__
            raise ConfigurationError(f"from_py_key_value takes a store of py-key-value, got {kind}")
        self._theirs: Any = store  # what it has beyond the core, its capabilities say
        self._blocks = _is_blocking(store)
        self._worker: Worker | None = None
        if not isinstance(store, AsyncEnumerateKeysProtocol):
            self._missing = Capability.ENUMERATE_KEYS | Capability.DESTROY_COLLECTION | _ALL_OF_IT
        elif not isinstance(store, AsyncEnumerateCollectionsProtocol):
            self._missing = _ALL_OF_IT
        super().__init__(codec=codec, clock=clock, timeout=timeout)

    def __repr__(self) -> str:
        return f"PyKeyValueStore({type(self._theirs).__name__})"

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        outcomes: dict[Ref, ReadResult] = {}
        for collection, members in _by_collection(refs):
            keys = [_NAMES.escape(key) for _, key in members]
            found = await self._call(self._theirs.get_many, keys, collection=collection)
            outcomes |= {ref: _outcome(ref, stored) for ref, stored in zip(members, found, strict=True)}
        return [outcomes[ref] for ref in refs]

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        now = self.clock()
        batches: dict[tuple[str, int | None], dict[str, dict[str, Any]]] = {}
        for (collection, key), record in records:
            place = _NAMES.escape(collection), _lifetime(record.deadline, now)
            batches.setdefault(place, {})[_NAMES.escape(key)] = wrap(record)
        for (collection, ttl), items in batches.items():
            await self._call(self._theirs.put_many, list(items), list(items.values()), collection=collection, ttl=ttl)
        return [None] * len(records)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        done: list[ChangeResult] = []
        for ref, outcome in zip(refs, await self._read(refs), strict=True):
            # An expired entry is absent already, and another writer may be putting a fresh one.
            if isinstance(outcome, IntegrityError) or (isinstance(outcome, Record) and outcome.deadline > now):
                collection, key = map(_NAMES.escape, ref)
                done.append(await self._call(self._theirs.delete, key, collection=collection))
            else:
                done.append(outcome if isinstance(outcome, SatchelError) else False)
        return done

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        async for page in self._pages(_NAMES.escape(collection)):
            names = [_key(key, record) for key, record in page.items() if record.deadline > now]
            yield [name for name in names if name is not None and name.startswith(prefix)]

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        for collection in await self._collection_names():
            living = await self._living(collection, now)
            if living is not None:
                name = _NAMES.unescape(collection) if living.names is None else living.names[0]
                yield [] if name is None else [name]

    async def _living(self, collection: str, now: float) -> Record | None:
        async with aclosing(self._pages(collection)) as pages:
            async for page in pages:
                for record in page.values():
                    if record.deadline > now:
                        return record
        return None

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._destroy_place(_NAMES.escape(collection), now)

    async def _destroy(self, now: float) -> bool:
        lived = [await self._destroy_place(name, now) for name in await self._collection_names()]
        return any(lived)

    async def _destroy_place(self, collection: str, now: float) -> bool:
        # Theirs may take more than satchel wrote, and some of their stores do not work after it.
        lived = False
        async for page in self._pages(collection):
            lived |= any(record.deadline > now for record in page.values())
            if page:
                await self._with_timeout(self._call(self._theirs.delete_many, list(page), collection=collection))
        return lived

    async def _ping(self) -> None:
        await self._call(self._theirs.get, "ping", collection="ping")

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return None if all(_NAMES.unescape(_NAMES.escape(name)) == name for name in ref) else ref

    def _map_error(self, error: Exception) -> SatchelError | None:
        return as_ours(error, repr(self))

    async def _pages(self, collection: str) -> AsyncGenerator[dict[str, Record], None]:
        """Yield the entries of satchel's in a collection, by py-key-value's own keys; expired ones too."""
        keys = _complete(
            await self._with_timeout(self._call(self._theirs.keys, collection, limit=_MOST_NAMES)),
            "keys of a collection",
        )
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            found = await self._with_timeout(self._call(self._theirs.get_many, page, collection=collection))
            records = {key: _record(stored) for key, stored in zip(page, found, strict=True)}
            yield {key: record for key, record in records.items() if record is not None}

    async def _collection_names(self) -> list[str]:
        return _complete(
            await self._with_timeout(self._call(self._theirs.collections, limit=_MOST_NAMES)), "collections"
        )

    async def _call(self, method: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        if self._worker is None:
            return await method(*args, **kwargs)
        return await self._worker.run(partial(_without_loop, method, *args, **kwargs))

    async def _open(self) -> None:
        self._lent = "a store of py-key-value"
        if self._blocks:  # one thread: a call that was cut off and goes on is done before the next one starts
            self._worker = worker = Worker("satchel-py-key-value", lambda: None)
            self._end_worker = weakref.finalize(self, _end_worker, worker, self._theirs)
            self._end_worker.atexit = False

    async def _close(self) -> None:
        if self._worker is not None:
            await self._worker.run(_close_connections, self._theirs)
        self._discard()

    def _discard(self) -> None:
        if self._worker is not None:
            self._end_worker()
            self._worker = None


_ALL_OF_IT = Capability.ENUMERATE_COLLECTIONS | Capability.DESTROY_STORE


def _without_loop(method: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
    """Carry out a coroutine that never waits for anything: that is what makes a store a blocking one."""
    coroutine = method(*args, **kwargs)
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise StoreError("a store of py-key-value that is known to block waits for the event loop; please report it")


def _end_worker(worker: Worker, store: object) -> None:
    with suppress(RuntimeError):  # it has ended with the process
        worker.submit(_close_connections, store)
    worker.end()


def _close_connections(store: object) -> None:
    """Close what diskcache opened for this thread: only the thread itself can, and another call would open it anew."""
    inner: Any = store
    while (wrapped := getattr(inner, "key_value", None)) is not None:
        inner = wrapped
    caches = getattr(inner, "_cache", None)
    for cache in caches.values() if isinstance(caches, dict) else [caches]:
        if cache is not None and type(cache).__module__.startswith("diskcache."):
            cache.close()


def _is_blocking(store: object) -> bool:
    while store is not None:
        for kind in type(store).__mro__:
            if kind.__module__.startswith("key_value.aio.stores.") and kind.__module__.split(".")[3] in _BLOCKING:
                return True
        store = getattr(store, "key_value", None)  # it is a wrapper
    return False


def _by_collection(refs: Iterable[Ref]) -> Iterator[tuple[str, list[Ref]]]:
    groups: dict[str, list[Ref]] = {}
    for ref in refs:
        groups.setdefault(ref[0], []).append(ref)
    for collection, members in groups.items():
        yield _NAMES.escape(collection), members


def _outcome(ref: Ref, stored: object) -> ReadResult:
    if stored is None:
        return None
    try:
        record = unwrap(stored)
    except IntegrityError as error:
        return error
    if record.names not in (None, ref):
        return IntegrityError("the stored entry belongs to another key: another program copied it here")
    return record


def _record(stored: object) -> Record | None:
    try:
        return None if stored is None else unwrap(stored)
    except IntegrityError:
        return None  # not satchel's


def _key(escaped: str, record: Record) -> str | None:
    return _NAMES.unescape(escaped) if record.names is None else record.names[1]


def _lifetime(deadline: float, now: float) -> int | None:
    """Return for how many seconds their store has to keep an entry: it reclaims space, the deadline decides."""
    return None if deadline == NEVER else math.ceil(max(deadline - now, 0)) + _SPARE_SECONDS


def _complete(names: list[str], what: str) -> list[str]:
    if len(names) >= _MOST_NAMES:
        raise StoreError(f"there are {_MOST_NAMES} {what} or more, and py-key-value cannot list more than that")
    return names
