"""Requests of obstore's: they run in threads of its own, of which the end of the process and `fork` must know."""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from typing import Any

from obstore.store import MemoryStore

from ..._forks import watch
from ...errors import StoreError

_LAST_SECONDS = 2
_LOOK_AGAIN = 0.002


class _Token:
    """Part of a request's context, so that it lives for as long as a thread of obstore's holds that context."""

    __slots__ = ("__weakref__",)


class _Driver:
    """obstore in this process: no child of `fork` has the threads that all its clients share."""

    def __init__(self) -> None:
        self.used = False
        self.lost = False
        self.under_way: set[weakref.ref[_Token]] = set()

    def after_fork(self) -> None:
        self.lost = self.used
        self.under_way = set()


_driver = _Driver()
watch(_driver)
_token: ContextVar[_Token] = ContextVar("_token")


def check_driver() -> None:
    """Note that obstore is about to be used.

    Raises:
        StoreError: The parent process has used it, so that it would never answer here.
    """
    if _driver.lost:
        raise StoreError(
            "obstore was in use when this process was forked, and its threads are its parent's alone; fork before the "
            'first use of an ObjectStore, or start processes in another way, as multiprocessing does with "spawn"'
        )
    _driver.used = True


def start(request: Callable[..., Any], *arguments: Any, **options: Any) -> Awaitable[Any]:
    """Start a request in a context of its own.

    obstore keeps the context of who starts a request until its thread is done with it, which is after the answer.
    """
    return Context().run(_start, request, arguments, options)


def _start(request: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Awaitable[Any]:
    token = _Token()
    _token.set(token)
    under_way = _driver.under_way
    under_way.add(weakref.ref(token, under_way.discard))
    answer: Awaitable[Any] = request(*arguments, **options)
    return answer


@atexit.register
def _wait_for_threads() -> None:
    # A thread that asks for the interpreter when it is no more takes the process down with it.
    give_up = time.monotonic() + _LAST_SECONDS
    while _driver.under_way and time.monotonic() < give_up:
        time.sleep(_LOOK_AGAIN)
        MemoryStore()  # any call has obstore drop what its threads have left behind
