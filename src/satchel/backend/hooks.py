"""`Hooks`: the methods that a backend implements, and the capabilities that follow from them."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, ClassVar, Final, Literal, TypeVar

from .._forks import hold
from ..capability import Capability
from ..clock import Clock
from ..errors import SatchelError, UnsupportedOperationError
from ..names import Ref
from ..verbs import NEEDED
from .record import Checksums, Record
from .time_limit import TimeLimit
from .watching import Feed

Hook = TypeVar("Hook", bound=Callable[..., Any])
T = TypeVar("T")


class Unprocessed(enum.Enum):
    """Type of `UNPROCESSED`."""

    UNPROCESSED = "unprocessed"


UNPROCESSED: Final = Unprocessed.UNPROCESSED
"""Outcome of an item that the engine left unprocessed; the base sends it again later."""

ReadResult = Record | None | SatchelError | Literal[Unprocessed.UNPROCESSED]
"""Outcome of `_read` for an item: a record, None if absent, or the error of this item alone."""

ChangeResult = bool | SatchelError | Literal[Unprocessed.UNPROCESSED]
"""Outcome of a changing hook for an item: whether it was done, or the error of this item alone."""

WriteResult = None | SatchelError | Literal[Unprocessed.UNPROCESSED]
"""Outcome of `_write` for an item: None for written, or the error of this item alone."""

PutIfResult = ChangeResult | str
"""Outcome of `_put_if` for an item: that of a change, or for one that was done the version that the engine chose."""

ABSENT = None
"""As the condition of `_put_if`: write only where nothing is."""

Condition = str | None
"""The version that an entry must have for a conditional write, or `ABSENT`."""


def optional(hook: Hook) -> Hook:
    """Mark a hook that a backend need not have; without it the store lacks the capability."""
    hook.is_absent = True  # type: ignore[attr-defined]  # functions take any attribute
    return hook


class Hooks(ABC):
    """Hooks that a backend implements, the limits within which they are called, and the capabilities that follow.

    The engine of a store is written against this class alone.
    """

    clock: Clock
    """Function that returns seconds since the Unix epoch."""
    _timeout: float | None
    """Seconds that one request may take; None for no limit."""
    _time_limit: TimeLimit

    _max_inflight: ClassVar[int] = 1
    """Maximum number of concurrent requests of each kind, reading and writing."""
    _max_items: ClassVar[int] = 500
    """The most items in one call of a hook."""
    _max_reads: ClassVar[int | None] = None
    """Maximum number of items in one call of `_read`, if it differs; None for `_max_items`."""
    _max_bytes: ClassVar[int] = 4 * 1024 * 1024
    """The most payload bytes in one call of a hook, but for a single item."""
    _shield_writes: ClassVar[bool] = True
    """Finish a write that was sent though its caller was cancelled. False only for an engine that carries out what it
    was sent in order, cut off or not: then a lone write needs no task."""
    _checksums: ClassVar[Checksums] = "record"
    """Where a record's checksum is made: in the record before a hook gets it; by `pack`, for a backend that stores
    records packed alone ("wire"; large records have theirs before, from a worker thread); or nowhere ("none")."""
    _open_sets_own_timeouts: ClassVar[bool] = False
    """`_open` may take longer than one request: it bounds each of its steps with `_with_timeout` itself."""
    _native_expiry: ClassVar[bool] = False
    """The engine reclaims expired entries without `cull`."""
    _any_loop: ClassVar[bool] = False
    """The store has nothing that belongs to an event loop: several may use it, also in several threads at once."""
    _max_value_bytes: int | None = None
    """The largest encoded value."""

    _lent: str | None = None
    """What the caller gave to the store that has connections, as messages call it: no child of `fork` can use it."""

    _hooks: ClassVar[dict[Capability, tuple[str, ...]]] = {
        Capability.ENUMERATE_KEYS: ("_keys",),
        Capability.ENUMERATE_COLLECTIONS: ("_collections",),
        Capability.DESTROY_COLLECTION: ("_destroy_collection",),
        Capability.DESTROY_STORE: ("_destroy",),
        Capability.CULL: ("_cull",),
        Capability.CONDITIONAL: ("_put_if", "_delete_if", "_touch"),
        Capability.WATCH: ("_watch",),
    }
    _class_capabilities: ClassVar[Capability] = Capability.NONE
    _missing = Capability.NONE
    """Capabilities that this instance turned out not to have; a hook may add to them in `_open`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._class_capabilities = Capability.NONE
        for capability, names in cls._hooks.items():
            hooks = [getattr(cls, name, None) for name in names]
            if all(hook is not None and not hasattr(hook, "is_absent") for hook in hooks):
                cls._class_capabilities |= capability

    @abstractmethod
    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        """Return the records, expired ones as they are."""

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        """Return the records as `_read` does, but with any payload: nobody looks at it.

        It is for engines that can leave the values where they are. The values are not checked.
        """
        return await self._read(refs)

    @abstractmethod
    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        """Store records, replacing existing ones and their deadlines."""

    @abstractmethod
    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        """Remove entries; say of each whether it existed and live."""

    @optional
    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[PutIfResult]:
        """Store each record where the condition holds; return whether it did. Each is one atomic step.

        An engine that gives entries versions of its own returns the new one in place of True.
        """
        raise self._unsupported("put_if_absent")

    @optional
    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        """Remove each entry that has the version; return whether it had. Each is one atomic step."""
        raise self._unsupported("compare_and_delete")

    @optional
    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        """Give each live entry a new deadline, and nothing else; return whether there was one."""
        raise self._unsupported("touch")

    @optional
    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of live entries in pages of bounded size."""
        raise self._unsupported("keys")

    @optional
    def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        """Give the keys of live entries that sort after a key, in order, in pages of bounded size.

        It is for engines that can start there without reading what comes before.
        """
        raise self._unsupported("keys")

    @optional
    async def _count(self, collection: str, prefix: str, now: float) -> int:
        """Return how many live entries have keys with a prefix; for engines that can tell without giving the keys."""
        raise self._unsupported("count")

    @optional
    def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        """Yield the collections with live entries, each once, in pages of bounded size."""
        raise self._unsupported("collections")

    @optional
    async def _destroy_collection(self, collection: str, now: float) -> bool:
        """Remove a collection; return whether it had a live entry."""
        raise self._unsupported("destroy_collection")

    @optional
    async def _destroy(self, now: float) -> bool:
        """Remove all that this store wrote and nothing else; return whether there was a live entry."""
        raise self._unsupported("destroy")

    @optional
    async def _cull(self, now: float) -> int:
        """Remove entries that have expired, never one put meanwhile; return how many."""
        raise self._unsupported("cull")

    @optional
    async def _first_deadline(self) -> float:
        """Return the earliest deadline of all entries, `NEVER` if none has one.

        It makes the base call `_cull` about a minute after each deadline, also in a process that writes nothing more.
        It is asked a minute after `_open`, and after each such `_cull`.
        """
        raise self._unsupported("cull")

    @optional
    async def _watch(self, feed: Feed) -> None:
        """Report the changes that any client makes, until cancelled.

        It runs once for all watchers of a store, in a task of its own, from the first watcher to the last:

        * It makes a connection of its own and subscribes, each step within `_with_timeout`, calls `feed.ready()` once
          whatever changes from then on will be reported, then `feed.changed(collection, key)` for each change. It need
          not look whether anybody watches that collection, and may report a change more than once or for nothing.
        * An engine that is asked for each collection apart follows `feed.wanted()`, and calls `feed.ready(collection)`.
        * It calls `feed.lost()` where it cannot tell what changed, and goes on.
        * When its connection breaks, or has been silent for too long, it releases it and raises what the driver raised.
          Watchers are told `lost`, and the hook is called again after a pause. An error before the first `ready` is
          raised where the watch began.
        * It may return, to be called again where it has to subscribe in another way; watchers are told `lost` then too.
        * When the last watcher leaves it is cancelled, and releases its connection.
        """
        raise self._unsupported("watch")

    async def _open(self) -> None:
        """Acquire connections and the like. Is called before the first hook, again after `_close` or `_discard`."""

    async def _close(self) -> None:
        """Release what `_open` acquired."""

    def _discard(self) -> None:
        """Drop the resources that `_open` acquired on a closed event loop, without awaiting anything."""

    def _disown(self) -> None:
        """In a child of `fork`: drop the parent's resources, without closing them or sending anything.

        By default all that the store refers to is held forever, so that nothing of it is closed as garbage; `_open`
        replaces it.
        """
        hold(dict(vars(self)))

    async def _ping(self) -> None:
        """Ask the backend for a sign of life."""

    def _map_error(self, error: Exception) -> SatchelError | None:
        """Return the satchel error for a driver's own; None for the default, by `OSError` and `TimeoutError`.

        The message must hold no value and no secret.
        """
        return None

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        """Return the names where the backend cannot give them back, because it hashes them: the record keeps them."""
        return None

    async def _with_timeout(self, request: Awaitable[T]) -> T:
        """Await one request; after the store's timeout it is cut off, and `TimeoutError` is raised."""
        return await (request if self._timeout is None else self._time_limit.bound(request, self._timeout))

    @property
    def capabilities(self) -> Capability:
        """The capabilities of this store beyond the core."""
        return self._class_capabilities & ~self._missing

    def _need(self, operation: str) -> None:
        if NEEDED.get(operation, Capability.NONE) not in self.capabilities:
            raise self._unsupported(operation)

    def _unsupported(self, operation: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(f"{self!r} does not have {operation}; see its .capabilities")
