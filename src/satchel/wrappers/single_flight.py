"""`SingleFlightWrapper`: one factory call for concurrent misses of a key (`?wrap=single_flight`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from .._batches import checked_names
from .._checks import check_seed
from .._single_flight import SingleFlight
from ..clock import TTL
from ..protocol import AsyncKeyValue
from .base import BaseWrapper

T = TypeVar("T")


class SingleFlightWrapper(BaseWrapper):
    """Wrapper with `get_or_put`, which calls a factory once for concurrent misses of a key.

    This applies to the callers of one wrapper: each process, and each wrapper, makes its own call. Plain reads, puts
    and conditional writes are the inner store's own methods; it already merges identical reads. If a key is deleted or
    destroyed through the wrapper while its factory runs, the result is not put.

    Closing cancels background refreshes, and waits for factories with waiting callers.

    Args:
        inner: The wrapped store.
        seed: Makes the same calls refresh early in every run.

    Raises:
        ConfigurationError: The seed is not an int or None.
    """

    def __init__(self, inner: AsyncKeyValue, *, seed: int | None = None) -> None:
        check_seed(seed)
        super().__init__(inner)
        self._flights = SingleFlight(inner, seed=seed)

    @property
    def flights(self) -> SingleFlight:
        """The calls under way, which functions decorated with `cached` share."""
        return self._flights

    def get_or_put(
        self,
        collection: str,
        key: str,
        factory: Callable[[], Awaitable[T]],
        *,
        ttl: TTL | None = None,
        stale: TTL | None = None,
        early: float | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Return the value under a key; if it is absent, put and return the result of the factory.

        The factory runs in a copy of the context of the caller that started it. A cancelled caller cancels the factory
        only if no other caller waits for it. A value that was put under the key meanwhile is not overwritten, if the
        inner store has `CONDITIONAL`. Each caller gets its own copy of the value or the error.

        Args:
            collection: The collection.
            key: The key.
            factory: An async function without arguments, or any function that returns an awaitable. It may return None,
                which is kept like any other value.
            ttl: Time to live in seconds or as a `timedelta`; None for no expiry.
            stale: Additional time for which it is kept and served, at once, while one call of the factory refreshes it
                in the background. If that fails, the logger `satchel` warns, and the next call tries again.
            early: Also refresh it in the background at random before its ttl ends: the nearer the end and the longer
                the factory took last time in this process, the likelier. 1.0 is the best choice, more is earlier.

        Raises:
            TypeError: The factory is not a function, or does not return an awaitable.
            InvalidKeyError, InvalidTTLError: A name or a time is not legal.
            ConfigurationError: `early` is not a number above 0, `stale` or `early` comes without a ttl, or the factory
                waits for its own result.
            SerializationError, ValueTooLargeError: The result of the factory cannot be kept.
            StoreError: The backend failed.
            Exception: The factory's own exception; nothing is put, and the next call tries again.
        """
        return self._flights.get_or_put(collection, key, factory, ttl, stale, early)

    async def delete(self, collection: str, key: str) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        return await self._flights.delete(collection, key)

    async def delete_many(self, collection: str, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many of them were there."""
        names = await checked_names(keys, self._limit)
        await self._flights.forget(collection, frozenset(names))
        return await self._inner.delete_many(collection, names)

    async def compare_and_delete(self, collection: str, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and return whether it was removed."""
        await self._flights.forget(collection, (key,))
        return await self._inner.compare_and_delete(collection, key, version=version)

    async def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and return whether there was one."""
        await self._flights.forget(collection)
        return await self._inner.destroy_collection(collection)

    async def destroy(self) -> bool:
        """Remove everything that this store wrote and nothing else, and return whether there was any entry."""
        await self._flights.forget()
        return await self._inner.destroy()

    async def _finish(self) -> None:
        await self._flights.finish()
