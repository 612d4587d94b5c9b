"""`ThreadFlights`: one run for threads that make the same first call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

from ..._copies import copy_of_error
from ..._forks import hold, watch
from ...errors import ConfigurationError

T = TypeVar("T")


class ThreadFlights(Generic[T]):
    """Table of the runs under way in the threads of this process, by key.

    Args:
        name: Name of what runs, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._under_way: dict[str, tuple[int, Future[T | None]]] = {}
        self._lock = threading.Lock()
        watch(self)

    def after_fork(self) -> None:
        """In a child of `fork`: leave what is under way to the parent."""
        hold(self._under_way)
        self._under_way, self._lock = {}, threading.Lock()

    @contextmanager
    def lead(self, key: str) -> Iterator[Callable[[T], None] | None]:
        """Give the first thread a function that takes its outcome; None for others, which call `wait`.

        An error of the block is raised in all threads that wait for it. One that is interrupted gives them no outcome.
        """
        future: Future[T | None] = Future()
        with self._lock:
            leads = self._under_way.setdefault(key, (threading.get_ident(), future))[1] is future
        if not leads:
            yield None
            return
        try:
            yield future.set_result
        except Exception as error:
            future.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
            if not future.done():
                future.set_result(None)

    def wait(self, key: str) -> T | None:
        """Wait for the outcome of a run under way, and return it; None if it has ended already or was interrupted.

        Raises:
            ConfigurationError: It waits for itself.
            Exception: A copy of its error.
        """
        with self._lock:
            thread, future = self._under_way.get(key, (0, None))
        if future is None:
            return None
        if thread == threading.get_ident():
            raise ConfigurationError(f"{self._name} waits for its own result: it calls itself with the same arguments")
        error = future.exception()
        if error is not None:
            raise copy_of_error(error) if isinstance(error, Exception) else error
        return future.result()
