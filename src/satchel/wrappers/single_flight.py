"""`SingleFlightWrapper`: one call of a factory for all who miss a key at the same time (`?wrap=single_flight`)."""

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
    """Wrapper with `get_or_put`, which calls a factory once for all who miss a key at the same time.

    That holds for the callers of one wrapper: each process, and each wrapper, calls its own. Plain reads are the inner
    store's own, which makes one request of alike reads already; puts and conditional writes are its own too. What is
    deleted or destroyed through the wrapper while its factory runs is not put by that factory.

    Closing cancels refreshes in the background, and waits for factories that callers wait for.

    Args:
        inner: The store around which this is.
        seed: Makes the same calls refresh early in every run.

    Raises:
        ConfigurationError: The seed is not an int or None.
    """

    def __init__(self, inner: AsyncKeyValue, *, seed: int | None = None) -> None:
        check_seed(seed)
        super().__init__(inner)
        self._flights = SingleFlight(inner, seed=seed)

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
        """Return the value under a key; where it is absent, put and return what the factory gives.

        The factory runs in a copy of the context of the caller that started it. A caller that is cancelled cancels the
        factory only if nobody else waits for it. What was put under the key meanwhile is not overwritten, if the inner
        store has `CONDITIONAL`. Each caller gets a value, or an error, of its own.

        Args:
            collection: The collection.
            key: The key.
            factory: An async function without arguments, or any function that returns an awaitable. It may give None,
                which is kept as any other value.
            ttl: Time to live in seconds or as a `timedelta`; None for no expiry.
            stale: How much longer it is kept and served, at once, while one call of the factory refreshes it in the
                background. That fails with a warning of the logger `satchel`, and the next call tries again.
            early: Also refresh it in the background before its ttl ends, by chance: the likelier the nearer the end
                and the longer the factory took the last time in this process. 1.0 is the best choice, more is earlier.

        Raises:
            TypeError: The factory is not a function, or does not give an awaitable.
            InvalidKeyError, InvalidTTLError: A name or a time is not legal.
            ConfigurationError: `early` is not a number above 0, `stale` or `early` comes without a ttl, or the factory
                waits for its own result.
            SerializationError, ValueTooLargeError: The factory gave what cannot be kept.
            StoreError: The backend failed.
            Exception: What the factory raised; nothing is put, and the next call tries again.
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
