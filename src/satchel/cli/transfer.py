"""The commands about many entries: copy, mirror, check, export, import."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO

import anyio

from .._places import replaceable
from .._threads import in_thread
from ..capability import Capability
from ..copying import CopyReport, EntryWriter, Overwrite, Selection, check_stores, copy_store, read_entries
from ..entry import Entry
from ..errors import SatchelError, StoreError
from ..protocol import SupportsEverything, require
from . import export_format, output
from .outcome import ABSENT, DONE, STORE, UsageError, one_line, say
from .places import opened, opened_pair

if TYPE_CHECKING:
    from .. import ZipWriter

_AT_ONCE = 500


@dataclass(frozen=True)
class Chosen:
    """Selection of entries by options."""

    collections: Sequence[str] | None
    prefix: str
    glob: str | None
    exclude: str | None

    def options(self) -> dict[str, Any]:
        """Return the selection as arguments of `copy_store` and `check_stores`."""
        return {**asdict(self), "collections": self.collections or None}

    def of(self, store: SupportsEverything) -> Selection:
        """Return the selected part of a store."""
        return Selection.of(store, self.collections or None, self.prefix, self.glob, self.exclude)


@dataclass
class TransferCounts:
    """Counts of the outcomes of entries, and the first failures."""

    verb: str
    done: int = 0
    skipped: int = 0
    failed: int = 0
    removed: int = 0
    expired: int = 0

    def __str__(self) -> str:
        more = [
            f"{count:,} {title}" for title, count in (("removed", self.removed), ("expired", self.expired)) if count
        ]
        return ", ".join([f"{self.verb} {self.done:,}", f"{self.skipped:,} skipped", f"{self.failed:,} failed", *more])

    def take(self, collection: str, outcomes: Mapping[str, bool | SatchelError]) -> None:
        """Count the outcomes of entries, and name those that failed on standard error."""
        for key, outcome in outcomes.items():
            self.done += outcome is True
            self.skipped += outcome is False
            if isinstance(outcome, SatchelError):
                self.failed += 1
                say(f"failed: {output.name(collection)} {output.name(key)}: {one_line(outcome)}")

    def end(self, *, as_json: bool) -> int:
        """Write the counts, and return the exit code."""
        if as_json:
            counts = {self.verb: self.done, **{title: n for title, n in asdict(self).items() if title not in _NAMED}}
            output.json_line(counts)
        else:
            output.line(str(self))
        return STORE if self.failed else DONE


_NAMED = ("verb", "done")


async def copy(
    source: str,
    target: str,
    chosen: Chosen,
    overwrite: Overwrite,
    state: str | None,
    *,
    verify: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Copy the entries of one store into another."""
    one, other = await opened_pair(source, target)
    async with one, other:
        with output.progress("copying") as show:
            report = await copy_store(
                one,
                other,
                **chosen.options(),
                overwrite=overwrite,
                verify=verify,
                dry_run=dry_run,
                state=state,
                on_progress=lambda so_far: show(_counted(so_far)),
            )
    for failure in report.failures:
        say(f"failed: {output.name(failure.collection)} {output.name(failure.key)}: {one_line(failure.error)}")
    if as_json:
        output.json_line({name: getattr(report, name) for name in ("copied", "skipped", "failed", "bytes")})
    else:
        output.line(("would copy: " if dry_run else "") + _counted(report))
    return STORE if report.failed else DONE


def _counted(report: CopyReport) -> str:
    return f"{report.copied:,} copied ({report.bytes:,} bytes), {report.skipped:,} skipped, {report.failed:,} failed"


async def check(first: str, second: str, chosen: Chosen, *, as_json: bool) -> int:
    """List the entries in which two stores differ."""
    found = 0
    one, other = await opened_pair(first, second)
    async with one, other:
        async for difference in check_stores(one, other, **chosen.options()):
            found += 1
            if as_json:
                output.json_line(asdict(difference))
            else:
                names = output.name(difference.collection), output.name(difference.key)
                output.line(f"{difference.kind:<10}  {'  '.join(names)}")
    if found:
        say(f"entries that differ: {found:,}")
    elif not as_json:
        output.line("no differences")
    return ABSENT if found else DONE


