"""`Query`: the recorded calls that match, read while they are iterated over."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable
from contextlib import aclosing
from typing import Any, Protocol

from ...errors import ConfigurationError, KeyMissingError
from ..walk import Digest
from .record import FunctionCall
from .recorded import RecordedCall

Key = Callable[[RecordedCall], Any]


class RecordsCalls(Protocol):
    """Place of recorded calls, as `Calls` is."""

    async def contains(self, digest: str) -> bool:
        """Return whether a call with a digest is recorded, and its result is there."""

    async def record(self, call: FunctionCall) -> Digest:
        """Record a call."""

    async def delete(self, digest: str) -> bool:
        """Delete the call with a digest, and return whether there was one."""


class Query:
    """Recorded calls that match, as `Calls.query` returns them.

    It is read anew each time that it is iterated over, a page at a time, so that a query of any size takes little
    memory. `take`, `skip`, `filter` and `unique` return another query and read nothing.

    Args:
        calls: The recorded calls.
        read: Function that reads the calls that match.
    """

    def __init__(self, calls: RecordsCalls, read: Callable[[], AsyncGenerator[RecordedCall, None]]) -> None:
        self._calls, self._read = calls, read

    def __repr__(self) -> str:
        return f"<query of {self._calls!r}>"

    def __aiter__(self) -> AsyncIterator[RecordedCall]:
        return self._read()

    def take(self, number: int) -> Query:
        """Return a query of the first calls, in the order of this one."""
        _check_number("take", number)

        async def read() -> AsyncGenerator[RecordedCall, None]:
            if number:
                left = number
                async with aclosing(self._read()) as found:
                    async for call in found:
                        yield call
                        left -= 1
                        if not left:
                            return

        return Query(self._calls, read)

    def skip(self, number: int) -> Query:
        """Return a query of all calls but the first ones."""
        _check_number("skip", number)

        async def read() -> AsyncGenerator[RecordedCall, None]:
            left = number
            async with aclosing(self._read()) as found:
                async for call in found:
                    if left:
                        left -= 1
                    else:
                        yield call

        return Query(self._calls, read)

    def filter(self, matches: Callable[[RecordedCall], object]) -> Query:
        """Return a query of the calls for which a plain function returns a true value."""
        _check_function("filter", matches)

        async def read() -> AsyncGenerator[RecordedCall, None]:
            async with aclosing(self._read()) as found:
                async for call in found:
                    if matches(call):
                        yield call

        return Query(self._calls, read)

    def unique(self, key: Callable[[RecordedCall], Hashable]) -> Query:
        """Return a query of the first call for each value of a function; the values are kept while it is read."""
        _check_function("unique", key)

        async def read() -> AsyncGenerator[RecordedCall, None]:
            seen: set[Hashable] = set()
            async with aclosing(self._read()) as found:
                async for call in found:
                    value = key(call)
                    if value not in seen:
                        seen.add(value)
                        yield call

        return Query(self._calls, read)

    async def only(self) -> RecordedCall:
        """Return the one call that matches.

        Raises:
            KeyMissingError: No call matches.
            ValueError: Several calls match.
        """
        found = [call async for call in self.take(2)]
        if not found:
            raise KeyMissingError("no recorded call matches")
        if len(found) > 1:
            raise ValueError("more than one recorded call matches; take first() or latest(), or ask for less")
        return found[0]

    async def first(self) -> RecordedCall | None:
        """Return one call that matches; None if there is none."""
        async for call in self.take(1):
            return call
        return None

    async def latest(self) -> RecordedCall | None:
        """Return the call that was recorded last; None if there is none. It reads all that match."""
        latest: RecordedCall | None = None
        async for call in self:
            if latest is None or call.recorded_at > latest.recorded_at:
                latest = call
        return latest

    async def oldest(self) -> RecordedCall | None:
        """Return the call that was recorded first; None if there is none. It reads all that match."""
        oldest: RecordedCall | None = None
        async for call in self:
            if oldest is None or call.recorded_at < oldest.recorded_at:
                oldest = call
        return oldest

    async def count(self) -> int:
        """Return the number of calls that match."""
        number = 0
        async for _ in self:
            number += 1
        return number

    async def exists(self) -> bool:
        """Return whether a call matches."""
        return await self.first() is not None

    async def sorted(self, key: Key, *, reverse: bool = False) -> list[RecordedCall]:
        """Return all calls that match, sorted by a function."""
        _check_function("sorted", key)
        return sorted([call async for call in self], key=key, reverse=reverse)

    async def group_by(self, key: Callable[[RecordedCall], Hashable]) -> dict[Any, list[RecordedCall]]:
        """Return all calls that match, in a list for each value of a function."""
        _check_function("group_by", key)
        groups: dict[Any, list[RecordedCall]] = {}
        async for call in self:
            groups.setdefault(key(call), []).append(call)
        return groups

    async def results(self) -> AsyncGenerator[Any, None]:
        """Iterate over the results of the calls that match; a call whose result is gone is passed over."""
        async with aclosing(self._read()) as found:
            async for call in found:
                try:
                    result = await call.result()
                except KeyMissingError:
                    continue
                yield result

    async def rows(self) -> list[dict[str, Any]]:
        """Return a flat dict for each call that matches, with its values loaded: `pandas.DataFrame(rows)` is a table.

        Its names are `digest`, `name`, `version`, `recorded_at`, `result`, `arguments.x`, `tags.x` and, for metadata,
        `runtime.seconds`. A value that is gone is None.
        """
        return [await _row(call) async for call in self]

    async def delete(self) -> int:
        """Delete the calls that match, and return their number; their values are left to `ContentStore.gc`."""
        number = 0
        async for call in self:
            number += await self._calls.delete(call.digest)
        return number

    async def copy_to(self, target: RecordsCalls, *, overwrite: bool = False) -> int:
        """Record the calls that match in another place, with their values, and return their number.

        Calls whose values are gone are passed over, and, unless told otherwise, those that the target has already.
        """
        number = 0
        async for call in self:
            if overwrite or not await target.contains(call.digest):
                try:
                    whole = await call.load()
                except KeyMissingError:
                    continue
                await target.record(whole)
                number += 1
        return number


async def _row(call: RecordedCall) -> dict[str, Any]:
    row: dict[str, Any] = {
        "digest": str(call.digest),
        "name": call.name,
        "version": call.version,
        "recorded_at": call.recorded_at,
    }
    for argument in call.argument_digests:
        row[f"arguments.{argument}"] = await _or_none(call.argument(argument))
    row["result"] = await _or_none(call.result())
    row |= {f"tags.{tag}": value for tag, value in call.tags.items()}
    for source, facts in call.metadata.items():
        row |= {f"{source}.{name}": fact for name, fact in facts.items()}
    return row


async def _or_none(value: Any) -> Any:
    try:
        return await value
    except KeyMissingError:
        return None


def _check_function(what: str, function: object) -> None:
    if not callable(function) or inspect.iscoroutinefunction(function):
        kind = "an async function" if callable(function) else type(function).__name__
        raise ConfigurationError(f"{what} takes a plain function of a recorded call, got {kind}")


def _check_number(what: str, number: object) -> None:
    if type(number) is not int or number < 0:
        raise ConfigurationError(f"{what} takes the number of calls, an int of at least 0, got {number!r}")
