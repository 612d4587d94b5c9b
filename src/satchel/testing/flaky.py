"""`FlakyStore`: a store that is slow or fails on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from .._forks import random_numbers
from ..backend.base import BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ..backend.record import Record
from ..backend.watching import Feed
from ..clock import Clock, system_clock
from ..codec import Codec
from ..errors import ConfigurationError, SatchelError, StoreUnavailableError
from ..names import Ref
from ..stores.memory import MemoryStore

OPERATIONS: Final = (
    "open",
    "read",
    "write",
    "delete",
    "put_if",
    "delete_if",
    "touch",
    "keys",
    "collections",
    "destroy_collection",
    "destroy",
    "cull",
    "ping",
    "watch",
)


class FlakyStore(BaseStore):
    """Store in memory that is slow or fails on demand, for testing how a service handles failures.

    A failed request has changed nothing. Waiting calls share a request, as with a real backend, and so its failure. The
    operations of the backend are:

    * `read`: `get`, `get_many`, `get_entry`, `get_entries`, `exists`
    * `write`: `put`, `put_many`
    * `delete`: `delete`, `delete_many`
    * `put_if`: `put_if_absent`, `compare_and_put`
    * `delete_if`: `compare_and_delete`
    * `open`, before the first of all, and `touch`, `keys`, `collections`, `destroy_collection`, `destroy`, `cull`,
      `ping`, `watch`

    Args:
        latency: Seconds that each request takes.
        failure_rate: The share of requests that fail, from 0 to 1.
        random_seed: Seed that makes the same requests fail in each run.
        sleep: Function that waits for the latency; replace it to make tests fast.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: The failure rate is not from 0 to 1, or the latency is below 0.
    """

    _checksums = "none"
    _native_expiry = True
    _shield_writes = False
    _any_loop = True

    def __init__(
        self,
        *,
        latency: float = 0.0,
        failure_rate: float = 0.0,
        random_seed: int | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if not 0 <= failure_rate <= 1 or latency < 0:
            raise ConfigurationError(
                f"failure_rate must be from 0 to 1 and latency at least 0, got {failure_rate!r} and {latency!r}"
            )
        super().__init__(codec=codec, clock=clock)
        self._inner = MemoryStore(clock=clock)
        self._latency = latency
        self._failure_rate = failure_rate
        self._random = random_numbers(random_seed)
        self._sleep = sleep
        self._choosing = threading.Lock()  # several threads may use one store
        self._failures: list[tuple[str | None, SatchelError]] = []

    def __repr__(self) -> str:
        return f"FlakyStore(latency={self._latency}, failure_rate={self._failure_rate})"

    def fail_next(self, count: int = 1, *, operation: str | None = None, error: SatchelError | None = None) -> None:
        """Make the next requests fail, in addition to those of earlier calls.

        Args:
            count: How many.
            operation: Only requests of this operation; any by default.
            error: The error to raise; a `StoreUnavailableError` by default.

        Raises:
            ConfigurationError: There is no such operation.
        """
        if operation is not None and operation not in OPERATIONS:
            raise ConfigurationError(f"operation must be one of {', '.join(OPERATIONS)}; got {operation!r}")
        trouble = error or StoreUnavailableError("this FlakyStore was told to fail")
        self._failures += [(operation, trouble)] * count

    async def _trouble(self, operation: str) -> SatchelError | None:
        if self._latency:
            await self._sleep(self._latency)
        with self._choosing:
            for index, (wanted, error) in enumerate(self._failures):
                if wanted in (None, operation):
                    del self._failures[index]
                    return error
        if self._random.random() < self._failure_rate:
            return StoreUnavailableError("this FlakyStore fails now and then")
        return None

    async def _ready(self, operation: str) -> None:
        error = await self._trouble(operation)
        if error is not None:
            raise error

    # An error is an outcome here, not raised: the base would send the items of a failed batch again, one by one.

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        error = await self._trouble("read")
        return [error] * len(refs) if error else await self._inner._read(refs)

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        error = await self._trouble("write")
        return [error] * len(records) if error else await self._inner._write(records)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        error = await self._trouble("delete")
        return [error] * len(refs) if error else await self._inner._delete(refs, now)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        error = await self._trouble("put_if")
        return [error] * len(items) if error else await self._inner._put_if(items, now)

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        error = await self._trouble("delete_if")
        return [error] * len(items) if error else await self._inner._delete_if(items, now)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        error = await self._trouble("touch")
        return [error] * len(items) if error else await self._inner._touch(items, now)

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        await self._ready("keys")
        async for page in self._inner._keys(collection, prefix, now):
            yield page

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        await self._ready("collections")
        async for page in self._inner._collections(now):
            yield page

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        await self._ready("destroy_collection")
        return await self._inner._destroy_collection(collection, now)

    async def _destroy(self, now: float) -> bool:
        await self._ready("destroy")
        return await self._inner._destroy(now)

    async def _cull(self, now: float) -> int:
        await self._ready("cull")
        return await self._inner._cull(now)

    async def _watch(self, feed: Feed) -> None:
        await self._ready("watch")
        await self._inner._watch(feed)

    async def _ping(self) -> None:
        await self._ready("ping")

    async def _open(self) -> None:
        await self._ready("open")
        await self._inner._open()

    async def _close(self) -> None:
        await self._inner._close()

    def _disown(self) -> None:
        self._choosing = threading.Lock()
        self._inner._disown()
