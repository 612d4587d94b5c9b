"""`Queue`: pushing, taking and finishing jobs."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar, overload

from ..._checks import check_clock, check_int
from ..._shielding import in_background, shielded
from ..._update import key_lock, random_pause
from ...capability import Capability
from ...clock import TTL, Clock, seconds, system_clock
from ...codec import JsonCodec
from ...collection import Collection
from ...errors import LockLostError, StoreError
from ...names import check_name
from ...protocol import AsyncKeyValue, require
from ..claim import LONGEST_PAUSE, SHORTEST_PAUSE, new_owner
from ..lease import Lease, check_timeout, loop_time
from .items import Item, item_of
from .job import DeadJob, Job
from .window import Takeable, Window

T = TypeVar("T")

_NUMBER_SECONDS = 60.0
"""Seconds after which a drawn number is no longer used: a void may have taken its place, and have expired."""
_GONE_TTL = 86_400.0
_JSON = JsonCodec()
_LONGEST_SUFFIX = len("/items/") + 16

logger = logging.getLogger("satchel")


class Queue(Generic[T]):
    """Queue of jobs that processes push and workers take, each at least once.

    ```python
    import asyncio
    from satchel import MemoryStore
    from satchel.coordination import Queue

    async def main():
        mail = Queue(MemoryStore(), "mail", lease=60, max_attempts=5)
        await mail.push({"to": "ada@example.com"})
        async for job in mail.jobs():
            async with job:
                print("sending to", job.value["to"])
            break

    asyncio.run(main())
    ```

    Guarantees:

    * A job whose `push` returned is attempted until a block ends without an error, or until its attempts are used up:
      then it is one of the dead jobs.
    * While one worker holds a job, no other worker has it, as long as no process is stopped or blocks its event loop.
      As with `Lock`, each process counts leases on its own monotonic clock.
    * A worker that dies loses its job after `lease` seconds, and another one takes it.
    * After a crash at any point no job is lost, and no finished job is taken again.

    Not guaranteed:

    * That a job is done only once: a worker can die between the effects of the job and the record of its end. `job.id`
      is the same at each attempt; pass it to `Once`, or to the services that the job calls.
    * Order. Jobs are taken roughly in the order of their pushes; several workers, retries and delays change it.
    * That a `push` which raised pushed nothing. Push again with the same `id`, by which a duplicate is recognized.
    * Anything over a store that evicts entries, or if entries of the queue are removed by others.

    A push costs three round trips, two of which concurrent pushes share. A job costs two (taken, done), and a share of
    the reads that find 32 jobs at a time. The value is written at each of these steps: keep large values elsewhere, and
    push their keys.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        name: The name of the queue.
        lease: How long a worker holds a job without renewing it, in seconds or as a `timedelta`.
        max_attempts: Number of times that a job is taken before it is moved to the dead jobs.
        model: Type of the values, as for a `Collection`.
        collection: The collection that holds the queue.
        clock: Returns the present as seconds since the Unix epoch. It is used only for delays.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        ConfigurationError: `max_attempts` is not an int of at least 1.
        InvalidKeyError, InvalidTTLError: A name or the lease is not legal.
    """

    @overload
    def __init__(
        self: Queue[Any],
        store: AsyncKeyValue,
        name: str,
        *,
        lease: TTL = 60,
        max_attempts: int = 5,
        model: None = None,
        collection: str = "queues",
        clock: Clock = system_clock,
    ) -> None: ...
    @overload
    def __init__(
        self,
        store: AsyncKeyValue,
        name: str,
        *,
        lease: TTL = 60,
        max_attempts: int = 5,
        model: type[T],
        collection: str = "queues",
        clock: Clock = system_clock,
    ) -> None: ...
    def __init__(
        self,
        store: AsyncKeyValue,
        name: str,
        *,
        lease: TTL = 60,
        max_attempts: int = 5,
        model: Any = None,
        collection: str = "queues",
        clock: Clock = system_clock,
    ) -> None:
        self._store = require(store, Capability.CONDITIONAL)
        self._name = check_name(name, "name", store.max_key_bytes - _LONGEST_SUFFIX)
        self._lease = float(seconds(lease, "lease"))
        check_int("max_attempts", max_attempts, 1)
        self._max_attempts = max_attempts
        self._collection = check_name(collection, "collection")
        check_clock(clock)
        self._clock = clock
        self._values: Collection[Any] = Collection(store, self._collection, model=model)
        self._window = Window(self._store, self._collection, self._name, clock)
        self._found: deque[Takeable] = deque()

    def __repr__(self) -> str:
        return f"Queue({self._store!r}, {self._name!r}, collection={self._collection!r})"

    async def push(self, value: T, *, delay: TTL = 0, id: str | None = None) -> str:  # noqa: A002  # the usual name
        """Add a job, and return its id.

        Args:
            value: The value for the worker: JSON, bytes, or a value of the model.
            delay: The earliest time at which it is taken, in seconds from now or as a `timedelta`.
            id: Name of the job; random by default. Two jobs may have the same id.

        Raises:
            InvalidTTLError: The delay is not 0 or a time to live.
            InvalidKeyError: The id is not a legal key.
            SerializationError, ModelMismatchError, ValueTooLargeError: The value cannot be stored.
            StoreError: The backend failed. After a `StoreTimeoutError` or a `StoreUnavailableError` the job may have
                been pushed.
        """
        not_before = 0.0 if delay == 0 else self._clock() + seconds(delay, "delay")
        name = new_owner() if id is None else check_name(id, "id")
        plain = await self._values._dumped(name, value)
        if type(plain) is not bytes:
            _JSON.encode_if_small(plain)  # raises here, before a number is drawn
        item = Item("ready", name, plain, not_before=not_before)
        while True:
            drawn = loop_time()
            number = await self._window.draw()
            if loop_time() - drawn < _NUMBER_SECONDS and await self._put(number, item):
                return name

    async def take(self, *, timeout: float | None = None) -> Job[T] | None:  # noqa: ASYNC109  # as queue.Queue.get has it
        """Wait for a job and take it; return None if there was none in time.

        Args:
            timeout: Maximum wait in seconds, 0 to look once, None for no limit.

        Raises:
            ValueError: The timeout is not a number of seconds, 0 or above.
            ModelMismatchError: A value in the queue does not fit the model. Its job is put back, as after an error.
            IntegrityError: The queue holds something that no queue wrote.
            StoreError: The backend failed.
        """
        check_timeout(timeout)
        end = math.inf if timeout is None else loop_time() + timeout
        attempt = 0
        while (job := await self._take_one()) is None:
            left = end - loop_time()
            if left <= 0:
                return None
            await asyncio.sleep(min(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE), left))
            attempt += 1
        return job

    async def jobs(self) -> AsyncIterator[Job[T]]:
        """Iterate over jobs, waiting for the next one, without end. Several tasks may share the queue object."""
        while True:
            job = await self.take()
            if job is not None:
                yield job

    async def size(self) -> int:
        """Return the number of open jobs: waiting, delayed, or being worked on. It reads all of them."""
        return await self._window.size()

    async def join(self) -> None:
        """Wait until no job is open."""
        attempt = 0
        while await self.size():
            await asyncio.sleep(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE))
            attempt += 1

    async def dead(self) -> AsyncIterator[DeadJob[T]]:
        """Iterate over the jobs that have used up their attempts.

        Raises:
            UnsupportedOperationError: The store does not enumerate keys.
        """
        prefix = f"{self._name}/dead/"
        async for key in require(self._store, Capability.ENUMERATE_KEYS).keys(self._collection, prefix=prefix):
            entry = await self._store.get_entry(self._collection, key)
            item = None if entry is None else item_of(entry, self._window.describe(key))
            if entry is not None and item is not None and item.state != "gone":
                value = await self._values._loaded(item.id, item.value)
                leave = partial(self._leave, key, item, entry.version)
                yield DeadJob(item.id, value, item.attempts, item.error, leave)

    # Pushing.

    async def _put(self, number: int, item: Item) -> bool:
        key = self._window.key(number)
        if await self._store.put_if_absent(self._collection, key, item.record()) is not None:
            return True
        standing = await self._window.read(number)
        # It is our own item after an attempt whose answer was lost; if it is a void, we draw another number.
        return standing is None or standing[0].id == item.id

    # Taking.

    async def _take_one(self) -> Job[T] | None:
        while True:
            if not self._found:
                async with key_lock(self._store, self._collection, f"{self._name}\0scan"):
                    if not self._found:
                        self._found.extend(await self._window.scan())
                if not self._found:
                    return None
            found = self._found.popleft()
            if found.item.state == "dying" or found.item.attempts >= self._max_attempts:
                await self._bury(found)
                continue
            job = await self._claim(found)
            if job is not None:
                return job
            random.shuffle(self._found)  # other workers find the same ones, in the same order

    async def _claim(self, found: Takeable) -> Job[T] | None:
        owner = new_owner()
        attempt = in_background(self._write_claim(found, owner))
        try:
            held = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            await shielded(partial(self._end_claim, attempt, found.number, owner), self._not_given_back)
            raise
        except StoreError:
            in_background(self._end_claim(attempt, found.number, owner))
            raise
        return None if held is None else await self._job(held)

    async def _write_claim(self, found: Takeable, owner: str) -> _Held | None:
        sent, item = loop_time(), found.item
        item = replace(item, state="taken", attempts=item.attempts + 1, owner=owner, lease=self._lease)
        version = await self._replace(found.number, item, found.version)
        held = None if version is None else _Held(self, found.number, item, version, sent)
        return None if held is None or held.lease.lapsed else held  # the answer may have come too late

    async def _end_claim(self, attempt: asyncio.Task[_Held | None], number: int, owner: str) -> None:
        await asyncio.wait([attempt])
        if not attempt.cancelled():
            attempt.exception()  # otherwise asyncio would report it, because the cancelled caller has not seen it
        try:
            standing = await self._window.read(number)
            if standing is not None and standing[0].owner == owner and standing[0].state == "taken":
                await _Held(self, number, *standing, loop_time()).give_back()
        except Exception as error:
            self._not_given_back(error)

    async def _job(self, held: _Held) -> Job[T]:
        try:
            value = await self._values._loaded(held.item.id, held.item.value)
        except Exception as error:
            await shielded(partial(held.failed, error), held.unheard)
            raise
        return Job(held.item.id, value, held.item.attempts, held.lease, held)

    def _not_given_back(self, error: Exception) -> None:
        logger.debug("a job of %r was not given back, and will lapse: %s", self, error)

    async def _replace(self, number: int, item: Item, version: str) -> str | None:
        return await self._store.compare_and_put(
            self._collection, self._window.key(number), item.record(), version=version
        )

    # Dead jobs. A dying item is moved by the first worker that finds it.

    async def _bury(self, found: Takeable) -> None:
        item, version = replace(found.item, state="dying", lease=self._lease), found.version
        if found.item.state != "dying":
            written = await self._replace(found.number, item, version)
            if written is None:
                return
            version = written
        await self._store.put_if_absent(self._collection, f"{self._name}/dead/{found.number:016d}", item.record())
        await self._replace(found.number, Item("done", item.id), version)

    async def _leave(self, key: str, item: Item, version: str, again: bool) -> None:
        if again:
            fresh = Item("ready", item.id, item.value)
            while not await self._put(await self._window.draw(), fresh):
                pass
        # It is not deleted: a worker that was stopped while moving the job would move it again.
        gone = Item("gone", item.id).record()
        await self._store.compare_and_put(self._collection, key, gone, version=version, ttl=_GONE_TTL)


class _Held:
    """Item taken by a worker of this process."""

    def __init__(self, queue: Queue[Any], number: int, item: Item, version: str, sent: float) -> None:
        self._queue, self._number, self.item, self._version = queue, number, item, version
        self._description = f"job {item.id!r} of {queue!r}"
        self.lease = Lease(queue._lease, sent, self._renew, self._description)

    async def done(self) -> None:
        await self._end(Item("done", self.item.id))

    async def failed(self, error: Exception) -> None:
        queue, item = self._queue, replace(self.item, state="ready", lease=0.0, owner="", error=type(error).__name__)
        last = item.attempts >= queue._max_attempts
        outcome = "is dead now" if last else "is taken again"
        logger.warning("%s failed at attempt %d, and %s", self._description, item.attempts, outcome, exc_info=error)
        if last:
            self.lease.stop()
            self.lease.check()
            await queue._bury(Takeable(self._number, item, self._version))
        else:
            await self._end(item)

    async def give_back(self) -> None:
        item = self.item
        await self._end(replace(item, state="ready", attempts=item.attempts - 1, lease=0.0, owner=""))

    def lost(self, error: LockLostError) -> None:
        logger.warning("%s is left to other workers: %s", self._description, error)

    def unheard(self, error: Exception) -> None:
        logger.warning("the end of %s was not recorded: %s", self._description, error)

    async def _end(self, item: Item) -> None:
        self.lease.stop()
        attempt = 0
        while True:
            try:
                return await self._write(item)
            except StoreError as error:
                attempt += 1
                await asyncio.sleep(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE))
                if not error.retryable or self.lease.lapsed:
                    raise

    async def _renew(self) -> None:
        await self._write(self.item)

    async def _write(self, item: Item) -> None:
        """Write the item if this worker still holds it.

        Raises:
            LockLostError: It has lapsed, or another worker has it.
        """
        while True:
            self.lease.check()
            version = await self._queue._replace(self._number, item, self._version)
            if version is not None:
                self._version = version
                return
            standing = await self._queue._window.read(self._number)
            if standing is None and item.is_tombstone:
                return  # an earlier attempt, whose answer was lost; its tombstone has been deleted since
            if standing is not None and standing[0] == item:
                self._version = standing[1]  # an earlier attempt, whose answer was lost
                return
            if standing is None or standing[0].owner != self.item.owner:
                raise self.lease.lose()
            self._version = standing[1]
