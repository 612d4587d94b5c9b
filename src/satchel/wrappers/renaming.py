"""Errors of an inner store, with the names that the caller of a wrapper knows."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import BatchError, SatchelError, StoreError
from ..names import Ref


def renamed(error: SatchelError, names: Mapping[Ref, Ref], collection: str) -> SatchelError:
    """Return an error of the inner store's with the caller's own names, which are given for the inner ones.

    An empty batch has no names, and is still about a collection of the caller's.
    """
    own = error.again()
    for inner, ref in names.items():
        if place(inner) in str(error):
            own.args = (str(error).replace(place(inner), place(ref), 1), *error.args[1:])
            break
    if isinstance(own, StoreError):
        own.collection = collection
        own.key = None if len(names) != 1 or own.key is None else next(iter(names.values()))[1]
    if isinstance(own, BatchError):
        own.failed = {
            ref[1]: renamed(own.failed[inner[1]], {inner: ref}, collection)
            for inner, ref in names.items()
            if inner[1] in own.failed
        }
    return own


def place(ref: Ref) -> str:
    """Return how messages say which entry they are about."""
    return f"of key {ref[1]!r} in collection {ref[0]!r} of "
