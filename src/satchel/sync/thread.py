"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from .._contexts import run_in_empty_context
from .._executor import OwnThreads
from .._forks import at_fork
from .._shortage import shortage, shortage_of_descriptors
from ..errors import StoreClosedError, StoreError, StoreUnavailableError

P = ParamSpec("P")
R = TypeVar("R")

_LAST_SECONDS = 5.0
"""Seconds for which the end of the process waits for a store that was not closed, before cutting it off."""


_DESCRIPTORS = 4  # for an event loop: its selector, and the two ends of its wake-up pipe


class LoopThread:
    """Thread with an event loop that runs coroutines for other threads; it starts with the first call.

    Args:
        name: Function that returns the name of its store for messages.
        last: Coroutine function awaited on the loop when it ends.
    """

    def __init__(self, name: Callable[[], str], last: Callable[[], Awaitable[object]]) -> None:
        self._name = name
        self._last = last
        # Reentrant, because a signal handler may call while the thread that it interrupts holds the lock.
        self.lock = threading.RLock()
        self.forked = False
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._is_awaited = False
        self._is_starting = False
        _threads.add(self)

    @property
    def started(self) -> bool:
        """Whether there is, or was, a thread."""
        return self._loop is not None

    def call(self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a method of the store, and return its result."""
        return self.carry_out(getattr(function, "__name__", "call"), partial(function, *args, **kwargs))

    def carry_out(
        self, operation: str, function: Callable[[], Coroutine[Any, Any, R]], *, is_waited_for: bool = True
    ) -> R:
        """Run a coroutine function in the caller's context, and return its result.

        If the wait is interrupted, as by `KeyboardInterrupt`, the call is cancelled.

        Args:
            operation: The method, for messages.
            function: The coroutine function.
            is_waited_for: Closing waits for the call. One that closing the store ends is not waited for.
        """
        self.refuse_here(operation)
        call = _Call(function, self._under_way if is_waited_for else set())
        with self.lock:
            loop = self._running(operation)
            try:
                loop.call_soon_threadsafe(call.begin)
            except RuntimeError:
                self.check(operation)  # a signal handler has closed the store between these two lines
                raise
        try:
            call.wait()
        except BaseException:
            with suppress(RuntimeError):  # the loop has ended meanwhile, and so has the call
                loop.call_soon_threadsafe(call.cancel)
            raise
        return call.result()

    def post(self, function: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Start a coroutine function without waiting for it, unless the loop has ended."""
        self._tell(_Call(function, self._under_way).begin)

    def check(self, operation: str) -> None:
        """Raise if the thread has ended or belongs to another process."""
        if self.closed:
            raise StoreClosedError(f"{self._name()} is closed", store=self._name(), operation=operation)
        if self.forked:
            raise StoreError(
                f"{self._name()} was in use when this process was forked from its parent, and its connections are the "
                "parent's; make a SyncStore in each process",
                store=self._name(),
                operation=operation,
            )

    def refuse_here(self, operation: str) -> None:
        """Raise if the current thread runs an event loop, which would be blocked."""
        if asyncio._get_running_loop() is not None:
            raise StoreError(
                f"{operation} of {self._name()} would block the event loop that runs in this thread; await the store "
                "itself here, or call from another thread, as with asyncio.to_thread",
                store=self._name(),
                operation=operation,
            )

    def close(self) -> None:
        """End the loop after the calls under way, wait for that, and raise any failure."""
        self.refuse_here("close")
        with self.lock:
            loop = self._running("close")
            self.closed = self._is_awaited = True
            with suppress(RuntimeError):  # a signal handler has closed the store between these two lines
                loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # otherwise the traceback would keep it alive in a cycle

    def end(self) -> None:
        """End the loop, without waiting: nothing refers to the store any more."""
        if self.started:
            self._tell(self._stopped.set)
        self.closed = True

    def _tell(self, what: Callable[[], object]) -> None:
        # Without the lock: the garbage collector may call this in a thread that holds it.
        if self._loop is not None and not self.closed and not self.forked:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(what)

    def _running(self, operation: str) -> asyncio.AbstractEventLoop:
        self.check(operation)
        if self._loop is not None:
            return self._loop
        if self._is_starting:
            raise StoreError(
                f"{operation} of {self._name()} was called by a signal handler, or while the garbage collector ran, in "
                "the middle of the first call, which starts the thread; call store.ping() before the handler is set",
                store=self._name(),
                operation=operation,
            )
        self._refuse_greenlets(operation)
        self._is_starting = True
        try:
            return self._start()
        except (StoreUnavailableError, OSError, RuntimeError, MemoryError) as error:
            failure = shortage(error)
            if failure is None:
                raise
            failure.store, failure.operation = self._name(), operation
            raise failure from error
        finally:
            self._is_starting = False

    def _refuse_greenlets(self, operation: str) -> None:
        patching = sys.modules.get("gevent.monkey")
        if patching is not None and any(patching.is_module_patched(name) for name in ("threading", "select", "queue")):
            raise StoreError(
                f"{operation} of {self._name()} needs a real thread with an event loop of its own, which gevent's "
                "monkey patching turns into a greenlet; use patch_all(thread=False, select=False, queue=False)",
                store=self._name(),
                operation=operation,
            )

    def _start(self) -> asyncio.AbstractEventLoop:
        # asyncio would print a traceback for the loop that it could create only in part.
        used_up = shortage_of_descriptors(_DESCRIPTORS)
        if used_up is not None:
            raise used_up
        self._stopped = asyncio.Event()
        loop = run_in_empty_context(asyncio.new_event_loop)  # otherwise it keeps the context of the first caller alive
        loop.set_default_executor(OwnThreads())  # used by the loop to look up host names
        self._thread = threading.Thread(target=self._run, args=(loop,), name="satchel-sync", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            loop.close()
            raise
        self._loop = loop
        atexit.register(self._end_of_process)
        return loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_until_complete(self._live(loop))
        except BaseException as error:
            if not self._is_awaited:
                raise  # nobody else would report it
            self._failure = error
        finally:
            loop.close()
            atexit.unregister(self._end_of_process)

    async def _live(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._stopped.wait()
        if self._under_way:
            await asyncio.wait(self._under_way)
        try:
            await self._last()
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await loop.shutdown_asyncgens()

    def _end_of_process(self) -> None:
        self.end()
        if not self.forked:
            self._thread.join(_LAST_SECONDS)


class _Call(Generic[R]):
    """Coroutine function on its way to the loop's thread, and its outcome on the way back."""

    def __init__(self, function: Callable[[], Coroutine[Any, Any, R]], under_way: set[asyncio.Task[None]]) -> None:
        self._function = function
        self._under_way = under_way
        self._error: BaseException | None = None
        # A bare lock: a Future, with its condition, makes a call a sixth slower.
        self._ended = threading.Lock()
        self._ended.acquire()

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._carry_out())
        self._under_way.add(self._task)

    def cancel(self) -> None:
        self._task.cancel()
        self._task.add_done_callback(
            self._under_way.discard
        )  # a task cancelled before its first step does not run its own cleanup

    def wait(self) -> None:
        self._ended.acquire()

    def result(self) -> R:
        error, self._error = self._error, None  # otherwise the traceback would keep it alive in a cycle
        if error is None:
            return self._value
        try:
            raise error
        finally:
            del error

    async def _carry_out(self) -> None:
        try:
            self._value = await self._function()
        except BaseException as error:  # including SystemExit: it is raised to the caller, and would end the loop here
            self._error = error
        finally:
            self._under_way.discard(self._task)
            self._ended.release()


_threads: weakref.WeakSet[LoopThread] = weakref.WeakSet()


def _after_fork() -> None:
    for thread in _threads:
        thread.lock = threading.RLock()  # a thread of the parent may hold the old one
        thread.forked = thread.started
        thread._is_starting = False


at_fork(after_in_child=_after_fork)
