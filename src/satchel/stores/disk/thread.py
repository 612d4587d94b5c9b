"""A SQLite connection in the thread of an aiosqlite connection: work goes there whole, one hop for each piece.

aiosqlite's public methods make one hop for each statement, and what is cut off between two of them leaves a transaction
open. Its own way to run any function in its thread is `Connection._execute`; this module alone uses it and the like.
"""

from __future__ import annotations

import asyncio
import atexit
import sqlite3
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import aiosqlite

from ..._forks import at_fork, hold
from ...backend.lifecycle import close_at_end_of_loop
from ...errors import ConfigurationError

R = TypeVar("R")

_NEEDED = ("_execute", "_conn", "_connection", "_thread", "_tx", "_running")
_END_THREAD: Any = getattr(aiosqlite.core, "_STOP_RUNNING_SENTINEL", None)
_LONGEST_WAIT = 5.0
"""How many seconds a fork waits for what is under way in these threads."""

_LAST_SECONDS = 5.0
"""How many seconds the end of the process waits for connections that nobody closed."""

_Queue = SimpleQueue[tuple[asyncio.Future[Any] | None, Callable[[], Any]]]


class SQLiteThread:
    """Thread that runs functions over a SQLite connection, in order.

    A function that was handed over runs, also when the caller is cancelled meanwhile.

    Args:
        connection: An open connection of the caller's, which is never closed here.

    Raises:
        ConfigurationError: It is not open, or aiosqlite is a release with other inner names.
    """

    def __init__(self, connection: aiosqlite.Connection) -> None:
        _check_inner_names(connection)
        if connection._connection is None:
            raise ConfigurationError("connection must be an open one: connection=await aiosqlite.connect(...)")
        self._connection = connection
        self._guard: AsyncGenerator[None] | None = None
        self.database: sqlite3.Connection = connection._conn

    @classmethod
    async def start(cls, connect: Callable[[], sqlite3.Connection]) -> SQLiteThread:
        """Start a thread and connect in it.

        The thread ends with `close` or `drop`, at the orderly end of the event loop, or when nothing refers to it any
        more; it never holds up the end of the process.
        """
        connection = _DaemonConnection(connect)
        await connection
        started = cls(connection)
        started._guard = close_at_end_of_loop(connection.close)
        await anext(started._guard)
        return started

    def run(self, function: Callable[..., R], *arguments: Any) -> Awaitable[R]:
        """Run a function in the thread, and return its result."""
        running: Awaitable[R] = self._connection._execute(function, *arguments)  # type: ignore[no-untyped-call]  # aiosqlite does not say
        return running

    @property
    def closed(self) -> bool:
        """Whether the connection takes nothing more."""
        return not self._connection._running or self._connection._connection is None

    async def close(self) -> None:
        """Close the connection and end the thread, if `start` made them."""
        if self._guard is not None:
            await self._guard.aclose()

    def drop(self) -> None:
        """Do what `close` does, without waiting and without an event loop."""
        if isinstance(self._connection, _DaemonConnection):
            self._connection.stop()

    def disown(self) -> bool:
        """In a child of `fork`: close the connection for this process alone, and say whether that could be done.

        SQLite takes locks for its process, and would take those of the parent for the child's: so it has to forget the
        connection before it opens the same file. One of the caller's, and one in the middle of its work, is left alone.
        """
        hold(self._connection)
        if not isinstance(self._connection, _DaemonConnection) or self._connection.gate not in _held_up:
            return False
        self._connection.close_all()
        return True


class _DaemonConnection(aiosqlite.Connection):
    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        made = self._made = list[sqlite3.Connection]()

        def make() -> sqlite3.Connection:
            made.append(connect())  # where the event loop has ended by now, nobody else gets to know of it
            return made[0]

        super().__init__(make, iter_chunk_size=64)
        _check_inner_names(self)
        self.gate = _Gate()
        # aiosqlite's own thread dies with a traceback when it has an answer for an event loop that has ended.
        self._thread = threading.Thread(target=_work, args=(self._tx, self.gate), name="satchel-disk", daemon=True)
        _living.add(self)

    def close_all(self) -> None:
        _close(self._made)

    def stop(self) -> None:
        # aiosqlite's own would report to an event loop, which need not be there any more.
        self._connection, self._running = None, False
        self._tx.put_nowait((None, partial(_close, self._made)))
        self._tx.put_nowait((None, _end_thread))

    def __del__(self) -> None:
        self.stop()


_living: weakref.WeakSet[_DaemonConnection] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Close what nobody closed in its own thread, which the end of the process would otherwise cut off."""
    give_up = time.monotonic() + _LAST_SECONDS
    threads = [connection._thread for connection in _living]
    for connection in list(_living):
        connection.stop()
    for thread in threads:
        if thread.is_alive():
            thread.join(max(0.0, give_up - time.monotonic()))


def _close(made: list[sqlite3.Connection]) -> None:
    for database in made:
        database.close()


def _end_thread(result: Any = _END_THREAD) -> Any:
    return result


def _work(queue: _Queue, gate: _Gate) -> None:
    """Run functions in order until one gives aiosqlite's sign to end."""
    while True:
        future, function = queue.get()
        result: Any = None
        error: BaseException | None = None
        with gate.lock:
            try:
                result = function()
            except BaseException as raised:  # it belongs to the caller, whatever it is
                error = raised
        if future is not None:
            with suppress(RuntimeError):  # its event loop has ended
                future.get_loop().call_soon_threadsafe(_answer, future, result, error)
        if result is _END_THREAD:
            return
        del future, function, result, error  # or an idle thread would keep them


def _answer(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class _Gate:
    """Gate that is shut while SQLite works for one connection, so that no process is forked in the middle of that."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        _gates.add(self)


_gates: weakref.WeakSet[_Gate] = weakref.WeakSet()
_held_up: set[_Gate] = set()
"""Those behind which nothing is under way during a fork."""


def _hold_up() -> None:
    give_up = time.monotonic() + _LONGEST_WAIT
    for gate in list(_gates):
        if gate.lock.acquire(timeout=max(0.0, give_up - time.monotonic())):
            _held_up.add(gate)


def _let_go_on() -> None:
    while _held_up:
        _held_up.pop().lock.release()


at_fork(before=_hold_up, after_in_parent=_let_go_on, after_in_child=_let_go_on)


def _check_inner_names(connection: aiosqlite.Connection) -> None:
    if not isinstance(connection, aiosqlite.Connection):
        raise ConfigurationError(f"connection must be an aiosqlite.Connection, got {type(connection).__name__}")
    if _END_THREAD is None or not all(hasattr(type(connection), name) or name in vars(connection) for name in _NEEDED):
        raise ConfigurationError(
            f"DiskStore does not know release {aiosqlite.__version__} of aiosqlite from inside; "
            'install one that works: pip install "aiosqlite>=0.22,<0.23"'
        )
