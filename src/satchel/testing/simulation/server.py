"""`SimulatedServer`: a server in a simulated network, which carries out requests on data of its own.

On a `Subscription` it also sends what nobody has asked for.
"""

from __future__ import annotations

import asyncio
import math
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from ...backend.hooks import UNPROCESSED
from ...errors import StoreUnavailableError
from .world import Process, World, spread

_FASTEST: Final = 2e-5
_SLOWEST: Final = (0.0005, 0.005, 0.05)
"""The most seconds that a message takes: each server has one of these,"""
_DELAYED: Final = (0.05, 3.0)
"""and the fewest and the most that a delayed one takes."""
_APART: Final = 1e-6
"""Seconds between two messages that arrive on one connection."""


@dataclass(eq=False)
class _Request:
    """Request on its way: items, what the server does with each, and the outcomes."""

    client: object
    process: Process
    name: str
    items: Sequence[tuple[Any, ...]]
    work: Callable[..., Any]
    answer: asyncio.Future[list[Any]]
    number: int
    life: int
    by_item: bool
    outcomes: list[Any] = field(default_factory=list)


class SimulatedServer:
    """Server that carries out each item of a request in one step, now and then with time between two of them.

    Clients reach it by `request`; what their faults are, the world says. A request that its client has abandoned, since
    it was cancelled or took too long, is carried out late, but never over a later one of that client.

    Args:
        world: The world.
        name: Its name in the history.
        in_order: Whether that is so. False lets an abandoned request go over later ones.
    """

    def __init__(self, world: World, name: str = "server", *, in_order: bool = True) -> None:
        self.world, self.name, self.in_order = world, name, in_order
        self.connections: list[Process] = []
        """The process of each open connection."""
        self.subscriptions: list[Subscription] = []
        """Those on which it sends messages of its own."""
        self.down_until = -math.inf
        self.is_gone = False
        """Whether it refuses every request, as at the end of a run."""
        self._life = 0
        self._cut: dict[Process, float] = {}
        self._number = 0
        self._carried_out: dict[tuple[int, object], int] = {}
        self._published = 0
        self._chance = world.random(f"{name} pace")
        self._slowest = self._chance.choice(_SLOWEST)
        world.servers.append(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    async def request(
        self,
        process: Process,
        kind: str,
        items: Sequence[tuple[Any, ...]],
        work: Callable[..., Any],
        *,
        client: object = None,
        by_item: bool = True,
    ) -> list[Any]:
        """Have `work` carried out on the server for each item, and return the outcomes.

        Args:
            process: The process that asks.
            kind: Names the request in the history.
            items: Arguments for `work`; the first of each says what it is about.
            work: Function that changes the server's data and returns an outcome; it awaits nothing.
            client: The requests of one client for one thing are not carried out after later ones.
            by_item: Whether single items may be handed back or fail.

        Raises:
            OSError: The server refused the request, or the connection broke; then it may have been carried out.
        """
        process.requests += 1
        self._number += 1
        name = f"{process.name}/{kind}{process.requests}"
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        sent = _Request(client or process, process, name, items, work, answer, self._number, self._life, by_item)
        if not self.is_gone:
            self.world.note(process.name, f"sends {kind} {[item[0] for item in items]} to {self.name} as {name}")
        if not self._strikes("drop_request", sent.name):
            self.world.later(self._pause(sent.name), self._receive, sent)
        return await answer

    def subscribe(self, subscription: Subscription, topic: str | None = None) -> bool:
        """Send messages from now on, to be carried out as the work of a request; return whether they will arrive.

        Asked again, it is a sign of life: a connection that was broken without a word is found out.

        Args:
            subscription: Where they are sent.
            topic: What they are about; None for all.
        """
        if subscription.is_broken or not subscription.is_open:
            return False
        subscription.topics.add(topic)
        if subscription not in self.subscriptions:
            self.subscriptions.append(subscription)
        return True

    def publish(self, topic: str | None, *message: Any) -> None:
        """Send a message to all who have subscribed to its topic, or to all if it concerns every topic.

        It may be late and then holds up those after it, arrive twice, or be lost. Then the connection is broken, which
        the process hears, or has to find out.

        Args:
            topic: What it is about; None for everything.
            message: What is said.
        """
        self._published += 1
        for subscription in list(self.subscriptions):
            if not subscription.process.is_alive:
                self.subscriptions.remove(subscription)
            elif topic is None or not subscription.topics.isdisjoint((topic, None)):
                self._push(subscription, message)

    def restart(self, seconds: float) -> None:
        """Break all connections, and refuse new ones for a while. What was not acknowledged may or may not be there."""
        self._life += 1
        self.down_until = self.world.now + seconds
        self.world.note(self.name, f"restarts, for {seconds:.3f} s")
        for subscription in list(self.subscriptions):
            self._break(subscription, aloud=self._chance.random() < 0.5)

    def cut_off(self, process: Process, seconds: float) -> None:
        """Lose all messages between a process and this server for a while."""
        self._cut[process] = self.world.now + seconds
        self.world.note(self.name, f"is cut off from {process.name} for {seconds:.3f} s")

    def _receive(self, sent: _Request) -> None:
        if self.is_gone or self.world.now < self.down_until or sent.life != self._life:
            self._reply(sent, ConnectionRefusedError("the server is down"))
        elif self._is_cut_off(sent.process):
            self.world.note(self.name, f"never gets {sent.name}")
        elif self._strikes("refuse", sent.name):
            self._reply(sent, ConnectionRefusedError("the server refuses"))
        else:
            self._carry_out(sent)

    def _carry_out(self, sent: _Request) -> None:
        while len(sent.outcomes) < len(sent.items):
            if sent.life != self._life:
                self._reply(sent, ConnectionResetError("the server has restarted"))
                return
            at = len(sent.outcomes)
            sent.outcomes.append(self._outcome(sent, at))
            if at + 1 < len(sent.items) and self._strikes("split", f"{sent.name}:{at}"):
                self.world.later(self._pause(sent.name), self._carry_out, sent)
                return
        if self._strikes("reset", sent.name):
            self._reply(sent, ConnectionResetError("the connection broke"))
        elif not self._strikes("drop_reply", sent.name):
            self._reply(sent, None)
            if self._strikes("duplicate", sent.name):
                self._reply(sent, None)

    def _outcome(self, sent: _Request, at: int) -> Any:
        item = sent.items[at]
        if sent.by_item and self._strikes("hand_back", f"{sent.name}:{at}"):
            return UNPROCESSED
        if sent.by_item and self._strikes("fail_item", f"{sent.name}:{at}"):
            return StoreUnavailableError("the server failed with this item")
        place, abandoned = (id(sent.client), item[0]), sent.answer.done() or not sent.process.is_alive
        if self.in_order and sent.by_item and abandoned and self._carried_out.get(place, 0) > sent.number:
            return None
        self._carried_out[place] = max(self._carried_out.get(place, 0), sent.number)
        outcome = sent.work(*item)
        self.world.note(self.name, f"{sent.name} {item[0]}: {_said(outcome)}{' (abandoned)' if abandoned else ''}")
        return outcome

    def _reply(self, sent: _Request, error: Exception | None) -> None:
        self.world.later(self._pause(sent.name), self._arrive, sent, error)

    def _arrive(self, sent: _Request, error: Exception | None) -> None:
        if not sent.process.is_alive and not self.is_gone:
            return
        if self._is_cut_off(sent.process):
            self.world.note(self.name, f"the reply to {sent.name} is lost")
            return
        sent.process.loop.call_soon(_deliver, sent, error)

    def _push(self, subscription: Subscription, message: tuple[Any, ...]) -> None:
        name = f"{subscription.process.name}/push{self._published}"
        if self._is_cut_off(subscription.process) or self._strikes("drop_reply", name):
            self._break(subscription, aloud=False)
            return
        if self._strikes("reset", name):
            self._break(subscription, aloud=True)
            return
        self.world.note(self.name, f"sends {message} as {name}")
        for _ in range(1 + self._strikes("duplicate", name)):
            arrival = max(subscription.last_arrival + _APART, self.world.now + self._pause(name))
            subscription.last_arrival = arrival
            self.world.later(arrival - self.world.now, self._pass_on, subscription, message)

    def _pass_on(self, subscription: Subscription, message: tuple[Any, ...]) -> None:
        if self._is_cut_off(subscription.process):
            self._break(subscription, aloud=False)
        else:
            subscription.arrive(message)

    def _break(self, subscription: Subscription, *, aloud: bool) -> None:
        """Let nothing arrive any more; if not aloud, the process has to ask for a sign of life to know."""
        if subscription.is_broken:
            return
        subscription.is_broken = True
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)
        name = subscription.process.name
        self.world.note(self.name, f"the subscription of {name} breaks{'' if aloud else ' without a word'}")
        if aloud:
            self.world.later(spread(self._chance, _FASTEST, self._slowest), subscription.fail)

    def _is_cut_off(self, process: Process) -> bool:
        return not self.is_gone and self._cut.get(process, -math.inf) > self.world.now

    def _pause(self, name: str) -> float:
        if self._strikes("delay", name):
            return spread(self._chance, *_DELAYED)
        return spread(self._chance, _FASTEST, self._slowest)

    def _strikes(self, fault: str, name: str) -> bool:
        rate: float = getattr(self.world.faults, fault)
        if not rate or self.is_gone or self._chance.random() >= rate:
            return False
        if not self.world.takes_place(f"{fault}@{name}"):
            return False
        self.world.note(self.name, f"{fault}@{name}")
        return True


