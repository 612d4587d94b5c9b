"""`Follower`: keeps hot right while others change cold, by what cold reports of its changes.

Hot holds entries of a collection only while cold reports the changes of that collection. Until it does, and again from
the moment that reports may be missing, a state of the whole collection is kept in `Inflight`, as while the collection
is destroyed: reads go to cold, and nothing is put into hot. A report counts as a change: a read that asked cold before
it does not put its answer into hot any more.

A report does not say who made the change. So one that follows a put through this store removes the fresh value too; the
entry is then read from cold again at once, which is right in either case, and costs one read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..._contexts import task_in_empty_context
from ..._forks import hold
from ..._update import random_pause
from ...errors import SatchelError, UnsupportedOperationError
from ...names import Ref
from ...protocol import SupportsWatch
from .hot import HotTier
from .pending import ALL, KeyChange

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_EXPECTED = 10_000
_PAGE = 500
_MOST_LEAVING = 10_000

logger = logging.getLogger("satchel")


class Follower:
    """Watcher of the collections of cold that are used: removes from hot what is reported as changed.

    Args:
        name: The name of the store in messages.
        cold: The store that is watched.
        hot: The hot tier.
        warm: Reads entries of cold again and puts them into hot.
    """

    def __init__(
        self,
        name: Callable[[], str],
        cold: SupportsWatch,
        hot: HotTier,
        warm: Callable[[str, list[str]], Awaitable[int]],
    ) -> None:
        self.changes = 0
        self.losses = 0
        self._name = name
        self._cold = cold
        self._hot = hot
        self._warm = warm
        self.loop: asyncio.AbstractEventLoop | None = None
        """Event loop on which it watches."""
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, KeyChange] = {}
        self._expected: dict[Ref, None] = {}
        self._expected_before: dict[Ref, None] = {}
        self._leaving: dict[Ref, bool] = {}
        self._removing: asyncio.Task[None] | None = None
        self._due: dict[Ref, None] = {}
        self._warming: asyncio.Task[None] | None = None
        hot.states.distrust()
        hot.after_put = self.after_put

    def follow(self, collection: str) -> None:
        """Begin to watch a collection, unless that has begun."""
        if collection not in self._watchers:
            self.loop = asyncio.get_running_loop()
            self._stop_using(collection)
            self._watchers[collection] = task_in_empty_context(self._watch(collection))

    def after_put(self, changes: list[KeyChange]) -> None:
        """Expect the reports of puts, and read again what was reported as changed while they were under way."""
        overtaken = []
        for change in changes:
            if change.is_alone:
                self.expect(change.ref)
            elif change.generation:
                overtaken.append(change.ref)
        self.read_again(overtaken)

    def expect(self, ref: Ref) -> None:
        """Note that hot has the value of a put that is still to be reported."""
        self._expected[ref] = None
        if len(self._expected) >= _EXPECTED:
            self._expected_before, self._expected = self._expected, {}

    def read_again(self, refs: list[Ref]) -> None:
        """Read entries of cold again, in the background, and put them into hot."""
        self._due.update(dict.fromkeys(refs))
        if self._due and (self._warming is None or self._warming.done()):
            self._warming = task_in_empty_context(self._warm_due())

    async def close(self) -> None:
        """End what runs in the background."""
        tasks = [task for task in (*self._watchers.values(), self._removing, self._warming) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Begin anew on the event loop that runs now: the one before has been closed, and reports have been missed."""
        self._watchers, self._removing, self._warming, self.loop = {}, None, None, None
        self._expected, self._expected_before, self._leaving, self._due = {}, {}, {}, {}
        for change in self._held.values():
            self._hot.states.finish([change])
        self._held = {}
        self._hot.states.distrust()

    def disown(self) -> None:
        """In a child of `fork`: begin anew; the tasks are the parent's."""
        hold(self._watchers, self._removing, self._warming)
        self._held = {}  # the states were reset
        self.abandon()

    async def _watch(self, collection: str) -> None:
        attempt = 0
        while True:
            try:
                async with self._cold.watch(collection) as changes:
                    async for change in changes:
                        attempt = 0
                        if change.kind == "changed" and change.key is not None:
                            self._changed((collection, change.key))
                            if self._removing is not None and len(self._leaving) >= _MOST_LEAVING:
                                await asyncio.wait([self._removing])
                        elif change.kind == "ready":
                            self._use(collection)
                        else:
                            self._lose(collection)
            except UnsupportedOperationError as error:
                logger.warning("%s reads collection %r from cold for good: %s", self._name(), collection, error)
                return
            except SatchelError as error:
                self._lose(collection)
                logger.warning("%s does not follow collection %r at present: %s", self._name(), collection, error)
            finally:
                if collection not in self._held:  # it is cancelled: nobody watches any more
                    self._stop_using(collection)
            attempt += 1
            await asyncio.sleep(random_pause(attempt, _SHORTEST_PAUSE, _LONGEST_PAUSE))

    def _changed(self, ref: Ref) -> None:
        self.changes += 1
        self._remove(self._hot.overtake(ref), is_own=ref in self._expected or ref in self._expected_before)

    def _use(self, collection: str) -> None:
        """Use hot for a collection, once what it has of it has been removed."""
        change = self._held.pop(collection, None)
        if change is not None:
            self._remove(self._hot.states.finish([change]), is_own=False)

    def _remove(self, refs: list[Ref], *, is_own: bool) -> None:
        """Remove entries from hot in the background: reports are heard meanwhile, and count at once."""
        for ref in refs:
            self._leaving[ref] = is_own or self._leaving.get(ref, False)
        if refs and (self._removing is None or self._removing.done()):
            self._removing = task_in_empty_context(self._remove_leaving())

    def _lose(self, collection: str) -> None:
        if collection not in self._held:
            self.losses += 1
            self._stop_using(collection)

    def _stop_using(self, collection: str) -> None:
        """Use hot for nothing of a collection: changes of it may not be reported."""
        states = self._hot.states
        states.wipe(collection)
        change = self._held[collection] = states.begin((collection, ALL))
        change.state.dirty = True

    async def _remove_leaving(self) -> None:
        while self._leaving:
            refs = [next(iter(self._leaving))]
            collection, key = refs[0]
            if key != ALL:
                refs = [ref for ref in self._leaving if ref[0] == collection and ref[1] != ALL][:_PAGE]
            own = [ref for ref in refs if self._leaving.pop(ref)]
            if await self._hot.clean(refs):
                for ref in own:
                    self._expected.pop(ref, None)
                    self._expected_before.pop(ref, None)
                self.read_again(own)

    async def _warm_due(self) -> None:
        while self._due:
            collection = next(iter(self._due))[0]
            keys = [key for name, key in self._due if name == collection][:_PAGE]
            for key in keys:
                del self._due[collection, key]
            try:
                await self._warm(collection, keys)
            except SatchelError:
                continue  # the next read of each asks cold itself
