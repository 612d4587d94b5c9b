"""Every promise of a store, asked of `SyncStore` through an adapter that calls each verb in a worker thread."""

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

from satchel import AsyncKeyValue
from satchel.sync import SyncStore
from satchel.testing import FakeClock, WrapperConformance
from satchel.verbs import LISTINGS, SEAMS

VERBS = SEAMS.keys() - LISTINGS


class Unsynced:
    """Makes an async store of a `SyncStore` again."""

    def __init__(self, store: SyncStore) -> None:
        self._store = store

    def __repr__(self) -> str:
        return f"Unsynced({self._store!r})"

    @property
    def capabilities(self) -> Any:
        return self._store.capabilities

    @property
    def max_key_bytes(self) -> int:
        return self._store.max_key_bytes

    def keys(
        self, collection: str, *, prefix: str = "", limit: int | None = None, after: str | None = None
    ) -> AsyncIterator[str]:
        return self._steps(self._store.keys(collection, prefix=prefix, limit=limit, after=after))

    def collections(self) -> AsyncIterator[str]:
        return self._steps(self._store.collections())

    async def aclose(self) -> None:
        await asyncio.to_thread(self._store.close)

    async def __aenter__(self) -> Any:
        await asyncio.to_thread(self._store.__enter__)
        return self

    async def __aexit__(self, *outcome: Any) -> None:  # noqa: PYI036  # handed on as it is
        await asyncio.to_thread(self._store.__exit__, *outcome)

    async def _steps(self, names: Iterator[str]) -> AsyncIterator[str]:
        while (name := await asyncio.to_thread(next, names, None)) is not None:
            yield name


def in_thread(verb: str) -> Any:
    async def call(self: Unsynced, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(functools.partial(getattr(self._store, verb), *args, **kwargs))

    return call


for _verb in VERBS:
    setattr(Unsynced, _verb, in_thread(_verb))


class TestSyncStore(WrapperConformance):
    changes: ClassVar = {
        "test_a_second_running_loop_is_served_or_refused_and_the_first_goes_on": "a caller has no loop; test_sync.py",
        "test_context_variables_of_a_caller_are_not_kept": "the loop's thread may be a moment late; test_sync.py",
        "test_a_cancelled_put_never_lands_over_a_later_one": "the worker thread of a cancelled call goes on",
        "test_closing_waits_for_the_calls_under_way": "some still wait for a worker thread; test_sync.py",
        "test_the_inner_store_holds_what_the_wrapper_was_given": "the inner store is in use on the loop's thread",
    }

    def wrap(self, inner: AsyncKeyValue, clock: FakeClock) -> Any:
        return Unsynced(SyncStore(inner))
