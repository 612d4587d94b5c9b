"""`Tiers`: how reads and changes go through the two stores of a `TieredStore`, and the queue where it writes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeVar, cast

from ..._threads import Yielder
from ...backend.record import Record
from ...backend.serializer import RecordSerializer
from ...clock import NEVER, Clock, deadline_after
from ...entry import Entry
from ...errors import SatchelError, StoreError
from ...names import Ref
from ...protocol import AsyncKeyValue, SupportsEverything
from ..call import Call
from ..composite import with_own_values
from .follow import Follower
from .hot import HotTier
from .pending import ALL, KeyState
from .queue import Write, WriteQueue, covers
from .statistics import TierCounter

T = TypeVar("T")

_PAGE = 500

Mode = Literal["through", "around", "back"]


class Tiers:
    """Reads and changes entries whose names have been checked.

    Args:
        name: The name of the store in messages.
        hot: The fast store.
        cold: The store that keeps everything.
        write: Where a put goes.
        queue_size: Maximum number of keys queued for cold.
        clock: Function that returns seconds since the Unix epoch.
    """

    def __init__(
        self, name: Callable[[], str], hot: HotTier, cold: AsyncKeyValue, *, write: Mode, queue_size: int, clock: Clock
    ) -> None:
        self.hot = hot
        self.cold = cast("SupportsEverything", cold)
        self.counts = TierCounter()
        self.follower: Follower | None = None
        self.queue: WriteQueue | None = None
        self.waiting: dict[Ref, Write] = {}
        if write == "back":
            self.queue = WriteQueue(name, queue_size, self._send, self._give_up)
            self.waiting = self.queue.waiting
        self._name = name
        self._refreshes = write != "around"
        self._clock = clock
        self._values = RecordSerializer(None, checksums="none", max_bytes=None)

    # Reading: first what waits, then hot, where it may be asked, then cold.

    async def find(
        self, collection: str, keys: list[str], *, asks_hot: bool = True, promotes: bool = True
    ) -> dict[str, Any]:
        """Return the values of the keys that exist, in the order requested."""
        found: dict[str, Any] = {}
        trusted: list[str] = keys
        if asks_hot:
            trusted = [key for key in keys if (collection, key) not in self.waiting]
            if self.hot.states:
                trusted = [key for key in trusted if await self.hot.trusts((collection, key))]
            asked = await self.hot.find(collection, trusted) if trusted else {}
            found, promotes = asked or {}, asked is not None
        missing = [key for key in keys if key not in found]
        if not missing:
            return found
        # From here to the first request to cold nothing else runs: what waits is looked at, or cold has it already.
        queued = {key: self.waiting[collection, key] for key in missing if (collection, key) in self.waiting}
        rest = [key for key in missing if key not in queued]
        entries, _ = await self.read_and_promote(collection, rest, trusted if promotes else (), many=len(keys) > 1)
        found |= {key: entry.value for key, entry in entries.items()}
        for key, write in queued.items():
            if self.lives(write):
                found[key] = await self._values.value(write.record)
        return {key: found[key] for key in keys if key in found}

    async def read(self, operation: str, collection: str, keys: list[str]) -> Any:
        """Carry out a read other than `get`."""
        if operation == "get_many":
            return await self.find(collection, keys)
        if operation == "exists":
            return await self.exists((collection, keys[0]))
        await self.settle(collection, keys)
        entries = await self.entries(collection, keys, many=operation == "get_entries")
        return entries if operation == "get_entries" else entries.get(keys[0])

    async def exists(self, ref: Ref) -> bool:
        """Return whether there is an entry."""
        if ref not in self.waiting and await self.hot.trusts(ref) and await self.hot.has(ref):
            return True
        write = self.waiting.get(ref)
        if write is not None:
            return self.lives(write)
        return await self.asked(self.cold.exists(*ref))

    def lives(self, write: Write) -> bool:
        """Return whether a queued write has not expired."""
        return write.record.deadline > self._clock()

    async def entries(self, collection: str, keys: list[str], *, many: bool) -> dict[str, Entry]:
        """Return entries of cold; `many` by one request for all."""
        if many:
            found = await self.asked(self.cold.get_entries(collection, keys))
        else:
            entry = await self.asked(self.cold.get_entry(collection, keys[0]))
            found = {} if entry is None else {keys[0]: entry}
        self.counts.hits += len(found)
        self.counts.misses += len(keys) - len(found)
        return found

    async def read_and_promote(
        self, collection: str, keys: list[str], trusted: Iterable[str], *, many: bool
    ) -> tuple[dict[str, Entry], int]:
        """Return entries of cold, and how many of them were put into hot."""
        if not keys:
            return {}, 0
        self._follow(collection)
        allowed = {key for key in trusted if (collection, key) not in self.waiting}
        states: dict[str, KeyState] = {}
        for key in keys:
            state = self.hot.states.watch((collection, key)) if key in allowed else None
            if state is not None:
                states[key] = state
        try:
            entries = await self.entries(collection, keys, many=many)
            due = [
                self.hot.promote((collection, key), state, entries[key])
                for key, state in states.items()
                if key in entries
            ]
            done = [await due[0]] if len(due) == 1 else await asyncio.gather(*due)
        finally:
            for key, state in states.items():
                self.hot.states.unwatch((collection, key), state)
        return entries, sum(done)

    async def warm(self, collection: str, keys: list[str]) -> int:
        """Put entries of cold into hot, and return how many were."""
        await self.settle(collection, keys)
        promoted = 0
        for start in range(0, len(keys), _PAGE):
            page = [key for key in keys[start : start + _PAGE] if await self.hot.trusts((collection, key))]
            promoted += (await self.read_and_promote(collection, page, page, many=True))[1]
        return promoted

    async def asked(self, request: Awaitable[T], writes: int = 0) -> T:
        """Await a request to cold, and count it."""
        try:
            outcome = await request
        except StoreError:
            self.counts.errors += 1
            raise
        self.counts.writes += writes
        return outcome

    def _follow(self, collection: str) -> None:
        if self.follower is not None:
            self.follower.follow(collection)

    # Changes.

    async def put(self, operation: str, collection: str, keys: list[str], call: Call) -> None:
        """Put values: into cold, or into the queue, and into hot."""
        self._follow(collection)
        now = self._clock()
        deadline = deadline_after(call.named.get("ttl"), now)
        if self._refreshes:
            call = await with_own_values(call)
        values = call.items if operation == "put_many" else {keys[0]: call.value}
        if self.queue is None:
            kept = values if self._refreshes else None
            await self.hot.change(
                collection, list(values), lambda: self.asked(call(), len(values)), values=kept, deadline=deadline
            )
            return
        queue = self.queue
        writes: dict[Ref, Write] = {}
        yielder = Yielder()
        for key, value in values.items():
            ref = (collection, key)
            writes[ref] = Write(await self._record(operation, ref, value, now, deadline))
            await yielder.after_item()

        async def add() -> None:
            queue.add(writes)

        await self.hot.change(collection, list(values), add, values=values, deadline=deadline)

    async def change(self, collection: str, keys: list[str], work: Callable[[], Awaitable[T]]) -> T:
        """Carry out a change that cold alone can answer."""

        async def through() -> T:
            return await self.hot.change(collection, keys, lambda: self.asked(work(), len(keys)))

        if self.queue is None:
            return await through()
        async with self.queue.exclusive([(collection, key) for key in keys]):
            return await through()

    async def wipe(self, collection: str, work: Callable[[], Awaitable[T]]) -> T:
        """Carry out the removal of a collection, or of all."""
        if self.queue is None:
            return await self.hot.wipe(collection, lambda: self.asked(work()))
        async with self.queue.exclusive([(collection, ALL)]):
            return await self.hot.wipe(collection, lambda: self.asked(work()))

    async def settle(self, collection: str, keys: Iterable[str]) -> None:
        """Return when cold has what waits for it now."""
        if self.queue is not None and self.waiting:
            await self.queue.settle([(collection, key) for key in keys if (collection, key) in self.waiting])

    async def settle_all(self, collection: str) -> None:
        """Return when cold has what waits now for a collection, or for `ALL`."""
        if self.queue is not None:
            await self.queue.settle([ref for ref in self.waiting if covers((collection, ALL), ref)])

    async def _record(self, operation: str, ref: Ref, value: object, now: float, deadline: float) -> Record:
        try:
            return await self._values.record(value, now, deadline)
        except SatchelError as error:
            own = error.again()
            own.args = (f"{operation} of key {ref[1]!r} in collection {ref[0]!r} of {self._name()}: {error}",)
            raise own from error.__cause__

    async def _send(self, ref: Ref, record: Record) -> None:
        left = record.deadline - self._clock()
        if left > 0:
            value = await self._values.value(record)
            if self.follower is not None:
                self.follower.expect(ref)
            await self.asked(self.cold.put(*ref, value, ttl=None if left == NEVER else left), 1)
        if record.deadline <= self._clock():  # an older or late entry would come back
            await self.asked(self.cold.delete(*ref), 1)

    async def _give_up(self, ref: Ref, write: Write) -> None:
        queue = self.queue

        async def remove() -> None:
            if queue is not None:
                queue.remove(ref, write)

        await self.hot.change(ref[0], [ref[1]], remove)
