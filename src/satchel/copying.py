"""`copy_store` and `check_stores`: copying a store to another, and finding the differences between two."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import anyio

from ._checks import check_bool, check_choice
from ._copy_state import CopyState
from ._threads import in_thread, offload
from ._update import remaining
from .capability import Capability
from .codec import LARGE
from .entry import Entry
from .errors import BatchError, ConfigurationError, IntegrityError, InvalidKeyError, SatchelError, StoreError
from .matching import KeyFilter
from .names import check_name
from .protocol import AsyncKeyValue, SupportsEverything, check_store, require

T = TypeVar("T")

Overwrite = Literal["never", "newer", "always"]
"""What a copy does with an entry that the target already has: keep it, replace an older one, or replace it."""

_KEPT_FAILURES = 100
_AT_ONCE = 500
"""Maximum entries read together, however small they are."""
_AT_FIRST = 32
_BATCH_BYTES = 4 << 20
"""Bytes of values to read together, estimated from the sizes of the last ones."""
_WORKERS = 64
"""Maximum entries written at the same time; a store sends them in one request."""
_DEADLINES_APART = 1.0
"""Seconds by which two deadlines may differ and still count as equal."""


@dataclass(frozen=True, slots=True)
class CopyFailure:
    """Entry that could not be copied, with the error."""

    collection: str
    key: str
    error: SatchelError


@dataclass(frozen=True, slots=True)
class CopyReport:
    """Outcome of a copy, or its progress so far.

    Attributes:
        copied: Number of entries written; with `dry_run`, number that would be written.
        skipped: Number of entries not written because the target has them already, or because, according to the state,
            an earlier run copied them. Collections that an earlier run finished are not counted.
        failed: Number of entries that could not be copied.
        bytes: Size of the values that were written, as the source stores them.
        failures: The first 100 failures.
    """

    copied: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0
    failures: tuple[CopyFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreDifference:
    """Entry in which two stores differ.

    Attributes:
        collection: Its collection.
        key: Its key.
        kind: `missing` from the second store, `extra` in it, with another `value` or another `deadline`, or
            `unreadable` in one of them.
    """

    collection: str
    key: str
    kind: Literal["missing", "extra", "value", "deadline", "unreadable"]


async def copy_store(
    source: AsyncKeyValue,
    target: AsyncKeyValue,
    *,
    collections: Iterable[str] | None = None,
    prefix: str = "",
    glob: str | None = None,
    exclude: str | None = None,
    overwrite: Overwrite = "never",
    verify: bool = False,
    dry_run: bool = False,
    state: str | os.PathLike[str] | None = None,
    on_progress: Callable[[CopyReport], object] | None = None,
) -> CopyReport:
    """Copy entries from one store to another, in constant memory, and return the outcome.

    Entries keep their values and deadlines, and get new versions and times of writing. An entry that cannot be copied
    is counted and named in the report, and the copy continues. Entries put into the source during the copy may or may
    not be copied.

    Args:
        source: The store to read. It must be able to list its keys.
        target: The store to write.
        collections: Collections to copy; None for all, which the source must be able to list.
        prefix: Copy only keys that start with this.
        glob: Copy only keys that match this pattern: `*` is one level between slashes, `**` any number of levels.
        exclude: Skip keys that start with this.
        overwrite: What to do with an entry that the target already has: `never` keeps it, `newer` replaces it if it was
            put before the source's, `always` replaces it. The first two need a target with conditional writes, so that
            no concurrent write is lost.
        verify: Read each entry back from the target and compare.
        dry_run: Write nothing, and report what would be done.
        state: File in which the copy records its progress. After an interruption, or if some entries failed, a call
            with the same arguments resumes from it. It is removed when everything is copied.
        on_progress: Function called after each batch with the report so far. An exception from it ends the copy.

    Raises:
        ConfigurationError: Source and target are the same store, an argument is wrong, or the state is of another copy.
        UnsupportedOperationError: A store lacks a capability that the copy needs.
        StoreUnavailableError, StoreTimeoutError: A store cannot be reached, or no longer.
    """
    choice = Selection.of(source, collections, prefix, glob, exclude)
    check_store(target, "copy_store")
    check_choice("overwrite", overwrite, get_args(Overwrite))
    check_bool("verify", verify)
    check_bool("dry_run", dry_run)
    if source is target:
        raise _same_store()
    writable = require(target, Capability.NONE if overwrite == "always" else Capability.CONDITIONAL)
    if on_progress is not None and (not callable(on_progress) or inspect.iscoroutinefunction(on_progress)):
        raise ConfigurationError("on_progress must be a plain function")
    await source.ping()
    await target.ping()
    about: dict[str, object] = {"source": _described(source), "target": _described(target), "overwrite": overwrite}
    about |= {"prefix": prefix, "glob": glob, "exclude": exclude}
    kept = None if state is None or dry_run else await in_thread(CopyState, Path(state), about)
    copying = _Copying(choice, EntryWriter(writable, overwrite, dry_run), verify, kept, on_progress)
    complete = False
    try:
        await copying.run()
        complete = not copying.report.failed
    finally:
        if kept is not None:
            with anyio.CancelScope(shield=True):
                await in_thread(kept.close, complete=complete)
    return copying.report


def check_stores(
    first: AsyncKeyValue,
    second: AsyncKeyValue,
    *,
    collections: Iterable[str] | None = None,
    prefix: str = "",
    glob: str | None = None,
    exclude: str | None = None,
) -> AsyncIterator[StoreDifference]:
    """Iterate over the entries in which two stores differ, in constant memory.

    Values are compared with their types, deadlines to the second; versions and times of writing are ignored. Entries
    that seem to differ are read once more, so that a change during the check alone is not reported.

    Args:
        first: One store. Both must be able to list their keys.
        second: The other one.
        collections: Collections to compare; None for all, which both must be able to list.
        prefix: Compare only keys that start with this.
        glob: Compare only keys that match this pattern: `*` is one level between slashes, `**` any number of levels.
        exclude: Skip keys that start with this.

    Raises:
        ConfigurationError: An argument is wrong.
        UnsupportedOperationError: A store cannot list its keys or collections.
    """
    names = None if collections is None else _checked_collections(collections)
    return _differences(
        Selection.of(first, names, prefix, glob, exclude), Selection.of(second, names, prefix, glob, exclude)
    )


async def _differences(first: Selection, second: Selection) -> AsyncGenerator[StoreDifference, None]:
    async for collection, keys in first.batches():
        pairs = await _pairs(first.store, second.store, collection, keys)
        for key, (one, other) in pairs.items():
            kind = await _difference(one, other)
            if kind is not None:
                kind = await _difference(*(await _pairs(first.store, second.store, collection, [key]))[key])
            if kind is not None:
                yield StoreDifference(collection, key, kind)
        first.read(one for one, _ in pairs.values())
    async for collection, keys in second.batches():
        found = await read_entries(first.store, collection, keys)
        second.read(found.values())
        for key in keys:
            if key not in found and await second.store.exists(collection, key):
                yield StoreDifference(collection, key, "extra")


Found = Entry | SatchelError | None


async def _pairs(
    first: AsyncKeyValue, second: AsyncKeyValue, collection: str, keys: Sequence[str]
) -> dict[str, tuple[Found, Found]]:
    one, other = await read_entries(first, collection, keys), await read_entries(second, collection, keys)
    return {key: (one.get(key), other.get(key)) for key in keys}


async def read_entries(store: AsyncKeyValue, collection: str, keys: Sequence[str]) -> dict[str, Entry | SatchelError]:
    """Return the entry of each key, or the error of reading it; absent keys are left out.

    Raises:
        StoreError: No entry could be read, because the store cannot be reached.
    """
    left = [key for key in keys if _fits(store, key)]
    failed: dict[str, SatchelError] = {}
    while left:
        try:
            return {**await store.get_entries(collection, left), **failed}
        except BatchError as error:
            if error.retryable and len(error.failed) == len(left):
                await store.ping()  # raises if the store can no longer be reached
            failed |= error.failed
            left = [key for key in left if key not in error.failed] if error.failed else []
    return dict(failed)


async def _difference(
    one: Found, other: Found
) -> Literal["missing", "extra", "value", "deadline", "unreadable"] | None:
    if isinstance(one, SatchelError) or isinstance(other, SatchelError):
        return "unreadable"
    if one is None or other is None:
        return None if one is other else "extra" if one is None else "missing"
    if not await _same_value(one, other):
        return "value"
    if one.expires_at is None or other.expires_at is None:
        return None if one.expires_at is other.expires_at else "deadline"
    return None if abs((one.expires_at - other.expires_at).total_seconds()) <= _DEADLINES_APART else "deadline"


async def _same_value(one: Entry, other: Entry) -> bool:
    if max(one.size, other.size) < LARGE:
        return _same(one.value, other.value)
    return await offload(_same, one.value, other.value)


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal in all parts, types included: 1, 1.0 and True differ."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if type(one) is list:
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _fits(store: AsyncKeyValue, key: str) -> bool:
    return len(key.encode()) <= store.max_key_bytes


def _described(store: Any) -> str:
    return str(store.describe()) if hasattr(store, "describe") else repr(store)


def _same_store() -> ConfigurationError:
    return ConfigurationError("source and target are the same store; a copy needs two")


def checked_filter(**choice: Any) -> KeyFilter:
    """Return a filter made of the arguments of `match`.

    Raises:
        ConfigurationError: A pattern or prefix is not valid.
    """
    try:
        return KeyFilter(**choice)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _checked_collections(collections: object) -> list[str]:
    if isinstance(collections, (str, bytes)) or not isinstance(collections, Iterable):
        raise InvalidKeyError("collections must be an iterable of str, or None for all; write [name] for a single one")
    return list(dict.fromkeys(check_name(name, "collection") for name in collections))


@asynccontextmanager
async def _closing(names: AsyncIterator[str]) -> AsyncGenerator[AsyncIterator[str], None]:
    """Close a listing that is not read to the end, so that its connection is returned at once."""
    try:
        yield names
    finally:
        if isinstance(names, AsyncGenerator):
            await names.aclose()


async def for_each(items: Iterable[T], work: Callable[[T], Awaitable[object]]) -> None:
    """Call a function that raises nothing for each item, many at the same time."""
    pending: Iterator[T] = iter(items)

    async def worker() -> None:
        for item in pending:
            await work(item)

    async with anyio.create_task_group() as group:
        for _ in range(_WORKERS):
            group.start_soon(worker)


@dataclass
class Selection:
    """Part of a store to copy or check, in batches of about equal size in bytes."""

    store: SupportsEverything  # as far as `of` has checked
    names: list[str] | None
    filter: KeyFilter
    at_once: int = _AT_FIRST
    largest: float = 0.0

    @classmethod
    def of(
        cls,
        store: AsyncKeyValue,
        collections: Iterable[str] | None,
        prefix: str,
        glob: str | None,
        exclude: str | None,
    ) -> Selection:
        """Return the selected part of a store, after checking the arguments."""
        names = None if collections is None else _checked_collections(collections)
        needed = Capability.ENUMERATE_KEYS | (Capability.ENUMERATE_COLLECTIONS if names is None else Capability.NONE)
        return cls(require(store, needed), names, checked_filter(prefix=prefix, exclude_prefix=exclude, glob=glob))

    async def collections(self) -> AsyncGenerator[str, None]:
        """Iterate over the collections."""
        if self.names is not None:
            for name in self.names:
                yield name
            return
        async with _closing(self.store.collections()) as names:
            async for name in names:
                yield name

    async def keys(self, collection: str) -> AsyncGenerator[list[str], None]:
        """Iterate over the keys of a collection, in batches."""
        batch: list[str] = []
        if self.filter.matches_nothing:
            return
        async with _closing(self.store.keys(collection, prefix=self.filter.prefix)) as keys:
            async for key in keys:
                if self.filter.matches(key):
                    batch.append(key)
                if len(batch) >= self.at_once:
                    yield batch
                    batch = []
        if batch:
            yield batch

    async def batches(self) -> AsyncGenerator[tuple[str, list[str]], None]:
        """Iterate over the keys of all collections, in batches."""
        async with aclosing(self.collections()) as collections:
            async for collection in collections:
                async with aclosing(self.keys(collection)) as batches:
                    async for keys in batches:
                        yield collection, keys

    async def entries(self) -> AsyncGenerator[tuple[str, dict[str, Entry | SatchelError]], None]:
        """Iterate over the entries of all collections, in batches; an entry that cannot be read is its error."""
        async with aclosing(self.batches()) as batches:
            async for collection, keys in batches:
                found = await read_entries(self.store, collection, keys)
                self.read(found.values())
                yield collection, found

    def read(self, entries: Iterable[Found]) -> None:
        """Set the number of keys in the next batch from the sizes of entries that were read."""
        sizes = [entry.size for entry in entries if isinstance(entry, Entry)]
        self.largest = max([self.largest / 2, *sizes])
        fitting = int(_BATCH_BYTES / max(self.largest, 1.0))
        self.at_once = max(1, min(fitting, 4 * self.at_once, _AT_ONCE))


@dataclass
class EntryWriter:
    """Writer of entries, with their deadlines, to a store that may already have some of them.

    Attributes:
        target: The store; it must have conditional writes unless `overwrite` is `always`.
        overwrite: What to do with an entry that the target already has.
        dry_run: Write nothing.
    """

    target: SupportsEverything
    overwrite: Overwrite
    dry_run: bool = False

    async def write(self, collection: str, entries: Mapping[str, Entry]) -> dict[str, bool | SatchelError]:
        """Write entries, and return for each whether it was written, or its error."""
        there: dict[str, Entry | SatchelError] = {}
        if self.overwrite == "newer" or (self.dry_run and self.overwrite == "never"):
            there = await read_entries(self.target, collection, list(entries))
        outcomes: dict[str, bool | SatchelError] = {}
        due: list[str] = []
        for key, entry in entries.items():
            present = there.get(key)
            if isinstance(present, SatchelError):
                outcomes[key] = present
            elif present is not None and (self.overwrite == "never" or present.updated_at >= entry.updated_at):
                outcomes[key] = False
            else:
                due.append(key)
        if self.dry_run:
            return {**outcomes, **dict.fromkeys(due, True)}
        if self.overwrite == "always":
            plain = [key for key in due if entries[key].expires_at is None]
            outcomes |= await self._put_together(collection, {key: entries[key] for key in plain})
            due = [key for key in due if key not in outcomes]

        async def put(key: str) -> None:
            present = there.get(key)
            version = present.version if isinstance(present, Entry) else None
            outcomes[key] = await self._put(collection, key, entries[key], version)

        await for_each(due, put)
        return outcomes

    async def _put_together(self, collection: str, entries: Mapping[str, Entry]) -> dict[str, bool | SatchelError]:
        """Put entries that do not expire; those of a refused batch are left out."""
        try:
            await self.target.put_many(collection, {key: entry.value for key, entry in entries.items()})
        except BatchError as error:
            return {**dict.fromkeys(entries, True), **error.failed}
        except SatchelError:  # one entry was refused, and nothing was written
            return {}
        return dict.fromkeys(entries, True)

    async def _put(self, collection: str, key: str, entry: Entry, version: str | None) -> bool | SatchelError:
        ttl = remaining(entry)
        try:
            if self.overwrite == "always":
                await self.target.put(collection, key, entry.value, ttl=ttl)
                return True
            if version is None:
                written = await self.target.put_if_absent(collection, key, entry.value, ttl=ttl)
            else:
                written = await self.target.compare_and_put(collection, key, entry.value, version=version, ttl=ttl)
        except SatchelError as error:
            return error
        return written is not None


@dataclass
class _Copying:
    """Copy in progress."""

    source: Selection
    writer: EntryWriter
    verify: bool
    state: CopyState | None
    on_progress: Callable[[CopyReport], object] | None
    report: CopyReport = field(default_factory=CopyReport)
    is_known_to_differ: bool = False

    async def run(self) -> None:
        async with aclosing(self.source.collections()) as collections:
            async for collection in collections:
                if self.state is None or not await in_thread(self.state.is_done, collection):
                    await self._copy_collection(collection)

    async def _copy_collection(self, collection: str) -> None:
        failed = self.report.failed
        async with aclosing(self.source.keys(collection)) as batches:
            async for keys in batches:
                await self._copy_batch(collection, keys)
        if self.state is not None and self.report.failed == failed:
            await in_thread(self.state.note_done, collection)

    async def _copy_batch(self, collection: str, keys: list[str]) -> None:
        left = keys
        if self.state is not None and self.state.resumed:
            left = await in_thread(self.state.left, collection, keys)
        found = await read_entries(self.source.store, collection, left)
        self.source.read(found.values())
        entries = {key: entry for key, entry in found.items() if isinstance(entry, Entry)}
        await self._check_that_stores_differ(collection, entries)
        outcomes: dict[str, Any] = {key: error for key, error in found.items() if isinstance(error, SatchelError)}
        outcomes |= await self.writer.write(collection, entries)
        if self.verify and not self.writer.dry_run:
            outcomes |= await self._verified(
                collection, {key: entry for key, entry in entries.items() if outcomes[key] is True}
            )
        await self._check_target(outcomes)
        if self.state is not None:
            done = [key for key in left if not isinstance(outcomes.get(key), SatchelError)]
            if done:
                await in_thread(self.state.note, collection, done)
        self._count(collection, outcomes, entries, len(keys) - len(left))

    def _count(self, collection: str, outcomes: Mapping[str, Any], entries: Mapping[str, Entry], skipped: int) -> None:
        copied = [entries[key].size for key, outcome in outcomes.items() if outcome is True]
        failures = [
            CopyFailure(collection, key, outcome)
            for key, outcome in outcomes.items()
            if isinstance(outcome, SatchelError)
        ]
        was = self.report
        self.report = CopyReport(
            was.copied + len(copied),
            was.skipped + skipped + len(outcomes) - len(copied) - len(failures),
            was.failed + len(failures),
            was.bytes + sum(copied),
            (*was.failures, *failures)[:_KEPT_FAILURES],
        )
        if self.on_progress is not None:
            self.on_progress(self.report)

    async def _check_that_stores_differ(self, collection: str, entries: Mapping[str, Entry]) -> None:
        """Refuse to copy a store onto itself, even under another name: equal versions come from the same write."""
        if self.is_known_to_differ or not entries:
            return
        there = await read_entries(self.writer.target, collection, list(entries))
        versions = {key: entry.version for key, entry in there.items() if isinstance(entry, Entry)}
        if any(version == entries[key].version for key, version in versions.items()):
            raise _same_store()
        self.is_known_to_differ = True

    async def _check_target(self, outcomes: Mapping[str, Any]) -> None:
        """Raise if every write of a batch failed because the target can no longer be reached."""
        errors = [outcome for outcome in outcomes.values() if isinstance(outcome, StoreError) and outcome.retryable]
        if errors and len(errors) == len(outcomes):
            await self.writer.target.ping()

    async def _verified(self, collection: str, written: Mapping[str, Entry]) -> dict[str, SatchelError]:
        """Return the errors of entries that did not arrive unchanged."""
        arrived = await read_entries(self.writer.target, collection, list(written))
        kinds = {key: await _difference(entry, arrived.get(key)) for key, entry in written.items()}
        suspects = [key for key, kind in kinds.items() if kind is not None]
        now = await read_entries(self.source.store, collection, suspects)  # it may have expired or changed
        return {
            key: IntegrityError(f"key {key!r} in collection {collection!r} did not arrive unchanged: {kinds[key]}")
            for key in suspects
            if isinstance(entry := now.get(key), Entry) and entry.version == written[key].version
        }
