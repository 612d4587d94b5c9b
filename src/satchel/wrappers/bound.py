"""`Bound`: which verbs a wrapper has, and how far each goes through it."""

from __future__ import annotations

import functools
import operator
from collections.abc import Awaitable, Callable
from typing import Any

from ..capability import METHODS, NEEDED, Capability
from ..errors import ConfigurationError, UnsupportedOperationError
from ..protocol import AsyncKeyValue, is_store
from .call import BATCHES, LISTINGS, stepped, surrounded
from .passage import Passage
from .seams import Seams

SHARED = ("_shares_collections", "_shares_store")

_NAMES = ("_ref", "_collection")
_READ = (*_NAMES, "_decode")
_WRITTEN = (*_NAMES, "_encode", "_ttl")
_LISTED = (*_NAMES, "_unref", "_uncollection", "_shares_collections")
SEAMS: dict[str, tuple[str, ...]] = {
    "get": _READ,
    "get_entry": _READ,
    "exists": _NAMES,
    "put": _WRITTEN,
    "delete": _NAMES,
    "get_many": _READ,
    "get_entries": _READ,
    "put_many": _WRITTEN,
    "delete_many": _NAMES,
    "ping": (),
    "put_if_absent": _WRITTEN,
    "compare_and_put": _WRITTEN,
    "compare_and_delete": _NAMES,
    "touch": (*_NAMES, "_ttl"),
    "keys": _LISTED,
    "collections": _LISTED,
    "destroy_collection": _LISTED,
    "destroy": SHARED,
    "cull": (),
}
"""The verbs, and the seams that each goes through."""

_KNOWN = functools.reduce(operator.or_, METHODS)
_NEEDED_TO_DESTROY = Capability.ENUMERATE_COLLECTIONS | Capability.DESTROY_COLLECTION


class Bound(Passage):
    """Binds the verbs of a wrapper: to the inner store's own, to those that go through its seams, or to a refusal."""

    inner: AsyncKeyValue
    _dropped: Capability

    @property
    def capabilities(self) -> Capability:
        """What this store can do beyond the core: what the inner one can, but for what the wrapper breaks."""
        have = self.inner.capabilities & ~self._dropped
        if self._shares_collections and Capability.ENUMERATE_KEYS not in have:
            have &= ~(Capability.ENUMERATE_COLLECTIONS | Capability.DESTROY_COLLECTION)
        if self._overrides(*SHARED) and (_NEEDED_TO_DESTROY & ~have):
            have &= ~Capability.DESTROY_STORE
        return have

    def _need_store(self, inner: object) -> None:
        if not is_store(inner):
            raise ConfigurationError(f"{type(self).__name__} goes around a store, got {type(inner).__name__}")

    def _bind(self, plain: type[Seams], drops: Capability) -> None:
        """Let each verb go no further than it must.

        Args:
            plain: The class whose verbs do nothing but what the seams say.
            drops: What this wrapper lacks for a reason of its own.
        """
        self._dropped = drops | ~_KNOWN
        if self._overrides("_ref") and not self._overrides("_unref"):
            self._dropped |= Capability.ENUMERATE_KEYS
        lists = self._overrides("_uncollection") or not self._inherits("collections", plain)
        if self._overrides("_collection") and not lists:
            self._dropped |= Capability.ENUMERATE_COLLECTIONS
        for operation, seams in SEAMS.items():
            if not hasattr(self.inner, operation):
                self._become(operation, self._refusal(operation))
            elif self._inherits(operation, plain) and not self._overrides(*seams):
                self._become(operation, getattr(self.inner, operation))
        if self._overrides("_around", "_carry_out"):
            for operation in SEAMS.keys() - LISTINGS:
                self._become(operation, self._surrounded(operation, getattr(self, operation)))
            if self._around_steps:
                for operation in LISTINGS:
                    self._become(operation, stepped(operation, getattr(self, operation), self._around))
        for capability, operations in METHODS.items():
            if capability in self._dropped:
                for operation in operations:
                    self._become(operation, self._refusal(operation))

    def _surrounded(self, operation: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        if self._overrides("_around") or operation in BATCHES:
            return surrounded(operation, method, self._around)
        return functools.partial(self._carry_out, operation, method)

    def _inherits(self, operation: str, plain: type) -> bool:
        return getattr(type(self), operation) is getattr(plain, operation)

    def _pass_through(self, *operations: str) -> None:
        """Let verbs that this instance has no use for be the inner store's own."""
        for operation in operations:
            self._become(operation, getattr(self.inner, operation))

    def _become(self, operation: str, method: Callable[..., Any]) -> None:
        """Let a verb of this instance be something else than its class says."""
        setattr(self, operation, method)  # through `__dict__` every later look at any attribute would take longer

    def _refusal(self, operation: str) -> Callable[..., Any]:
        def refuse(*_: Any, **__: Any) -> Any:
            raise self._unsupported(operation)

        return refuse

    def _need(self, operation: str) -> None:
        if NEEDED[operation] not in self.capabilities:
            raise self._unsupported(operation)

    def _unsupported(self, operation: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(f"{self!r} does not have {operation}; see its .capabilities")
