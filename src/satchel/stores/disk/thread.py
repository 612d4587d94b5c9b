"""A SQLite connection in a thread of its own: each piece of work is one hop."""

from __future__ import annotations

import asyncio
import atexit
import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from ..._forks import at_fork, hold
from ...backend.lifecycle import close_at_end_of_loop
from .answers import Answer, Answers

R = TypeVar("R")

_LONGEST_WAIT = 5.0
"""Seconds for which a fork waits for work in these threads."""

_LAST_SECONDS = 5.0
"""Seconds for which the end of the process waits for connections that nobody closed."""

_Job = tuple[Answer[Any] | None, Callable[[], Any] | None]


class SQLiteThread:
    """Thread that runs functions over a SQLite connection, in order.

    A submitted function always runs, even if its caller is cancelled. The thread ends with `close` or `drop`, at the
    orderly end of the event loop, or when nothing refers to this object any more; it never keeps the process from
    ending. `start` creates one.

    Attributes:
        database: The connection.
        lock: Held while the thread uses the connection, and by any other code that uses it in between.
    """

    database: sqlite3.Connection

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._shared = _Shared(Answers.of(self._loop))
        self._submitted = 0
        self._guard: AsyncGenerator[None] | None = None
        self.lock = self._shared.lock
        # The thread must not refer to this object, so that it ends when nothing else refers to it.
        self.thread = threading.Thread(target=_work, args=(self._shared,), name="satchel-disk", daemon=True)
        self.thread.start()
        _living.add(self)

    @classmethod
    async def start(cls, connect: Callable[[], sqlite3.Connection]) -> SQLiteThread:
        """Start a thread and connect in it."""
        started = cls()
        try:
            started.database = await started.run(started._shared.connect, connect)
            started._guard = close_at_end_of_loop(partial(_close_and_wait, started._shared))
            await anext(started._guard)
        except BaseException:
            started.drop()
            raise
        return started

    def run(self, function: Callable[..., R], *arguments: Any) -> Answer[R]:
        """Run a function in the thread; the returned answer may be awaited for its result.

        Raises:
            sqlite3.ProgrammingError: The connection has been closed.
        """
        if self._shared.closed:
            raise sqlite3.ProgrammingError("the connection has been closed")
        answer: Answer[R] = Answer(self._loop)
        self._submitted += 1
        self._shared.queue.put((answer, partial(function, *arguments)))
        return answer

    @property
    def busy(self) -> bool:
        """Whether a submitted function has not ended."""
        return self._submitted != self._shared.finished

    @property
    def closed(self) -> bool:
        """Whether the connection accepts no more work."""
        return self._shared.closed

    async def close(self) -> None:
        """Close the connection and end the thread."""
        if self._guard is not None:
            await self._guard.aclose()

    def drop(self) -> None:
        """Do the same as `close`, without waiting and without an event loop."""
        self._shared.end(None)

    def disown(self) -> bool:
        """In a child of `fork`: close the connection in this process only, and return whether that was possible.

        SQLite's locks belong to a process, and SQLite would take the parent's for the child's: so the child has to
        close the connection before it opens the same file. A busy connection is left alone.
        """
        hold(self)
        if self._shared not in _held_up:
            return False
        self._shared.closed = True
        self._shared.close()
        return True

    def __del__(self) -> None:
        if "_shared" in vars(self):
            self.drop()


class _Shared:
    """State that a thread shares with its `SQLiteThread`.

    The lock prevents forks in the middle of SQLite's work.
    """

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.queue: SimpleQueue[_Job] = SimpleQueue()
        self.lock = threading.Lock()
        self.finished = 0
        self.closed = False
        self._made: list[sqlite3.Connection] = []
        _all_shared.add(self)

    def connect(self, connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
        self._made.append(connect())  # if the event loop has ended by now, nobody else learns of it
        return self._made[0]

    def close(self) -> None:
        for database in self._made:
            database.close()

    def end(self, closing: Answer[None] | None) -> None:
        if not self.closed:
            self.closed = True
            self.queue.put((closing, self.close))
            self.queue.put((None, None))
        elif closing is not None:
            closing.set(None, None)


async def _close_and_wait(shared: _Shared) -> None:
    closing: Answer[None] = Answer(asyncio.get_running_loop())
    shared.end(closing)
    await closing


_living: weakref.WeakSet[SQLiteThread] = weakref.WeakSet()
_all_shared: weakref.WeakSet[_Shared] = weakref.WeakSet()
_held_up: set[_Shared] = set()
"""Threads that are paused for a fork."""


@atexit.register
def _end_all() -> None:
    """Close connections that nobody closed, in their threads, which the end of the process would cut off."""
    give_up = time.monotonic() + _LAST_SECONDS
    living = list(_living)
    for started in living:
        started.drop()
    for started in living:
        if started.thread.is_alive():
            started.thread.join(max(0.0, give_up - time.monotonic()))


def _work(shared: _Shared) -> None:
    """Run functions in order, until None ends the thread."""
    while True:
        answer, function = shared.queue.get()
        if function is None:
            return
        result: Any = None
        error: BaseException | None = None
        with shared.lock:
            try:
                result = function()
            except BaseException as raised:  # whatever it is, the caller gets it
                error = raised
            shared.finished += 1
        if answer is not None:
            shared.answers.give(answer, result, error)
        del answer, function, result, error  # otherwise an idle thread would keep them alive


def _hold_up() -> None:
    give_up = time.monotonic() + _LONGEST_WAIT
    for shared in list(_all_shared):
        if shared.lock.acquire(timeout=max(0.0, give_up - time.monotonic())):
            _held_up.add(shared)


def _let_go_on() -> None:
    while _held_up:
        _held_up.pop().lock.release()


at_fork(before=_hold_up, after_in_parent=_let_go_on, after_in_child=_let_go_on)
