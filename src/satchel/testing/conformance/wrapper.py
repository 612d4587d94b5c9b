"""`WrapperConformance`: every guarantee of a store, tested on a wrapper around a store in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ...errors import ConfigurationError, StoreClosedError
from ...protocol import AsyncKeyValue
from ...stores.memory import MemoryStore
from ..clock import FakeClock
from .store import StoreConformance
from .suite import close_if_open


class _StoreWithMore(MemoryStore):
    """Store with a method outside of every protocol."""

    async def move(self, collection: str, key: str) -> None:
        """Represent a method unknown to a wrapper."""


class WrapperConformance(StoreConformance):
    """Conformance suite for a wrapper: it keeps all guarantees of its inner store.

    ```python
    class TestMyWrapper(WrapperConformance):
        def wrap(self, inner, clock):
            return MyWrapper(inner)
    ```

    Attributes:
        closes_inner: Whether closing the wrapper closes the inner store.
        changes: Tests of behaviour that the wrapper changes on purpose, each with the reason. They are left out,
            and the wrapper's own tests cover the new behaviour. An unknown name raises `ConfigurationError`.
    """

    closes_inner: ClassVar[bool] = True
    changes: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, reason in cls.changes.items():
            if not name.startswith("test_") or not hasattr(cls, name):
                raise ConfigurationError(f"{cls.__name__}.changes names {name!r}, which is not a test of the suite")
            if not reason:
                raise ConfigurationError(f"{cls.__name__}.changes must state why {name} does not hold")
            if name not in vars(cls):
                setattr(cls, name, None)  # pytest does not collect it

    @abstractmethod
    def wrap(self, inner: AsyncKeyValue, clock: FakeClock) -> AsyncKeyValue:
        """Return the wrapper around a store; the clock is the inner store's."""

    def make_store(self, clock: FakeClock, place: Path) -> AsyncKeyValue:
        return self.wrap(MemoryStore(clock=clock), clock)

    async def test_capabilities_are_a_part_of_those_of_the_inner_store(self, clock: FakeClock) -> None:
        inner = MemoryStore(clock=clock)
        wrapper = self.wrap(inner, clock)
        assert wrapper.capabilities in inner.capabilities
        await close_if_open(wrapper)
        await close_if_open(inner)

    async def test_capabilities_that_the_inner_store_lacks_are_lacking(self, clock: FakeClock) -> None:
        inner = MemoryStore(clock=clock)
        inner._missing = inner.capabilities
        wrapper = self.wrap(inner, clock)
        assert not wrapper.capabilities
        await close_if_open(wrapper)
        await close_if_open(inner)

    async def test_the_longest_key_is_at_most_that_of_the_inner_store(self, clock: FakeClock) -> None:
        inner = MemoryStore(clock=clock)
        wrapper = self.wrap(inner, clock)
        assert wrapper.max_key_bytes <= inner.max_key_bytes
        await close_if_open(wrapper)
        await close_if_open(inner)

    async def test_closing_reaches_the_inner_store_as_documented(self, clock: FakeClock) -> None:
        inner = MemoryStore(clock=clock)
        wrapper = self.wrap(inner, clock)
        await wrapper.put("c", "k", 1)
        await wrapper.aclose()
        if self.closes_inner:
            with pytest.raises(StoreClosedError):
                await inner.get("c", "k")
        else:
            await inner.get("c", "k")
            await inner.aclose()

    async def test_what_the_wrapper_does_not_know_is_not_passed_through(self, clock: FakeClock) -> None:
        inner = _StoreWithMore(clock=clock)
        wrapper = self.wrap(inner, clock)
        assert not hasattr(wrapper, "move")
        assert "__getattr__" not in {name for kind in type(wrapper).__mro__ for name in vars(kind)}
        await close_if_open(wrapper)
        await close_if_open(inner)

    async def test_the_inner_store_holds_what_the_wrapper_was_given(self, clock: FakeClock) -> None:
        inner = MemoryStore(clock=clock)
        wrapper = self.wrap(inner, clock)
        await wrapper.put("c", "k", 1)
        assert [name async for name in inner.collections()] != []
        assert await wrapper.delete("c", "k") is True
        assert await wrapper.get("c", "k") is None
        await close_if_open(wrapper)
        await close_if_open(inner)