class Subscription:
    """Connection of a process, on which a server's messages arrive in their order, or not at all once one was lost.

    It is open for the length of an `async with`. The server uses it from when it carries out `server.subscribe`.

    Args:
        server: The server.
        process: The process that listens.
        hear: Is called in the process with each message.
    """

    def __init__(self, server: SimulatedServer, process: Process, hear: Callable[..., object]) -> None:
        self.server, self.process = server, process
        self.topics: set[str | None] = set()
        """What the server tells of; None for all."""
        self.is_open = False
        self.is_broken = False
        """Whether nothing arrives any more. The process knows only if it was told or has asked."""
        self.last_arrival = 0.0
        """When the last message arrives that is on its way."""
        self._hear = hear
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"Subscription({self.server.name!r}, {self.process.name!r}, {self.topics})"

    async def __aenter__(self) -> Self:
        self.is_open = True
        self.server.connections.append(self.process)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_open = False
        self._failure.cancel()
        self.server.connections.remove(self.process)
        with suppress(ValueError):
            self.server.subscriptions.remove(self)

    async def wait(self, seconds: float) -> None:
        """Wait for a while.

        Raises:
            ConnectionResetError: The process is told meanwhile that the connection is broken.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._failure)

    def arrive(self, message: tuple[Any, ...]) -> None:
        """Have the process hear a message, if it is still there to hear it."""
        if self.is_open and not self.is_broken and self.process.is_alive:
            self.process.loop.call_soon(self._heard, message)

    def fail(self) -> None:
        """Have the process hear that the connection is broken."""
        if self.is_open and self.process.is_alive:
            self.process.loop.call_soon(self._failed)

    def _heard(self, message: tuple[Any, ...]) -> None:
        if self.is_open:
            self._hear(*message)

    def _failed(self) -> None:
        if self.is_open and not self._failure.done():
            self._failure.set_exception(ConnectionResetError("the connection broke"))


def _deliver(sent: _Request, error: Exception | None) -> None:
    if sent.answer.done():
        return
    if error is None:
        sent.answer.set_result(sent.outcomes)
    else:
        sent.answer.set_exception(error)


def _said(outcome: object) -> str:
    return f"{len(outcome)} bytes {zlib.crc32(outcome):08x}" if isinstance(outcome, bytes) else repr(outcome)
