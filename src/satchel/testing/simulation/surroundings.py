"""What a simulated program would otherwise get from its surroundings: time, random numbers, threads."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import chain
from types import BuiltinFunctionType, FunctionType
from typing import Any, Final, ParamSpec, TypeVar

from ... import _forks, _threads
from ...backend.record import new_version
from .loop import SimulatedLoop

P = ParamSpec("P")
R = TypeVar("R")

_MONOTONIC: Final = ("monotonic", "perf_counter")
_FUNCTIONS: Final = (FunctionType, BuiltinFunctionType)


class _InPlace:
    """Stand-in for the pool of threads, whose work is carried out on the event loop that asked for it."""

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Carry out a function a little later."""
        loop = asyncio._get_running_loop()
        if isinstance(loop, SimulatedLoop):
            return loop.in_place(function, *args, **kwargs)
        future: Future[R] = Future()
        _threads.carry_out(future, function, *args, **kwargs)
        return future


@contextmanager
def simulated(seed: object, monotonic: Callable[[], float], wall: Callable[[], float]) -> Iterator[None]:
    """Take time and random numbers from a world for the length of a block, in this thread alone.

    Args:
        seed: What the random numbers come from.
        monotonic: Replaces `time.monotonic` and `time.perf_counter`.
        wall: Replaces `time.time`.
    """
    here, numbers = threading.get_ident(), random.Random(f"{seed} surroundings")  # noqa: S311  # it hides nothing
    fakes: dict[Any, Any] = {}

    def replace(real: Any, fake: Callable[..., Any]) -> None:
        fakes[real] = lambda *given: fake(*given) if threading.get_ident() == here else real(*given)

    for name in _MONOTONIC:
        replace(getattr(time, name), monotonic)
        replace(getattr(time, f"{name}_ns"), lambda: int(monotonic() * 1e9))
    replace(time.time, wall)
    replace(time.time_ns, lambda: int(wall() * 1e9))
    replace(os.urandom, numbers.randbytes)
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        random.seed(numbers.random())
        stack.callback(_forks._random.seed)
        _forks._random.seed(numbers.random())
        stack.callback(new_version.renew)
        stack.callback(_exchange, {fake: real for real, fake in fakes.items()})
        _exchange(fakes)
        new_version.renew()
        stack.callback(setattr, _threads, "_pool", _threads._pool)
        _threads._pool = _InPlace()  # type: ignore[assignment]  # it has the one method that is used
        logger = logging.getLogger("satchel")
        stack.callback(setattr, logger, "disabled", logger.disabled)
        logger.disabled = True  # writing some thousand tracebacks takes longer than all else
        if gc.isenabled():
            stack.callback(gc.enable)
            gc.disable()  # when garbage goes, and what is called then, depends on what else the process did
        yield


def _exchange(new: dict[Any, Any]) -> None:
    """Replace functions wherever satchel's own modules have them, and those that they are from."""
    names = [name for name in sys.modules if name.startswith("satchel.")]
    places = [vars(sys.modules[name]) for name in ("time", "os", "random", *names)]
    for place in [*places, *chain.from_iterable(map(_defaults, names))]:
        for name, value in list(place.items()):
            if type(value) in _FUNCTIONS and value in new:
                place[name] = new[value]


@cache
def _defaults(module: str) -> list[dict[str, Any]]:
    """Return the named defaults of each function of a module that has some, methods among them."""
    members = list(vars(sys.modules[module]).values())
    own = [vars(each).values() for each in members if isinstance(each, type) and each.__module__ == module]
    functions = [each for each in [*members, *chain.from_iterable(own)] if isinstance(each, FunctionType)]
    return [each.__kwdefaults__ for each in functions if each.__kwdefaults__]
