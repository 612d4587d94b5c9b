"""`Seams`: what a wrapper overrides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeVar

from ..clock import TTL
from ..codec import LARGE, rough_size
from ..errors import StoreError
from ..names import Ref
from .call import IN_WORKER, Call
from .renaming import place

E = TypeVar("E", bound=StoreError)


class Seams:
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
        of = "of " if collection is None or key is None else place((collection, key))
        about: dict[str, Any] = {"store": repr(self), "operation": operation, "collection": collection, "key": key}
        return kind(f"{operation} {of}{self!r}: {said}", **about, **more)

    async def _finish(self) -> None:
        """Finish what this wrapper itself has under way: the inner store, which is still open, is closed next.

        It may be called again, then with nothing left to do.
        """

    def _overrides(self, *seams: str) -> bool:
        return any(getattr(type(self), seam) is not getattr(Seams, seam) for seam in seams)
