"""Executor over satchel's own threads, for libraries that take one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ._threads import submit

P = ParamSpec("P")
R = TypeVar("R")


class OwnThreads(ThreadPoolExecutor):
    """Executor whose threads work until the process ends, without keeping it from ending."""

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run a function in a thread of satchel's own."""
        return submit(function, *args, **kwargs)


own_threads = OwnThreads()
"""For any caller. All threads of the event loop's executor may wait for what this one does."""
