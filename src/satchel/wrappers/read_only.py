"""`ReadOnlyWrapper`: a store that is read and never changed (`?wrap=read_only`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..capability import Capability
from ..errors import ReadOnlyError
from ..protocol import AsyncKeyValue
from ..verbs import CHANGES, CORE
from .base import BaseWrapper

_KEPT = Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS | Capability.WATCH


class ReadOnlyWrapper(BaseWrapper):
    """Wrapper that refuses every change: `put`, `put_many`, `delete` and `delete_many` raise `ReadOnlyError`.

    What else changes something is not there: of the capabilities, listing and watching alone are
    passed on.

    Args:
        inner: The wrapped store.

    Raises:
        ConfigurationError: The inner store is none.
    """

    def __init__(self, inner: AsyncKeyValue) -> None:
        super().__init__(inner, drops=~_KEPT)

    def _bindings(self) -> dict[str, Callable[..., Any]]:
        return super()._bindings() | {verb: self._read_only(verb) for verb in CORE & CHANGES}

    def _read_only(self, operation: str) -> Callable[..., Awaitable[Any]]:
        async def refuse(*_: Any, **__: Any) -> Any:
            raise ReadOnlyError(f"{self!r} is read-only, and refuses {operation}")

        return refuse
