"""`Seams`: what a wrapper overrides, and how names, values and errors go through it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, ClassVar, TypeVar

from ..clock import TTL
from ..codec import LARGE, rough_size
from ..entry import Entry
from ..errors import BatchError, SatchelError, StoreError
from ..names import MAX_NAME_BYTES, Ref, check_name
from ..threads import in_worker
from .call import IN_WORKER, Call

E = TypeVar("E", bound=StoreError)
T = TypeVar("T")

_A_TURN = 16
"""So many values of a batch are transformed in one go."""


class ChecksNames:
    """Checks the names of an entry."""

    _limit: int
    """The longest key, in UTF-8 bytes."""

    def _checked(self, collection: str, key: str) -> Ref:
        # Most names are plain, and further calls for them would cost more than their mapping.
        if (
            type(key) is str
            and type(collection) is str
            and key.isascii()
            and collection.isascii()
            and 0 < len(key) <= self._limit
            and 0 < len(collection) <= MAX_NAME_BYTES
        ):
            return collection, key
        return check_name(collection, "collection"), check_name(key, "key", self._limit)


class Seams(ChecksNames):
    """Is the inner face of `BaseWrapper`."""

    _shares_collections: ClassVar[bool] = False
    """An inner collection also holds keys that are not this wrapper's: it is listed and destroyed key by key."""
    _shares_store: ClassVar[bool] = False
    """The inner store also holds collections that are not this wrapper's: it is destroyed collection by collection."""
    _around_steps: ClassVar[bool] = False
    """Each step of a listing goes through `_around` as a call of its own; its `function` is a `Steps`."""

    def _ref(self, collection: str, key: str) -> Ref:
        """Return the inner store's names for an entry. The first must be `_collection(collection)`."""
        return self._collection(collection), key

    def _unref(self, collection: str, key: str) -> str | None:
        """Return the key that `_ref` made an inner key of; None when it made it of none in this collection.

        The collection is the caller's, the key is from the inner collection.
        """
        return key

    def _collection(self, collection: str) -> str:
        """Return the inner store's collection for a collection."""
        return collection

    def _uncollection(self, collection: str) -> str | None:
        """Return the collection of which `_collection` made an inner one; None when of none."""
        return collection

    def _prefix(self, collection: str, prefix: str) -> str | None:
        """Return the prefix of the inner keys of all keys with a prefix; None when they have none in common."""
        return prefix if not self._overrides("_ref") else None

    def _encode(self, ref: Ref, value: object) -> object:
        """Return what the inner store keeps for a value; in a worker thread when the value is large."""
        return value

    def _decode(self, ref: Ref, value: Any) -> Any:
        """Return the value of which `_encode` made an inner one; in a worker thread when that is large."""
        return value

    def _encode_if_small(self, ref: Ref, value: object) -> object:
        """Do what `_encode` does if it is quickly done; return `IN_WORKER` for what belongs in a worker thread.

        Override it, and `_decode_if_small`, where the size of the work can be told sooner or better than by a walk over
        the value.
        """
        return IN_WORKER if rough_size(value) >= LARGE else self._encode(ref, value)

    def _decode_if_small(self, ref: Ref, value: Any) -> Any:
        """Do what `_decode` does if it is quickly done; return `IN_WORKER` for what belongs in a worker thread."""
        return IN_WORKER if rough_size(value) >= LARGE else self._decode(ref, value)

    def _ttl(self, ttl: TTL | None) -> TTL | None:
        """Return the time to live with which the inner store keeps an entry."""
        return ttl

    async def _around(self, operation: str, call: Call) -> Any:
        """Carry out a call by `await call()`, once or several times or not at all, and return its outcome.

        The outcome of a `get` of an absent entry is `MISSING`.
        """
        return await self._carry_out(operation, call.function, *call.arguments, **call.named)

    async def _carry_out(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        """Do what `_around` is for by `await function(*args, **named)`, and at half the cost.

        It is for wrappers that look at times and failures. The outcome of a `get` of an absent entry is its caller's
        default. A batch has been checked as for `_around`.
        """
        return await function(*args, **named)

    def _own_error(self, kind: type[E], operation: str, call: Call, said: str, **more: Any) -> E:
        """Return an error of this wrapper's own about a call, with the names of its caller."""
        collection = call.collection if isinstance(call.collection, str) else None
        key = call.key if isinstance(call.key, str) and collection is not None else None
        place = "of " if collection is None or key is None else _place((collection, key))
        about: dict[str, Any] = {"store": repr(self), "operation": operation, "collection": collection, "key": key}
        return kind(f"{operation} {place}{self!r}: {said}", **about, **more)

    async def _finish(self) -> None:
        """Finish what this wrapper itself has under way: the inner store, which is still open, is closed next.

        It may be called again, then with nothing left to do.
        """

    # How the verbs go through them.

    def _overrides(self, *seams: str) -> bool:
        return any(getattr(type(self), seam) is not getattr(Seams, seam) for seam in seams)

    async def _call(self, function: Callable[..., Awaitable[T]], ref: Ref, *arguments: Any, **named: Any) -> T:
        """Call a method of the inner store about one entry of the caller's."""
        inner = self._ref(*ref)
        try:
            return await function(*inner, *arguments, **named)
        except SatchelError as error:
            raise renamed(error, {inner: ref}, ref[0]) from error.__cause__ or error

    async def _call_many(
        self,
        function: Callable[..., Awaitable[T]],
        collection: str,
        keys: Mapping[str, str],
        *arguments: Any,
        **named: Any,
    ) -> T:
        """Call a method of the inner store about many entries; `keys` gives the caller's keys for the inner ones."""
        inner = self._collection(collection)
        try:
            return await function(inner, *arguments, **named)
        except SatchelError as error:
            names = {(inner, name): (collection, key) for name, key in keys.items()}
            raise renamed(error, names, collection) from error.__cause__ or error

    async def _encoded(self, operation: str, ref: Ref, value: object) -> object:
        return await self._transformed(self._encode_if_small, self._encode, operation, ref, value)

    async def _decoded(self, operation: str, ref: Ref, value: Any) -> Any:
        return await self._transformed(self._decode_if_small, self._decode, operation, ref, value)

    async def _decoded_entry(self, operation: str, ref: Ref, entry: Entry) -> Entry:
        return dataclasses.replace(entry, value=await self._decoded(operation, ref, entry.value))

    async def _pause_after(self, count: int) -> None:
        """Let other tasks run now and then while the values of a batch are transformed."""
        if count % _A_TURN == 0:
            await asyncio.sleep(0)

    async def _decoded_many(
        self, operation: str, collection: str, found: Mapping[str, Any], decode: Callable[[str, Ref, Any], Awaitable[T]]
    ) -> dict[str, T]:
        decoded: dict[str, T] = {}
        failed: dict[str, SatchelError] = {}
        for count, (key, value) in enumerate(found.items(), 1):
            await self._pause_after(count)
            try:
                decoded[key] = await decode(operation, (collection, key), value)
            except SatchelError as error:
                failed[key] = error
        if failed:
            first = next(iter(failed.values()))
            kind = type(first).__name__
            raise BatchError(
                f"{operation}: {len(failed)} of {len(found)} keys failed, the first with {kind}: {first}",
                failed=failed,
                store=repr(self),
                operation=operation,
                collection=collection,
            ) from first
        return decoded

    async def _transformed(
        self,
        transform_if_small: Callable[[Ref, Any], Any],
        transform: Callable[[Ref, Any], Any],
        operation: str,
        ref: Ref,
        value: Any,
    ) -> Any:
        try:
            transformed = transform_if_small(ref, value)
            return await in_worker(transform, ref, value) if transformed is IN_WORKER else transformed
        except StoreError:
            raise
        except SatchelError as error:
            own = error.again()
            own.args = (f"{operation} {_place(ref)}{self!r}: {error}",)
            raise own from error.__cause__

    async def _listing(
        self, found: AsyncIterator[str], back: Callable[[str], str | None], prefix: str = "", limit: int | None = None
    ) -> AsyncIterator[str]:
        """Iterate over inner names as the caller's, those that are and that have the prefix."""
        left = limit
        if left == 0:
            return
        async for inner in found:
            name = back(inner)
            if name is None or not name.startswith(prefix):
                continue
            yield name
            left = None if left is None else left - 1
            if left == 0:
                return


def renamed(error: SatchelError, names: Mapping[Ref, Ref], collection: str) -> SatchelError:
    """Return an error of the inner store's with the caller's own names, which are given for the inner ones.

    An empty batch has no names, and is still about a collection of the caller's.
    """
    own = error.again()
    for inner, ref in names.items():
        if _place(inner) in str(error):
            own.args = (str(error).replace(_place(inner), _place(ref), 1), *error.args[1:])
            break
    if isinstance(own, StoreError):
        own.collection = collection
        own.key = None if len(names) != 1 or own.key is None else next(iter(names.values()))[1]
    if isinstance(own, BatchError):
        own.failed = {
            ref[1]: renamed(own.failed[inner[1]], {inner: ref}, collection)
            for inner, ref in names.items()
            if inner[1] in own.failed
        }
    return own


def _place(ref: Ref) -> str:
    return f"of key {ref[1]!r} in collection {ref[0]!r} of "
