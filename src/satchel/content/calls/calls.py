"""`Calls`: what functions returned for which arguments, recorded over a store of content."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from msgspec import UNSET

from ..._checks import check_clock
from ...caching.binding import single_flight_of
from ...capability import Capability
from ...clock import Clock, system_clock
from ...errors import ConfigurationError, DigestError, KeyMissingError, SatchelError, SerializationError, safe_repr
from ...names import check_name
from ...protocol import require
from ..digest import digest
from ..records import as_digest
from ..shortening import check_prefix, only_one
from ..store import ContentStore
from ..walk import Digest
from .anything import ANY, AnyOf
from .index import GRACE, CallIndex, Hit, index_keys, index_prefix, tag_value, time_of
from .metadata import check_tags
from .query import Query
from .record import CallDigests, CallRecord, FunctionCall, check_call, is_time, read_record, result_in
from .recorded import RecordedCall

CallChange = Callable[[RecordedCall], FunctionCall | Awaitable[FunctionCall | None] | None]
"""Function that returns the new form of a recorded call, or None to leave it as it is."""

_A_CALL = "a recorded call"
_FIRST_PAGE, _PAGE = 8, 100


class Calls:
    """Recorded calls of functions, over a `ContentStore` that keeps their arguments and results.

    A call is found by its digest, which consists of the name and version of the function and its arguments, or by a
    query for the function, arguments, the result, tags or the time. Equal values are kept once, whatever calls they
    belong to.

    ```python
    from satchel import MemoryStore
    from satchel.content import FunctionCall, Calls, ContentStore

    calls = Calls(ContentStore(MemoryStore()))
    digest = await calls.record(FunctionCall("area", {"width": 2, "height": 3}, result=6))

    call = await calls.query(fn="area", args={"width": 2}).only()
    assert call.digest == digest
    assert await call.result() == 6
    ```

    Guarantees:

    * A call is read back whole or not at all: its record is written last, in one step, after its values.
    * A query finds every call whose `record` has returned and that was not deleted. A crash leaves at most keys of the
      index that lead to nothing, which queries pass over and delete after an hour.
    * `ContentStore.gc` keeps the values of recorded calls.

    Args:
        content: The store of content.
        collection: The collection of the records; the index is in `{collection}/index`.
        clock: Source of the time at which calls are recorded.

    Raises:
        ConfigurationError: `content` is no `ContentStore`, or has the collection for itself.
        UnsupportedOperationError: Its store cannot list keys.
    """

    def __init__(self, content: ContentStore, collection: str = "calls", *, clock: Clock = system_clock) -> None:
        if not isinstance(content, ContentStore):
            raise ConfigurationError(f"Calls takes a ContentStore, got an object of type {type(content).__name__}")
        self._store = require(content.store, Capability.CONDITIONAL | Capability.ENUMERATE_KEYS)
        check_clock(clock)
        self._content, self._collection, self._clock = content, content._roots.check_apart(collection), clock
        self._flights = single_flight_of(content.store)
        self._index = CallIndex(self._store, check_name(f"{collection}/index", "collection"))

    def __repr__(self) -> str:
        return f"Calls({self._content!r}, {self._collection!r})"

    @property
    def content(self) -> ContentStore:
        """The store of the arguments and results."""
        return self._content

    @property
    def collection(self) -> str:
        """The collection of the records."""
        return self._collection

    async def record(self, call: FunctionCall) -> Digest:
        """Record a call with its values, and return its digest; a call of the same digest is replaced.

        Args:
            call: The call. An argument or result that is a `Digest` stands for the saved value.

        Raises:
            ConfigurationError: A name, a version, a tag or the metadata is not legal.
            DigestError, SerializationError: A value has no digest, or cannot be saved; the message has its path.
            KeyMissingError: A digest was given whose value is not saved.
            StoreError: The backend failed; the call may be recorded all the same.
        """
        return await self._record(call)

    async def load(self, digest: str) -> RecordedCall:
        """Return the call with a digest; its values are loaded when they are asked for.

        Raises:
            KeyMissingError: There is none.
            IntegrityError: What is stored is no record of a call.
        """
        call = await self.get(digest)
        if call is None:
            raise KeyMissingError(f"no call with the digest {str(digest)[:12]} is recorded in {self._collection!r}")
        return call

    async def get(self, digest: str) -> RecordedCall | None:
        """Return the call with a digest; None if there is none."""
        return await self._read(Digest(digest))

    async def _read(self, digest: str) -> RecordedCall | None:
        value = await self._store.get(self._collection, digest)
        if value is None:
            return None
        return RecordedCall(as_digest(digest, _A_CALL), read_record(value, digest), self._content)

    async def contains(self, digest: str) -> bool:
        """Return whether a call with a digest is recorded, and its result is there."""
        call = await self.get(digest)
        return call is not None and await self._content.contains(call.result_digest)

    async def expand(self, prefix: str) -> Digest:
        """Return the one digest of a recorded call that begins with a prefix of at least 4 characters.

        Raises:
            InvalidKeyError: It is too short, is not hexadecimal, or is ambiguous: the message says how many characters
                are needed.
            KeyMissingError: No digest begins with it.
        """
        check_prefix(prefix)
        keys = self._store.keys(self._collection, prefix=prefix)
        return as_digest(only_one(prefix, [key async for key in keys]), _A_CALL)

    async def delete(self, digest: str) -> bool:
        """Delete the call with a digest, and return whether there was one; `ContentStore.gc` removes its values."""
        call = await self.get(digest)
        if call is None:
            return False
        deleted = await self._store.delete(self._collection, digest)
        await self._index.remove(digest, call._record)
        again = await self.get(digest)
        if again is not None:  # it was recorded meanwhile, perhaps under the same keys
            await self._index.add(digest, again._record)
        return deleted

    def query(
        self,
        *,
        fn: str | Callable[..., Any] | AnyOf = ANY,
        args: Mapping[str, Any] | AnyOf = ANY,
        result: Any = ANY,
        tags: Mapping[str, Any] | AnyOf = ANY,
        since: datetime | float | None = None,
    ) -> Query:
        """Return the recorded calls that match, as an async iterator with helpers such as `latest` and `count`.

        One range of the index is listed: that of the result, else of the first argument with a value, else of the
        first tag with a value, else of the function; the other conditions apply to the calls found there. Values are
        compared by their digests. The order is that of the store.

        Args:
            fn: A memoized function, or the name under which a function is recorded.
            args: Arguments by name: values, `Digest`s, or `ANY` for one that only has to be there.
            result: The result: a value or a `Digest`.
            tags: Tags by name: values, or `ANY` for one that only has to be there.
            since: The time of recording from which on, with its time zone or in seconds since the Unix epoch.

        Raises:
            ConfigurationError: A condition is not legal.
            DigestError: A value has no digest.
        """
        wanted = _wanted(fn, args, result, tags, since)
        return Query(self, lambda: self._matching(wanted))

    async def transform(self, change: CallChange) -> int:
        """Change recorded calls, as after a function was renamed or got another argument; return how many were.

        The new record is written before the old one is deleted, so a crash loses none, and the change can be run
        again. Other processes may go on. A call that was recorded while this runs may be missed.

        Args:
            change: Function, plain or async, that returns the new call, mostly `call.replace(...)`; None to leave a
                call as it is. It may be given what it returned before, and must leave that as it is.

        Raises:
            KeyMissingError: A value of a call that is to be changed is gone.
        """
        if not callable(change):
            raise ConfigurationError(f"transform takes a function, got an object of type {type(change).__name__}")
        changed = 0
        async for key in self._store.keys(self._collection):
            old = await self._read(key)
            if old is None:
                continue
            new = change(old)
            if inspect.isawaitable(new):
                new = await new
            if new is None or new == old.replace():
                continue
            if not isinstance(new, FunctionCall):
                raise ConfigurationError(
                    f"the function given to transform must return a FunctionCall or None, got {type(new).__name__}"
                )
            # Values are written once more in between: a collection may read neither the old record nor the new one.
            if await self._record(new, rewrite=True) != old.digest:
                await self.delete(old.digest)
            changed += 1
        return changed

    async def _record(self, call: FunctionCall, *, rewrite: bool = False) -> Digest:
        check_call(call)
        recording = Recording(self)
        arguments = await recording.save_all(call.arguments)
        return await recording.write(call, arguments, rewrite=rewrite)

    async def _result_of(self, digest: str) -> Any:
        """Return the result of the call with a digest; `msgspec.UNSET` if it is not recorded, or its result is gone."""
        value = await self._store.get(self._collection, digest)
        if value is not None:
            with suppress(KeyMissingError):
                try:
                    return await self._content.load(result_in(value, digest))
                except DigestError:
                    read_record(value, digest)  # raises the error of a damaged record
                    raise
        return UNSET

    async def _matching(self, wanted: _Wanted) -> AsyncGenerator[RecordedCall, None]:
        page: list[Hit] = []
        size = _FIRST_PAGE
        async with aclosing(self._index.hits(wanted.prefix, wanted.since)) as hits:
            async for hit in hits:
                page.append(hit)
                if len(page) == size:
                    for call in await self._read_page(page, wanted):
                        yield call
                    page, size = [], _PAGE
        for call in await self._read_page(page, wanted):
            yield call

    async def _read_page(self, hits: list[Hit], wanted: _Wanted) -> list[RecordedCall]:
        """Return the calls of some keys of the index that match, and tidy up the keys that lead to none."""
        found: list[RecordedCall] = []
        stale: list[Hit] = []
        began = self._clock()  # a key is old if it was so before its record was looked for
        values = await self._store.get_many(self._collection, {hit.digest for hit in hits if hit.digest})
        for hit in hits:
            value = values.get(hit.digest)
            record = None if value is None else read_record(value, hit.digest)
            if record is None or time_of(record.at) != hit.time:
                stale.append(hit)
            elif wanted.matches(record):
                found.append(RecordedCall(Digest(hit.digest), record, self._content))
            elif hit.key not in index_keys(hit.digest, record):
                stale.append(hit)
        if stale:
            await self._index.tidy(stale, began)
        return found


class Recording:
    """Recording of one call: values are saved at any time, and then the record is written.

    Args:
        calls: Where it is recorded.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls, self._saving = calls, calls.content.saving()

    async def save(self, value: object) -> Digest:
        """Save a value, or keep a saved one whose `Digest` is given, and return its digest."""
        return await self._saving.save(value, keeps_small=True)

    async def save_all(self, values: Mapping[str, Any]) -> dict[str, Digest]:
        """Save several values at once, and return their digests by name; errors have paths that begin with the name."""
        saved = await asyncio.gather(*map(self.save, values.values()), return_exceptions=True)
        for name, outcome in zip(values, saved, strict=True):
            if isinstance(outcome, (DigestError, SerializationError)):
                raise _named(name, outcome) from outcome.__cause__
            if isinstance(outcome, BaseException):
                raise outcome
        return dict(zip(values, cast("list[Digest]", saved), strict=True))

    async def write(self, call: FunctionCall, arguments: Mapping[str, Digest], *, rewrite: bool = False) -> Digest:
        """Save the result, write the record, and return the digest of the call.

        Args:
            call: The call.
            arguments: Digests of its arguments, which were saved before.
            rewrite: Write all values once more after the record.
        """
        calls, result = self._calls, await self.save(call.result)
        begun = calls._clock()
        at = round(begun if call.recorded_at is None else call.recorded_at, 6)
        digests = {name: str.__str__(digest) for name, digest in arguments.items()}
        record = CallRecord(
            call.name, call.version, digests, str.__str__(result), dict(call.tags), dict(call.metadata), at
        )
        raw = {name: bytes.fromhex(digest) for name, digest in digests.items()}
        key = CallDigests(record.name, record.version, raw).digest(raw)
        await calls.content.register_roots(calls.collection)
        await calls._index.add(key, record)
        await calls._store.put(calls.collection, key, record.as_json())
        if abs(calls._clock() - begun) > GRACE / 4:  # a query may have taken the keys for some that lead to nothing
            await calls._index.add(key, record)
        await self._saving.finish(rewrite=rewrite)
        return Digest(key)