async def mirror(
    source: str, target: str, chosen: Chosen, *, delete: bool, yes: bool, dry_run: bool, as_json: bool
) -> int:
    """Make one store equal to another."""
    if delete and not (yes or dry_run):
        raise UsageError(
            "mirror --delete removes entries that the source does not have; add --yes, or --dry-run to count them first"
        )
    one, other = await opened_pair(source, target)
    counts = TransferCounts("copied")
    async with one, other:
        if delete and not await _has_any(chosen.of(one)):
            raise UsageError(
                "the source has no such entries, so mirror --delete would remove all of them from the target"
            )
        writer = EntryWriter(other, "always", dry_run)

        async def apply(kind: str, collection: str, keys: list[str]) -> None:
            entries = await read_entries(one, collection, keys)
            if kind == "extra":
                gone = [key for key in keys if key not in entries]  # the others have been put in the meantime
                counts.removed += len(gone) if dry_run else await other.delete_many(collection, gone)
                return
            counts.take(collection, {key: e for key, e in entries.items() if isinstance(e, SatchelError)})
            due = {key: entry for key, entry in entries.items() if isinstance(entry, Entry)}
            counts.take(collection, await _written(writer, collection, due))

        with output.progress("mirroring") as show:
            async for group in _grouped(check_stores(one, other, **chosen.options()), with_extra=delete):
                await apply(*group)
                show(str(counts))
    return counts.end(as_json=as_json)


async def _grouped(differences: AsyncIterator[Any], *, with_extra: bool) -> AsyncIterator[tuple[str, str, list[str]]]:
    """Group the differences by treatment: keys to copy, and keys to remove."""
    before: tuple[str, str] | None = None
    keys: list[str] = []
    async for difference in differences:
        kind = "extra" if difference.kind == "extra" else "copy"
        if kind == "extra" and not with_extra:
            continue
        place = kind, difference.collection
        if before is not None and (place != before or len(keys) >= _AT_ONCE):
            yield *before, keys
            keys = []
        before = place
        keys.append(difference.key)
    if before is not None:
        yield *before, keys


async def _has_any(selection: Selection) -> bool:
    async for _ in selection.batches():
        return True
    return False


async def export(place: str | None, chosen: Chosen, file: str, *, as_json: bool) -> int:
    """Write the entries of a store as JSON lines."""
    if as_json and file == output.STREAM:
        raise UsageError("an export to standard output is JSON already; use --json with -o, for the report")
    counts = TransferCounts("exported")
    async with await opened(place) as store:
        selection = chosen.of(store)
        await store.ping()
        async with _sink(file) as write:
            await write(export_format.first_line())
            with output.progress("exporting") as show:
                async for collection, found in selection.entries():
                    lines, outcomes = _lines(collection, found)
                    await write(b"".join(lines))
                    counts.take(collection, outcomes)
                    show(str(counts))
            await write(export_format.last_line(counts.done))
    if file == output.STREAM:
        return STORE if counts.failed else DONE
    return counts.end(as_json=as_json)


async def export_zip(place: str | None, chosen: Chosen, file: str, *, as_json: bool) -> int:
    """Write the entries of a store as a zip archive."""
    from .. import ZipWriter  # noqa: PLC0415  # no other command needs it

    if file == output.STREAM:
        raise UsageError("--zip writes a file: name it with -o")
    counts = TransferCounts("exported")
    async with await opened(place) as store:
        selection = chosen.of(store)
        await store.ping()
        async with ZipWriter(file) as archive:
            with output.progress("exporting") as show:
                async for collection, found in selection.entries():
                    counts.take(collection, {key: await _added(archive, collection, key, found[key]) for key in found})
                    show(str(counts))
    return counts.end(as_json=as_json)


async def _added(archive: ZipWriter, collection: str, key: str, entry: Entry | SatchelError) -> bool | SatchelError:
    if isinstance(entry, SatchelError):
        return entry
    try:
        await archive.add(collection, key, entry)
    except SatchelError as error:
        return error
    return True


