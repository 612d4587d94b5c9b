"""`SimulatedStore` and `SimulatedKeyedStore`: stores over a `SimulatedEngine`, made of the real base classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import msgspec

from ...backend.base import ABSENT, BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.keyed import KeyedStore
from ...backend.record import Record, pack, unpack_outcome
from ...backend.watching import Feed
from ...clock import NEVER
from ...names import Ref
from .server import SimulatedServer, Subscription
from .world import EPOCH, Process

CHECKED: Final = 5.0
"""Seconds between two looks of a store at whether its subscription to changes is broken."""
_EXPIRY_DELAY: Final = 0.5
"""The most seconds after its deadline at which the engine removes an entry on its own."""


class SimulatedEngine(SimulatedServer):
    """Server that keeps records in a dict, and tells those who watch it what changes.

    From when it is first watched it also removes entries after their deadlines, by an exact clock of its own.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.data: dict[Ref, Record] = {}
        self._reports_expiry = False

    def changed(self, ref: Ref) -> None:
        """Report that a record was kept, removed, or given another deadline."""
        if self._reports_expiry:
            self._plan_expiry(ref)
        self.publish(ref[0], ref)

    def watch(self, subscription: Subscription, collection: str | None) -> bool:
        """Report changes of a collection, or of all, from now on; return whether the reports will arrive."""
        if not self._reports_expiry:
            self._reports_expiry = True
            for ref in self.data:
                self._plan_expiry(ref)
        return self.subscribe(subscription, collection)

    def _plan_expiry(self, ref: Ref) -> None:
        record = self.data.get(ref)
        if record is not None and record.deadline != NEVER:
            late = self._chance.random() * _EXPIRY_DELAY
            self.world.later(max(0.0, record.deadline - EPOCH - self.world.now) + late, self._expire, ref, record)

    def _expire(self, ref: Ref, record: Record) -> None:
        if self.data.get(ref) is record and not self.is_gone:
            del self.data[ref]
            self.world.note(self.name, f"{ref} expires")
            self.changed(ref)

    # What the engine does with one item, in one step.

    def read(self, ref: Ref) -> bytes | None:
        """Return the packed record."""
        record = self.data.get(ref)
        return None if record is None else pack(record)

    def write(self, ref: Ref, record: Record) -> None:
        """Keep a record."""
        self.data[ref] = record
        self.changed(ref)

    def delete(self, ref: Ref, now: float) -> bool:
        """Remove a record, and return whether it lived."""
        record = self.data.pop(ref, None)
        if record is not None:
            self.changed(ref)
        return record is not None and record.deadline > now

    def put_if(self, ref: Ref, record: Record, condition: Condition, now: float) -> bool:
        """Keep a record where the condition holds."""
        holds = self._meets(ref, condition, now)
        if holds:
            self.write(ref, record)
        return holds

    def delete_if(self, ref: Ref, version: str, now: float) -> bool:
        """Remove the record with a version."""
        holds = self._meets(ref, version, now)
        if holds:
            self.delete(ref, now)
        return holds

    def touch(self, ref: Ref, deadline: float, now: float) -> bool:
        """Give a living record another deadline."""
        record = self.data.get(ref)
        if record is None or record.deadline <= now:
            return False
        self.write(ref, msgspec.structs.replace(record, deadline=deadline))
        return True

    def living(self, now: float) -> list[Ref]:
        """Return the names of all that live."""
        return [ref for ref, record in self.data.items() if record.deadline > now]

    def remove(self, condition: Callable[[Ref, Record], bool], now: float) -> int:
        """Remove what meets a condition, and return how many of it lived."""
        gone = {ref: record for ref, record in self.data.items() if condition(ref, record)}
        for ref in gone:
            self.delete(ref, now)
        return sum(record.deadline > now for record in gone.values())

    def clear(self, now: float) -> int:
        """Remove all at once, without a report of each, and return how many lived."""
        lived = len(self.living(now))
        self.data.clear()
        self.publish(None, None)
        return lived

    def cull(self, now: float) -> int:
        """Remove what has expired, and return how many."""
        gone = [ref for ref, record in self.data.items() if record.deadline <= now]
        for ref in gone:
            self.delete(ref, now)
        return len(gone)

    def _meets(self, ref: Ref, condition: Condition, now: float) -> bool:
        record = self.data.get(ref)
        if record is None or record.deadline <= now:
            return condition is ABSENT
        return record.version == condition


