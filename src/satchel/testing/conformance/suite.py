"""Parts shared by the conformance tests: fixtures, and the handling of missing capabilities."""

from __future__ import annotations

import functools
import inspect
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
from blockbuster import BlockBuster

from ...capability import Capability
from ...errors import StoreClosedError, UnsupportedOperationError
from ...protocol import AsyncKeyValue, SupportsEverything
from ...verbs import METHODS
from ..blocking import blocking_detected
from ..clock import FakeClock

NewStore = Callable[[], SupportsEverything]

_CALLS: dict[str, Callable[[Any], Any]] = {
    "keys": lambda store: store.keys("c"),
    "count": lambda store: store.count("c"),
    "collections": lambda store: store.collections(),
    "destroy_collection": lambda store: store.destroy_collection("c"),
    "destroy": lambda store: store.destroy(),
    "cull": lambda store: store.cull(),
    "put_if_absent": lambda store: store.put_if_absent("c", "k", 1),
    "compare_and_put": lambda store: store.compare_and_put("c", "k", 1, version="v"),
    "compare_and_delete": lambda store: store.compare_and_delete("c", "k", version="v"),
    "touch": lambda store: store.touch("c", "k", ttl=1),
    "watch": lambda store: store.watch("c"),
}


class Suite(ABC):
    """Base class of the suites, with a fresh store for each test. A subclass implements `make_store`.

    Attributes:
        persistent: Whether a second store over the same place sees the first one's writes.
        stores_values: Whether the store keeps values.
    """

    persistent: ClassVar[bool] = False
    stores_values: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, test in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(test):
                setattr(cls, name, pytest.mark.asyncio(test))  # so that it also runs with asyncio_mode strict

    @abstractmethod
    def make_store(self, clock: FakeClock, place: Path) -> AsyncKeyValue:
        """Return a new store.

        Args:
            clock: For the store's `clock=`.
            place: An empty directory for this test. A store over a network uses `place.name`, which is never reused, as
                its prefix.
        """

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def blocking_detector(cls) -> Iterator[BlockBuster]:
        """Make every call that blocks the event loop raise."""
        with blocking_detected() as detector:
            yield detector

    @pytest.fixture
    def clock(self) -> FakeClock:
        """Return the clock of the test's stores."""
        return new_clock()

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Return the place of the test's stores."""
        return new_place(tmp_path)

    @pytest_asyncio.fixture
    async def new_store(self, clock: FakeClock, place: Path) -> AsyncIterator[NewStore]:
        """Return a function that makes another store over the same place."""
        made: list[AsyncKeyValue] = []

        def make() -> Any:
            made.append(self.make_store(clock, place))
            return made[-1]

        yield make
        for store in made:
            await close_if_open(store)

    @pytest_asyncio.fixture
    async def store(self, new_store: NewStore) -> SupportsEverything:
        """Return the test's store."""
        return new_store()


def new_clock() -> FakeClock:
    """Return a clock that starts now: if it started in the past, native expiry would remove entries at once."""
    return FakeClock(float(int(time.time())))


def new_place(parent: Path) -> Path:
    """Make an empty directory whose name has never been used."""
    place = parent / f"satchel-{uuid.uuid4().hex[:12]}"
    place.mkdir()
    return place


async def close_if_open(store: AsyncKeyValue) -> None:
    """Close a store unless it is closed."""
    with suppress(StoreClosedError):
        await store.aclose()


def needs(capability: Capability) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[..., Any]]:
    """Run a test if the store has the capability; otherwise check that it refuses each method by name.

    Args:
        capability: One flag, or several joined by `|`. The test takes the fixture `store`.
    """

    def decorate(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., Any]:
        @functools.wraps(test)
        async def run(self: Suite, **fixtures: Any) -> None:
            lacking = capability & ~fixtures["store"].capabilities
            if lacking:
                await check_refused(fixtures["store"], lacking)
            else:
                await test(self, **fixtures)

        return run

    return decorate


async def check_refused(store: AsyncKeyValue, lacking: Capability) -> None:
    """Check that a store refuses every method of some capabilities, and that each message names the method."""
    for flag in Capability:
        for method in METHODS.get(flag, ()) if flag in lacking else ():
            with pytest.raises(UnsupportedOperationError) as refusal:
                await _call(store, method)
            assert method in str(refusal.value), f"the refusal does not name {method}"
            assert type(store).__name__ in str(refusal.value), "the refusal does not name the store"


async def _call(store: AsyncKeyValue, method: str) -> None:
    called = _CALLS[method](store)
    if isinstance(called, Awaitable):
        await called


async def listed(names: AsyncIterator[str]) -> list[str]:
    """Return a listing, sorted, with duplicates."""
    return sorted([name async for name in names])


def absent() -> object:
    """Return a default that no store can return."""
    return object()
