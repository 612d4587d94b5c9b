"""`BaseStore`: what backends share, so that a backend is a few short hooks, those in `satchel.backend.hooks`.

A backend sees only legal names, records, and times as plain numbers. The base checks arguments before any I/O, opens
the store at the first call, turns a ttl into a deadline, encodes and decodes, coalesces, hides what has expired, splits
batches, and turns what drivers raise into satchel's errors. `KeyedStore` is the one for engines without a bulk form.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from .._batches import checked_items, checked_names, in_order
from .._checks import check_clock, check_seconds
from ..change import Change
from ..clock import TTL, Clock, deadline_after, system_clock
from ..codec import Codec
from ..collection import HasCollections
from ..entry import Entry
from ..errors import SatchelError
from ..names import MAX_NAME_BYTES, check_after, check_limit, check_name, check_prefix, check_ref
from ..url.description import Described
from .coalescer import Operation, Request
from .engine import Engine
from .hooks import ABSENT, UNPROCESSED, ChangeResult, Condition, Hooks, ReadResult, WriteResult, optional
from .time_limit import TimeLimit

__all__ = ["ABSENT", "UNPROCESSED", "BaseStore", "ChangeResult", "Condition", "ReadResult", "WriteResult", "optional"]

D = TypeVar("D")
T = TypeVar("T")


class BaseStore(Hooks, HasCollections, Described):
    """Base class for backends with bulk operations.

    A subclass writes `_read`, `_write` and `_delete`, and those optional hooks that its engine can honour; each adds
    its capability. A hook set to None is not there. The items of one hook call have distinct names. A hook returns one
    outcome an item, in order; what it raises fails all of them. `now` is the store's clock: to the deleting,
    conditional and listing hooks, what has a deadline at or before it is absent. `docs/writing-a-store.md` shows a
    whole store.

    Args:
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.
        timeout: Seconds that a request may take, from sending it to its answer, and opening; None for no limit. A hook
            that makes several requests one after the other, as `_destroy` and `_cull` do, bounds each with
            `_with_timeout`.
    """

    def __init__(
        self, *, codec: Codec | None = None, clock: Clock = system_clock, timeout: float | None = None
    ) -> None:
        check_clock(clock)
        if timeout is not None:
            check_seconds("timeout", timeout)
        self.clock = clock
        self._timeout = timeout
        self._time_limit = TimeLimit(several_loops=self._any_loop)
        self._engine = Engine(self, codec)
        self._lifecycle = self._engine.lifecycle
        """Whether the store is open, and the calls under way."""
        self._serializer = self._engine.serializer
        """Converts between values and records."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # `satchel.protocol` says what each of these does.

    max_key_bytes: int = MAX_NAME_BYTES
    """The longest key, in UTF-8 bytes."""

    @property
    def max_value_bytes(self) -> int | None:
        """The largest encoded value that the backend takes; None for no limit that is known."""
        return self._max_value_bytes

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent."""
        ref = check_ref(collection, key, self.max_key_bytes)
        record = await self._engine.read("get", ref)
        return default if record is None else await self._engine.value("get", ref, record)

    async def get_entry(self, collection: str, key: str) -> Entry | None:
        """Return the entry under a key: the value with version, times and size."""
        ref = check_ref(collection, key, self.max_key_bytes)
        record = await self._engine.read("get_entry", ref)
        return None if record is None else await self._engine.entry("get_entry", ref, record)

    async def exists(self, collection: str, key: str) -> bool:
        """Return whether there is an entry under a key."""
        head = await self._engine.read("exists", check_ref(collection, key, self.max_key_bytes), Operation.READ_HEAD)
        return head is not None

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing any existing entry and its deadline."""
        await self._engine.put("put", check_ref(collection, key, self.max_key_bytes), value, ttl)

    async def delete(self, collection: str, key: str) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        done: bool = await self._engine.change(
            "delete", Request(Operation.DELETE, check_ref(collection, key, self.max_key_bytes))
        )
        return done

    async def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of the keys that exist, in the order requested."""
        names = await self._checked_keys(collection, keys)
        return await self._engine.read_many("get_many", *names, self._engine.value_of)

    async def get_entries(self, collection: str, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of the keys that exist, in the order requested."""
        names = await self._checked_keys(collection, keys)
        return await self._engine.read_many("get_entries", *names, self._engine.entry_of)

    async def put_many(self, collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        name = check_name(collection, "collection")
        checked = await checked_items(items, self.max_key_bytes)
        deadline_after(ttl, 0)  # there may be no item to refuse it
        await self._engine.put_many("put_many", name, checked, ttl)

    async def delete_many(self, collection: str, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many of them were there."""
        return await self._engine.delete_many("delete_many", *await self._checked_keys(collection, keys))

    async def ping(self) -> None:
        """Return when the backend answers."""
        await self._engine.run_admin("ping", lambda: self._with_timeout(self._ping()))

    async def put_if_absent(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> str | None:
        """Store a value if the key is absent, and return its version; None when something was there."""
        self._need("put_if_absent")
        return await self._engine.put(
            "put_if_absent", check_ref(collection, key, self.max_key_bytes), value, ttl, ABSENT
        )

    async def compare_and_put(
        self, collection: str, key: str, value: object, *, version: str, ttl: TTL | None = None
    ) -> str | None:
        """Replace the entry if it still has the version, and return the new version; None when it has not."""
        self._need("compare_and_put")
        expected = _check_version(version)
        return await self._engine.put(
            "compare_and_put", check_ref(collection, key, self.max_key_bytes), value, ttl, expected
        )

    async def compare_and_delete(self, collection: str, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and return whether it was removed."""
        self._need("compare_and_delete")
        request = Request(Operation.DELETE_IF, check_ref(collection, key, self.max_key_bytes), _check_version(version))
        done: bool = await self._engine.change("compare_and_delete", request)
        return done

    async def touch(self, collection: str, key: str, *, ttl: TTL | None) -> bool:
        """Give the entry a new deadline, None for no deadline, and return whether it existed."""
        self._need("touch")
        deadline = deadline_after(ttl, self.clock())
        done: bool = await self._engine.change(
            "touch", Request(Operation.TOUCH, check_ref(collection, key, self.max_key_bytes), deadline)
        )
        return done

    def keys(
        self, collection: str, *, prefix: str = "", limit: int | None = None, after: str | None = None
    ) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order unless `after` is given, in constant memory."""
        self._need("keys")
        name, start, most = check_name(collection, "collection"), check_prefix(prefix), check_limit(limit)
        behind = check_after(after)
        if behind is None:
            return self._engine.listing("keys", lambda: self._keys(name, start, self.clock()), most)
        if _is_written(self._keys_after):
            return self._engine.listing("keys", lambda: self._keys_after(name, start, behind, self.clock()), most)
        return in_order(lambda: self.keys(name, prefix=start), behind, most)

    async def count(self, collection: str, *, prefix: str = "") -> int:
        """Return how many entries a collection has, or how many of its keys start with a prefix."""
        self._need("count")
        name, start = check_name(collection, "collection"), check_prefix(prefix)
        if _is_written(self._count):
            return await self._engine.run_admin("count", lambda: self._count(name, start, self.clock()))
        count = 0
        async for _ in self._engine.listing("count", lambda: self._keys(name, start, self.clock()), None):
            count += 1
        return count

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        self._need("collections")
        return self._engine.listing("collections", lambda: self._collections(self.clock()), None)

    async def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and return whether there was one."""
        self._need("destroy_collection")
        name = check_name(collection, "collection")
        return await self._engine.run_admin(
            "destroy_collection", lambda: self._destroy_collection(name, self.clock()), settle=True
        )

    async def destroy(self) -> bool:
        """Remove everything that this store wrote and nothing else, and return whether there was any entry."""
        self._need("destroy")
        return await self._engine.run_admin("destroy", lambda: self._destroy(self.clock()), settle=True)

    async def cull(self) -> int:
        """Reclaim the space of expired entries now, and return how many there were."""
        self._need("cull")
        return await self._engine.run_admin("cull", lambda: self._cull(self.clock()))

    def watch(self, collection: str, *, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Watch the entries of a collection."""
        self._need("watch")
        name, start = check_name(collection, "collection"), check_prefix(prefix)
        return self._engine.watching.watch(name, start, self._engine.open_for_watching)

    async def aclose(self) -> None:
        """Refuse new calls, wait for those under way, and release the store's own resources.

        Raises:
            StoreClosedError: The store has been closed before. Leaving `async with` after that raises nothing.
        """
        await self._lifecycle.aclose()

    async def __aenter__(self) -> Self:
        self._lifecycle.check("__aenter__")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._lifecycle.ended:
            await self.aclose()

    async def _checked_keys(self, collection: object, keys: object) -> tuple[str, list[str]]:
        return check_name(collection, "collection"), await checked_names(keys, self.max_key_bytes)

    # What a backend may use that answers some calls itself, past the engine's queues.

    def _call_failed(self, error: SatchelError, operation: str, collection: str, key: str) -> SatchelError:
        """Return the error of a failed call, to be raised: it names the store, the operation and the key."""
        return self._engine.failure(error, operation, collection, key)

    def _count_deadlines(self, count: int) -> None:
        """Count entries that `_cull` will have to reclaim; when they are many, it runs in the background."""
        self._engine.reclaimer.count(count)

    async def _run_admin(self, operation: str, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out something that is not about single entries, on the open store, with errors mapped."""
        return await self._engine.run_admin(operation, work)


def _is_written(hook: object) -> bool:
    return not hasattr(hook, "is_absent")


def _check_version(version: object) -> str:
    if not isinstance(version, str):
        raise TypeError(f"version must be the str that an entry or an earlier write gave, got {type(version).__name__}")
    return version