class _Connection:
    """Way of one store to its engine, and the hooks that are no operations on single entries."""

    clock: Callable[[], float]
    _watches_apart = False

    def __init__(
        self, process: Process, engine: SimulatedEngine, *, timeout: float | None = 1.0, **settings: Any
    ) -> None:
        for name, setting in settings.items():
            setattr(self, f"_{name}", setting)
        self.process, self.engine = process, engine
        super().__init__(clock=process.clock, timeout=timeout)  # type: ignore[call-arg]  # the next class is a store

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.process.name!r}, {self.engine.name!r})"

    async def _send(self, kind: str, items: Sequence[tuple[Any, ...]], work: Callable[..., Any]) -> list[Any]:
        return await self.engine.request(self.process, kind, items, work, client=self)

    async def _ask(self, kind: str, work: Callable[..., Any], *given: Any) -> Any:
        sent = self.engine.request(self.process, kind, [(kind, *given)], lambda _, *rest: work(*rest), by_item=False)
        bound = self._with_timeout(sent)  # type: ignore[attr-defined]  # the next class is a store
        return (await bound)[0]

    async def _open(self) -> None:
        await self._ask("open", lambda: None)
        self.engine.connections.append(self.process)

    async def _close(self) -> None:
        self.engine.connections.remove(self.process)

    def _discard(self) -> None:
        self.engine.connections.remove(self.process)

    async def _ping(self) -> None:
        await self._ask("ping", lambda: None)

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        refs = await self._ask("keys", self.engine.living, now)
        yield [key for name, key in refs if name == collection and key.startswith(prefix)]

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        yield list(dict.fromkeys(name for name, _ in await self._ask("collections", self.engine.living, now)))

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        work = self.engine.remove
        return bool(await self._ask("destroy_collection", work, lambda ref, _: ref[0] == collection, now))

    async def _destroy(self, now: float) -> bool:
        return bool(await self._ask("destroy", self.engine.clear, now))

    async def _cull(self, now: float) -> int:
        removed: int = await self._ask("cull", self.engine.cull, now)
        return removed

    async def _watch(self, feed: Feed) -> None:
        def hear(ref: Ref | None) -> None:
            if ref is None:
                feed.lost()
            else:
                feed.changed(*ref)

        async with Subscription(self.engine, self.process, hear) as subscription:
            if not self._watches_apart:
                await self._subscribe(subscription, None)
                feed.ready()
                await self._keep(subscription, None)
            try:
                async with asyncio.TaskGroup() as group:
                    async for collection in feed.wanted():
                        await self._subscribe(subscription, collection)
                        feed.ready(collection)
                        if len(subscription.topics) == 1:
                            group.create_task(self._keep(subscription, collection))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None

    async def _keep(self, subscription: Subscription, topic: str | None) -> None:
        """Wait until a subscription is broken, which is asked every few seconds."""
        while True:
            await subscription.wait(CHECKED)
            await self._subscribe(subscription, topic)

    async def _subscribe(self, subscription: Subscription, topic: str | None) -> None:
        if not await self._ask("watch", self.engine.watch, subscription, topic):
            raise ConnectionResetError("the subscription is broken")


class SimulatedStore(_Connection, BaseStore):
    """Store over a simulated engine that takes many items in one request.

    Args:
        process: The process in which it is used.
        engine: The engine.
        timeout: Seconds that a request may take.
        settings: Attributes of the class, without their underscore, such as `max_inflight`. With `watches_apart` it
            subscribes to the changes of each collection apart, as Redis has it, and not to those of all at once.
    """

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return [_unpacked(wire) for wire in await self._send("read", [(ref,) for ref in refs], self.engine.read)]

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        return await self._send("write", records, self.engine.write)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        return await self._send("delete", [(ref, now) for ref in refs], self.engine.delete)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        return await self._send("put_if", [(*item, now) for item in items], self.engine.put_if)

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        return await self._send("delete_if", [(*item, now) for item in items], self.engine.delete_if)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        return await self._send("touch", [(*item, now) for item in items], self.engine.touch)


class SimulatedKeyedStore(_Connection, KeyedStore):
    """Store over a simulated engine that takes one item in a request.

    Args:
        process: The process in which it is used.
        engine: The engine.
        timeout: Seconds that a request may take.
        settings: Attributes of the class, without their underscore, such as `max_inflight`. With `watches_apart` it
            subscribes to the changes of each collection apart, as Redis has it, and not to those of all at once.
    """

    async def _read_one(self, ref: Ref) -> ReadResult:
        return _unpacked(await self._send_one("read", self.engine.read, ref))

    async def _write_one(self, ref: Ref, record: Record) -> WriteResult:
        outcome: WriteResult = await self._send_one("write", self.engine.write, ref, record)
        return outcome

    async def _delete_one(self, ref: Ref, now: float) -> ChangeResult:
        outcome: ChangeResult = await self._send_one("delete", self.engine.delete, ref, now)
        return outcome

    async def _put_if_one(self, ref: Ref, record: Record, condition: Condition, now: float) -> ChangeResult:
        outcome: ChangeResult = await self._send_one("put_if", self.engine.put_if, ref, record, condition, now)
        return outcome

    async def _delete_if_one(self, ref: Ref, version: str, now: float) -> ChangeResult:
        outcome: ChangeResult = await self._send_one("delete_if", self.engine.delete_if, ref, version, now)
        return outcome

    async def _touch_one(self, ref: Ref, deadline: float, now: float) -> ChangeResult:
        outcome: ChangeResult = await self._send_one("touch", self.engine.touch, ref, deadline, now)
        return outcome

    async def _send_one(self, kind: str, work: Callable[..., Any], *item: Any) -> Any:
        return (await self._send(kind, [item], work))[0]


def _unpacked(outcome: Any) -> ReadResult:
    return unpack_outcome(outcome) if outcome is None or isinstance(outcome, bytes) else outcome