def _named(name: str, error: DigestError | SerializationError) -> SatchelError:
    """Return the error of an argument, with its name in place of the `$` that the path of its value begins with."""
    if isinstance(error, DigestError):
        return DigestError(error.reason, path=f"{name}{error.path.removeprefix('$')}")
    text = str(error)
    return SerializationError(name + text[1:] if text.startswith("$") else f"{name}: {text}")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Set of the conditions of a query, with digests in place of values."""

    name: str | None
    arguments: Mapping[str, Any]
    result: str | None
    tags: Mapping[str, Any]
    since: float | None

    @property
    def prefix(self) -> str:
        """Prefix of the keys of the index among which all calls are that match."""
        return index_prefix(self.name, self.arguments, self.result, self.tags)

    def matches(self, record: CallRecord) -> bool:
        """Return whether a call meets all conditions but the time, which its key told."""
        return (
            self.name in (None, record.name)
            and self.result in (None, record.result)
            and all(
                name in record.arguments and value in (ANY, record.arguments[name])
                for name, value in self.arguments.items()
            )
            and all(
                name in record.tags and (value is ANY or tag_value(value) == tag_value(record.tags[name]))
                for name, value in self.tags.items()
            )
        )


def _wanted(fn: Any, args: Any, result: Any, tags: Any, since: Any) -> _Wanted:
    """Return the conditions of a query, checked."""
    name = None if fn is ANY else fn if isinstance(fn, str) else getattr(fn, "call_name", None)
    if fn is not ANY and not isinstance(name, str):
        raise ConfigurationError(f"fn takes a memoized function, or the name of one as a str, got {type(fn).__name__}")
    arguments, given = ({} if args is ANY else args), ({} if tags is ANY else tags)
    if not isinstance(arguments, Mapping) or not all(isinstance(argument, str) for argument in arguments):
        raise ConfigurationError(f"args takes a dict of arguments by name, got {type(arguments).__name__}")
    check_tags(
        {tag: value for tag, value in given.items() if value is not ANY} if isinstance(given, Mapping) else given
    )
    return _Wanted(
        name,
        {argument: ANY if value is ANY else _digest(value) for argument, value in arguments.items()},
        None if result is ANY else _digest(result),
        dict(given),
        _seconds(since),
    )


def _digest(value: object) -> str:
    return str.__str__(digest(value))


def _seconds(since: object) -> float | None:
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise ConfigurationError("since takes a datetime with its time zone, such as datetime.now(UTC)")
        return since.timestamp()
    if since is None or is_time(since):
        return since
    raise ConfigurationError(f"since takes a datetime or seconds since the Unix epoch, got {safe_repr(since)}")