def _lines(
    collection: str, found: Mapping[str, Entry | SatchelError]
) -> tuple[list[bytes], dict[str, bool | SatchelError]]:
    lines: list[bytes] = []
    outcomes: dict[str, bool | SatchelError] = {}
    for key, entry in found.items():
        try:
            if isinstance(entry, SatchelError):
                raise entry
            lines.append(export_format.entry_line(collection, key, entry))
        except SatchelError as error:
            outcomes[key] = error
        else:
            outcomes[key] = True
    return lines, outcomes


@asynccontextmanager
async def _sink(file: str) -> AsyncIterator[Callable[[bytes], Awaitable[object]]]:
    """Give a function that writes to standard output, or to a file that appears only when it is complete."""
    if file == output.STREAM:

        async def write(content: bytes) -> None:
            sys.stdout.buffer.write(content)  # nothing else runs on this loop

        yield write
        sys.stdout.buffer.flush()
        return
    target = await in_thread(replaceable, file)
    if target is None:
        async with await anyio.open_file(file, "wb") as opened_file:
            yield opened_file.write
        return
    partial = Path(f"{target}.partial")
    try:
        async with await anyio.open_file(partial, "wb") as opened_file:
            yield opened_file.write
        await in_thread(os.replace, partial, target)
    except BaseException:
        with anyio.CancelScope(shield=True), suppress(OSError):
            await in_thread(partial.unlink)
        raise


async def load(place: str | None, file: str, overwrite: Overwrite | None, *, dry_run: bool, as_json: bool) -> int:
    """Put the entries of an export into a store, after checking the whole file."""
    counts = TransferCounts("imported")
    async with await opened(place) as store:
        if overwrite != "always":
            require(store, Capability.CONDITIONAL)
        with await in_thread(_source, file) as source:
            name = "standard input" if file == output.STREAM else file
            await _check(store, source, name, may_exist=overwrite is not None)
            await store.ping()
            writer = EntryWriter(store, overwrite or "never", dry_run)
            with output.progress("importing") as show:
                async for collection, entries in _read(source, name, store):
                    living = export_format.without_expired(entries)
                    counts.expired += len(entries) - len(living)
                    counts.take(collection, await _written(writer, collection, living))
                    show(str(counts))
    return counts.end(as_json=as_json)


async def _check(store: SupportsEverything, source: BinaryIO, name: str, *, may_exist: bool) -> None:
    """Check a whole file before anything is written."""
    total = there = 0
    example = ""
    async for collection, entries in _read(source, name, store):
        total += len(entries)
        if not may_exist:
            found = await read_entries(store, collection, list(entries))
            there += len(found)
            example = example or next((f"{output.name(collection)} {output.name(key)}" for key in found), "")
    if there:
        raise UsageError(
            f"{there} of {total} entries exist already, such as {example}; add --overwrite never, newer or always"
        )


async def _read(source: BinaryIO, name: str, store: SupportsEverything) -> AsyncIterator[tuple[str, dict[str, Entry]]]:
    source.seek(0)
    batches: Iterator[export_format.Batch] = export_format.batches(source, name, store.max_key_bytes)
    while (batch := await in_thread(next, batches, None)) is not None:
        for collection, entries in batch.items():
            yield collection, entries


def _source(file: str) -> BinaryIO:
    """Return an export that can be read twice: standard input is copied to a temporary file."""
    if file != output.STREAM:
        return Path(file).open("rb")
    kept = TemporaryFile()  # noqa: SIM115  # the caller closes it
    copyfileobj(sys.stdin.buffer, kept)
    return kept


async def _written(
    writer: EntryWriter, collection: str, entries: Mapping[str, Entry]
) -> dict[str, bool | SatchelError]:
    outcomes = await writer.write(collection, entries)
    errors = [outcome for outcome in outcomes.values() if isinstance(outcome, StoreError) and outcome.retryable]
    if errors and len(errors) == len(outcomes):
        await writer.target.ping()  # raises if the store can no longer be reached
    return outcomes
