"""Handling of a parent's open resources in a child of `fork`.

A child shares its parent's sockets, and what the system knows of the parent's event loop: when it closes a connection,
even by garbage collection, the parent's loop no longer receives data from it. So their owners drop them without
touching them, and they are held here forever, so that they do not become garbage.
"""

from __future__ import annotations

import asyncio
import os
import random
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import msgspec


class Inherits(Protocol):
    """Object with resources that a child of `fork` must release."""

    def after_fork(self) -> None:
        """In the child: drop the parent's resources without touching them."""


class _Forever(msgspec.Struct, gc=False):
    """Objects kept until the process is gone. It refers to itself, where the garbage collector does not look."""

    held: list[object]
    itself: Any = None


_forever = _Forever([])
_forever.itself = _forever
_inheriting: weakref.WeakSet[Inherits] = weakref.WeakSet()
_random = random.Random()  # noqa: S311  # it spreads load, and hides nothing


def watch(inheriting: Inherits) -> None:
    """Have an object's `after_fork` called in every child, for as long as the object lives."""
    _inheriting.add(inheriting)


def hold(*objects: object) -> None:
    """Hold objects forever, untouched."""
    _forever.held.extend(objects)


def hold_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Hold an event loop with its tasks: one that became garbage would run its `finally` blocks."""
    if not any(held is loop for held in _forever.held):
        hold(loop)
        with suppress(RuntimeError):  # the parent was about to start or end one
            hold(*asyncio.all_tasks(loop))


def random_numbers(seed: int | None) -> random.Random:
    """Return a source of random numbers: without a seed, different ones in every process."""
    return _random if seed is None else random.Random(seed)  # noqa: S311  # as above


def at_fork(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object],
) -> None:
    """Have functions called around every fork, where the platform has that."""
    if hasattr(os, "register_at_fork"):
        given = {"before": before, "after_in_parent": after_in_parent, "after_in_child": after_in_child}
        os.register_at_fork(**{when: function for when, function in given.items() if function is not None})


def _let_go() -> None:
    for inheriting in list(_inheriting):
        inheriting.after_fork()


at_fork(after_in_child=_let_go)
at_fork(after_in_child=_random.seed)
