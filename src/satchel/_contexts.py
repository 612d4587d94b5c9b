"""Empty contexts: work that outlives its caller must neither use the caller's context variables nor keep them alive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def run_in_empty_context(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function that keeps the context in which it is called, as one that sets a timer does."""
    return Context().run(function, *args, **kwargs)


def task_in_empty_context(work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
    """Start a task on the running event loop."""
    return asyncio.get_running_loop().create_task(work, context=Context())
