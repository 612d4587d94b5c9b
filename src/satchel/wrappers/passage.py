"""`Passage`: how names, values and errors go through the seams of a wrapper."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from .._threads import Turns, in_worker
from ..entry import Entry
from ..errors import BatchError, SatchelError, StoreError
from ..names import MAX_NAME_BYTES, Ref, check_name
from .call import IN_WORKER
from .renaming import place, renamed, renamed_batch
from .seams import Seams

T = TypeVar("T")


class Passage(Seams):
    """Takes names, values and errors through the seams, for the verbs."""

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
            raise await renamed_batch(error, inner, keys, collection) from error.__cause__ or error

    async def _encoded(self, operation: str, ref: Ref, value: object) -> object:
        return await self._transformed(self._encode_if_small, self._encode, operation, ref, value)

    async def _decoded(self, operation: str, ref: Ref, value: Any) -> Any:
        return await self._transformed(self._decode_if_small, self._decode, operation, ref, value)

    async def _decoded_entry(self, operation: str, ref: Ref, entry: Entry) -> Entry:
        return dataclasses.replace(entry, value=await self._decoded(operation, ref, entry.value))

    async def _decoded_many(
        self, operation: str, collection: str, found: Mapping[str, Any], decode: Callable[[str, Ref, Any], Awaitable[T]]
    ) -> dict[str, T]:
        decoded: dict[str, T] = {}
        failed: dict[str, SatchelError] = {}
        turns = Turns()
        for key, value in found.items():
            await turns.after_item()
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
            own.args = (f"{operation} {place(ref)}{self!r}: {error}",)
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
