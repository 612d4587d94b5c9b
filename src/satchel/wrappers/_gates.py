"""Locks of a store and of its entries, with readers that share and writers that do not."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeAlias

from .._forks import hold, watch

Intent: TypeAlias = int
"""Purpose of a call at a gate: to read or write all behind it, or some of it, which has gates of its own."""
READ, WRITE, READ_SOME, WRITE_SOME = range(4)  # no Enum, whose members hash by a function in Python

_APART = ((WRITE, WRITE_SOME), (READ, WRITE, READ_SOME, WRITE_SOME), (WRITE,), (READ, WRITE))
"""The intents that each intent cannot go together with."""

Pass: TypeAlias = tuple[Hashable, Intent]
"""The name of a gate, and the intent to pass it with."""


class _Waiter:
    """Call that waits at a gate."""

    __slots__ = ("future", "intent", "is_in", "loop")

    def __init__(self, intent: Intent) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.intent = intent
        self.is_in = False

    def let_in(self) -> bool:
        """Let it go on, and return whether it can: its loop may have been closed."""
        if self.loop.is_closed():
            return False
        if self.loop is _running_loop():
            self._wake()
        else:
            self.loop.call_soon_threadsafe(self._wake)
        self.is_in = True
        return True

    def _wake(self) -> None:
        if not self.future.done():  # as it is if the call has been cancelled
            self.future.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Gate:
    """Lock that lets calls in in the order in which they came, those together that can go together."""

    __slots__ = ("inside", "waiting")

    def __init__(self) -> None:
        self.inside = [0, 0, 0, 0]
        self.waiting: deque[_Waiter] | None = None  # most gates never have any

    def admits(self, intent: Intent) -> bool:
        for other in _APART[intent]:  # noqa: SIM110  # a generator takes longer than all the rest of a call
            if self.inside[other]:
                return False
        return True


class Gates:
    """Set of gates by name. There is one only while a call is inside of it, or waits for it.

    Calls may come from several event loops, each in a thread of its own. A call that passes several gates names them in
    an order that is the same for all calls, so that no two wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may end a forgotten call anywhere, which then leaves
        self._gates: dict[Hashable, _Gate] = {}
        watch(self)

    def after_fork(self) -> None:
        """In a child of `fork`: forget the calls under way in the parent, which nothing here would end."""
        hold(self._gates)
        self._lock, self._gates = threading.RLock(), {}

    def __len__(self) -> int:
        return len(self._gates)

    def enter_at_once(self, passes: Sequence[Pass]) -> int:
        """Pass gates until one has to be waited for, and return how many were passed."""
        with self._lock:
            for number, (name, intent) in enumerate(passes):
                gate = self._gates.get(name) or _Gate()
                if gate.waiting or not gate.admits(intent):
                    return number
                gate.inside[intent] += 1
                self._gates[name] = gate
        return len(passes)

    async def enter(self, passes: Sequence[Pass], passed: int = 0) -> None:
        """Pass gates, waiting for each if need be; a call that is cancelled meanwhile leaves all.

        Args:
            passes: All gates, in the order that is the same for all calls.
            passed: How many of them have been passed already.
        """
        try:
            while passed < len(passes):
                await self._wait(*passes[passed])
                passed += 1
                passed += self.enter_at_once(passes[passed:])
        except BaseException:  # a cancellation, or the end of the loop
            self.leave(passes[:passed])
            raise

    def leave(self, passes: Iterable[Pass]) -> None:
        """Leave gates, which lets others in."""
        with self._lock:
            for name, intent in passes:
                gate = self._gates.get(name)
                if gate is None:  # a child of `fork` ends a call of its parent
                    continue
                gate.inside[intent] -= 1
                if gate.waiting:
                    self._let_in(name, gate)
                elif not any(gate.inside):
                    del self._gates[name]

    async def _wait(self, name: Hashable, intent: Intent) -> None:
        with self._lock:
            gate = self._gates.get(name) or _Gate()
            waiter = _Waiter(intent)
            if gate.waiting is None:
                gate.waiting = deque()
            gate.waiting.append(waiter)
            self._gates[name] = gate
            self._let_in(name, gate)
        try:
            await waiter.future
        except BaseException:
            with self._lock:
                if waiter.is_in:
                    gate.inside[intent] -= 1
                elif gate.waiting and waiter in gate.waiting:
                    gate.waiting.remove(waiter)
                self._let_in(name, gate)
            raise

    def _let_in(self, name: Hashable, gate: _Gate) -> None:
        """Let in the calls that have waited longest, and drop a gate that is not in use."""
        while gate.waiting and gate.admits(gate.waiting[0].intent):
            waiter = gate.waiting.popleft()
            if waiter.let_in():
                gate.inside[waiter.intent] += 1
        if not gate.waiting and not any(gate.inside) and self._gates.get(name) is gate:
            del self._gates[name]
