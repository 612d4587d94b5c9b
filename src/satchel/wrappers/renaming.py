"""Errors of an inner store, with the names that the caller of a wrapper knows."""

from __future__ import annotations

from collections.abc import Mapping

from .._threads import Turns
from ..errors import BatchError, SatchelError, StoreError
from ..names import Ref


def renamed(error: SatchelError, names: Mapping[Ref, Ref], collection: str) -> SatchelError:
    """Return an error of the inner store's with the caller's own name, which is given for the inner one."""
    own = error.again()
    for inner, ref in names.items():
        _say(own, inner, ref)
    if isinstance(own, StoreError):
        own.collection = collection
        own.key = None if own.key is None else next(iter(names.values()))[1]
    return own


async def renamed_batch(error: SatchelError, inner: str, keys: Mapping[str, str], collection: str) -> SatchelError:
    """Return the error of a batch with the caller's own names; `keys` gives the caller's keys for the inner ones.

    An empty batch has no names, and is still about a collection of the caller's.
    """
    own, turns = error.again(), Turns()
    for name, key in keys.items():
        if _say(own, (inner, name), (collection, key)):
            break
        await turns.after_item()
    if isinstance(own, StoreError):
        own.collection = collection
        own.key = None if len(keys) != 1 or own.key is None else next(iter(keys.values()))
    if isinstance(own, BatchError):
        failed: dict[str, SatchelError] = {}
        for name, key in keys.items():
            if name in own.failed:
                failed[key] = renamed(own.failed[name], {(inner, name): (collection, key)}, collection)
            await turns.after_item()
        own.failed = failed
    return own


def _say(error: SatchelError, inner: Ref, ref: Ref) -> bool:
    """Put the caller's name for the inner one into a message that has it, and say whether it has."""
    said = str(error)
    if place(inner) not in said:
        return False
    error.args = (said.replace(place(inner), place(ref), 1), *error.args[1:])
    return True


def place(ref: Ref) -> str:
    """Return how messages say which entry they are about."""
    return f"of key {ref[1]!r} in collection {ref[0]!r} of "
