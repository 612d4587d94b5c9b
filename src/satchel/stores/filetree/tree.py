"""The blocking half of the file tree store: work of its threads on directories, locks and files."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from itertools import islice
from typing import TypeVar, TypeVarTuple

import msgspec

from ...backend.base import ABSENT, Condition
from ...backend.record import Record
from ...backend.watching import Feed
from ...clock import NEVER
from ...codec import RAW_BYTES
from ...errors import SatchelError, StoreError, StoreUnavailableError
from ...names import Escaping, Ref
from .._documents import Head
from .directory import BINARY, JSON, Directory, ensured_directory, existing_directory, has_leftovers
from .layout import Layout, settle
from .system import UNWRITABLE, Locks, make_directory, problem, refuse_replaced

_PAGE = 500  # files looked at for one page of keys


class Page(msgspec.Struct):
    """Entries found in some files of a collection: living keys, and the names of expired files."""

    collection: str | None
    keys: list[str]
    expired: list[str]
    first: float = NEVER
    """The earliest deadline of those that live."""


class Scan:
    """Listing of a collection, a page at a time. Between pages it keeps the directory open, and nothing else."""

    def __init__(self, directory: Directory, folder: str, escaping: Escaping) -> None:
        self._directory = directory
        self._files = directory.names()
        self._unescape = escaping.unescape
        self._escape = escaping.escape
        self._folder = folder
        self._collection = self._unescape(folder)

    def close(self) -> None:
        """Release the directory."""
        self._files.close()
        self._directory.__exit__()

    def page(self, prefix: str, now: float) -> Page | None:
        """Return the contents of the next files; None after the last."""
        page = Page(self._collection, [], [])
        names = list(islice(self._files, _PAGE))
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            if dot + suffix not in {JSON, BINARY} or not stem or stem[0] == ".":
                continue
            key = self._unescape(stem)
            if not ("%-" in stem if key is None else key.startswith(prefix)):
                continue
            if dot + suffix == BINARY and self._directory.has(stem + JSON):
                continue  # a writer died between the two, and the other counts
            self._add(page, name, stem, key, prefix, now)
        page.collection = self._collection
        return page if names else None

    def living_collection(self, now: float) -> str | None:
        """Return the collection's name if it has a live entry, and release the directory."""
        try:
            while (page := self.page("", now)) is not None:
                if page.collection is not None and page.keys:
                    return page.collection
        finally:
            self.close()
        return None

    def _add(self, page: Page, name: str, stem: str, key: str | None, prefix: str, now: float) -> None:
        is_whole = key is not None and self._collection is not None
        head = self._directory.head(name) if is_whole else self._directory.head_with_names(name)
        if head is None:
            return
        if head.deadline <= now:
            page.expired.append(name)
            return
        page.first = min(page.first, head.deadline)
        if self._collection is None:
            self._collection = self._name_of(head, 0, self._folder)
        key = key or self._name_of(head, 1, stem)
        if key is not None and key.startswith(prefix):
            page.keys.append(key)

    def _name_of(self, head: Head, which: int, hashed: str) -> str | None:
        """Return the name in the file, if its hashed form is this one."""
        name = None if head.names is None else head.names[which]
        return name if name is not None and self._escape(name) == hashed else None


Given = TypeVarTuple("Given")
R = TypeVar("R")

_REMEMBERED = 1000

Changed = list[bool | SatchelError]


class Tree:
    """Reads and changes the files of a store. Its changes belong in one thread, its reads in one other.

    Args:
        data: The directory of collections.
        metadata: The directory of `.satchel`, where locks and layout are; no collection's directory begins with a dot.
        durable: Wait for the disk before a change is done.
    """

    def __init__(self, data: str, metadata: str, *, durable: bool) -> None:
        self._data = data
        self._metadata = os.path.join(metadata, ".satchel")
        self._locks = Locks(os.path.join(self._metadata, "locks"))
        self._durable = durable
        self._safe = True
        self._opened: dict[str, os.stat_result] = {}
        self._layout: Layout

    def open(self) -> None:
        """Make the directories, settle the layout, and remove temporary files of writers that died."""
        try:
            for path in (self._data, self._locks.directory):
                make_directory(path)
        except OSError as error:
            if error.errno not in UNWRITABLE or not os.path.isdir(self._data):
                raise
        self._layout, self._safe = settle(self._data, self._metadata)
        self._opened = {path: os.stat(path) for path in (self._data, self._metadata) if os.path.isdir(path)}
        self._escape = lru_cache(_REMEMBERED)(self._layout.escaping.escape)
        if not self._safe:
            return
        try:
            self._sweep()
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise

    def hurry(self) -> None:
        """From any thread, for good: end the wait for a lock that another process holds."""
        self._locks.patient = False

    def report_changes(self, feed: Feed, end: threading.Event) -> None:
        """Report changes of files until an event is set."""
        from .changes import FileReporter  # noqa: PLC0415  # it needs an extra

        FileReporter(self._data, self._layout, feed).run(end)

    def ping(self) -> None:
        """Look at the data directory."""
        os.scandir(self._data).close()

    def read(self, refs: Sequence[Ref]) -> list[Record | SatchelError | None]:
        """Return the records, expired ones as they are."""
        return self._look_up(refs, self._read_one)

    def read_heads(self, refs: Sequence[Ref]) -> list[Record | SatchelError | None]:
        """Return records with a deadline and nothing else."""
        return self._look_up(refs, self._read_head_of_one)

    def _look_up(
        self, refs: Sequence[Ref], look: Callable[[Directory, Ref], Record | None]
    ) -> list[Record | SatchelError | None]:
        outcomes: list[Record | SatchelError | None] = [None] * len(refs)
        for collection, indexes in _grouped(refs).items():
            folder = self._escape(collection)
            try:
                if not self._has(folder):
                    continue
                with Directory(self._path(folder)) as directory:
                    for index in indexes:
                        outcomes[index] = self._attempt(look, directory, refs[index])
            except FileNotFoundError:
                self._refuse_gone()
            except OSError as error:
                for index in indexes:
                    outcomes[index] = problem(error, self._data)
        return outcomes

    def write(self, items: Sequence[tuple[Ref, Record]]) -> list[SatchelError | None]:
        """Store records."""
        refs = [ref for ref, _ in items]

        def put(directory: Directory, index: int) -> bool:
            return self._put(directory, *items[index], items[index][1].updated_at)

        return [outcome if isinstance(outcome, SatchelError) else None for outcome in self._change(refs, put, True)]

    def delete(self, refs: Sequence[Ref], now: float) -> Changed:
        """Remove entries, damaged ones too; say of each whether it existed and alive."""

        def remove(directory: Directory, index: int) -> bool:
            stem = self._escape(refs[index][1])
            head = directory.head_of(stem)
            return head is not None and directory.remove(stem) and head.deadline > now

        return self._change(refs, remove, False)

    def put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Changed:
        """Store each record where the condition holds."""

        def put(directory: Directory, index: int) -> bool:
            ref, record, condition = items[index]
            holds = self._holds(directory, ref, condition, now)
            return holds and self._put(directory, ref, record, record.updated_at)

        return self._change([item[0] for item in items], put, True)

    def delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Changed:
        """Remove each entry that has the version."""

        def remove(directory: Directory, index: int) -> bool:
            ref, version = items[index]
            return self._holds(directory, ref, version, now) and directory.remove(self._escape(ref[1]))

        return self._change([ref for ref, _ in items], remove, False)

    def touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Changed:
        """Give each living entry a new deadline."""

        def renew(directory: Directory, index: int) -> bool:
            ref, deadline = items[index]
            record = directory.read(self._escape(ref[1]), ref)
            if record is None or record.deadline <= now:
                return False
            return self._put(directory, ref, msgspec.structs.replace(record, deadline=deadline), now)

        return self._change([ref for ref, _ in items], renew, False)

    def scan(self, collection: str) -> Scan | None:
        """Begin to list a collection; None when it has no directory."""
        folder = self._escape(collection)
        return self.scan_folder(folder) if self._has(folder) else None

    def scan_folder(self, folder: str) -> Scan | None:
        """Begin to list a collection by the name of its directory."""
        try:
            return Scan(Directory(self._path(folder)), folder, self._layout.escaping)
        except FileNotFoundError:
            self._refuse_gone()
            return None

    def _refuse_gone(self) -> None:
        """Distinguish a collection without writes from a missing data directory."""
        if not os.path.isdir(self._data):
            raise StoreError(f"{self._data} was removed while it was open; close the store and make a new one")

    def folders(self) -> list[str]:
        """Return the names of the directories that may hold collections."""
        with os.scandir(self._data) as found:
            return [item.name for item in found if self._layout.makes(item.name) and item.is_dir(follow_symlinks=False)]

    def living_collections(self, folders: Sequence[str], now: float) -> list[str]:
        """Return the collections in those directories that have a living entry."""
        scans = filter(None, map(self.scan_folder, folders))
        return [name for scan in scans if (name := scan.living_collection(now)) is not None]

    def remove_expired(self, folder: str, names: Sequence[str], now: float) -> int:
        """Remove those files of a directory that have still expired, and the directory if that was all."""
        removed = 0
        with self._locked(folder, create=False) as directory:
            if directory is None:
                return 0
            for name in names:
                head = directory.head(name)
                removed += head is not None and head.deadline <= now and directory.discard(name)
            if removed:
                self._remove_folder(folder)
        return removed

    def destroy_collection(self, collection: str, now: float) -> bool:
        """Remove what the store wrote in a collection; return whether there was a living entry."""
        return self._destroy_folder(self._escape(collection), now)

    def destroy(self, now: float) -> bool:
        """Remove all entries that the store wrote; return whether a living one was among them."""
        refuse_replaced(self._opened)
        lived = [self._destroy_folder(folder, now) for folder in [*self.folders(), *self._lone_locks()]]
        return any(lived)

    def _destroy_folder(self, folder: str, now: float) -> bool:
        """Remove what the store wrote in a directory, and the directory if that was all."""
        lived = False
        with self._locked(folder, create=False) as directory:
            if directory is None:
                return False
            directory.sweep()
            with closing(directory.names()) as names:
                for name in names:
                    head = directory.head(name) if self._gives(name) else None
                    if head is not None and head.marked and directory.discard(name):
                        lived |= head.deadline > now
            self._remove_folder(folder)
        return lived

    def _gives(self, name: str) -> bool:
        """Return whether an entry's file may have got this name from the store."""
        stem, dot, suffix = name.rpartition(".")
        return dot + suffix in {JSON, BINARY} and self._layout.makes(stem)

    def _change(self, refs: Sequence[Ref], change: Callable[[Directory, int], bool], create: bool) -> Changed:
        """Carry out a change for each name, under the lock of its collection; one failure is of its own name alone."""
        outcomes: Changed = [False] * len(refs)
        for collection, indexes in _grouped(refs).items():
            try:
                with self._locked(self._escape(collection), create=create) as directory:
                    if directory is None:
                        continue
                    for index in indexes:
                        outcomes[index] = self._attempt(change, directory, index)
                    if self._durable:
                        directory.sync()
            except StoreUnavailableError as error:  # its lock is held
                for index in indexes:
                    outcomes[index] = error.again()
            except OSError as error:
                for index in indexes:
                    outcomes[index] = problem(error, self._data)
        return outcomes

    @contextmanager
    def _locked(self, folder: str, *, create: bool, wait: bool = True) -> Iterator[Directory | None]:
        """Hold a collection's lock, with its directory; None, and no lock, where it has none and needs none."""
        if not self._safe:
            raise StoreError(
                f"{self._data} was copied to a file system that treats different names of its files as one; it can be "
                "read here, not changed: put its entries into a new store"
            )
        refuse_replaced(self._opened)
        path = self._path(folder)
        if not (create or os.path.lexists(path) or self._locks.has(folder)):
            yield None
            return
        with self._locks.held(folder) if wait else self._locks.held_at_once(folder):
            directory = None
            try:
                directory = ensured_directory(path, durable=self._durable) if create else existing_directory(path)
            finally:
                if directory is None:  # a lock without a directory is one that nobody would remove
                    self._locks.remove(folder)
            if directory is None:
                yield None
            else:
                with directory:
                    yield directory

    def _has(self, folder: str) -> bool:
        """Return whether a directory of exactly this name may exist, on a file system that may fold names."""
        return self._safe or folder in os.listdir(self._data)

    def _read_one(self, directory: Directory, ref: Ref) -> Record | None:
        stem = self._escape(ref[1])
        return directory.read(stem, ref) if self._safe or directory.lists(stem) else None

    def _read_head_of_one(self, directory: Directory, ref: Ref) -> Record | None:
        stem = self._escape(ref[1])
        head = directory.head_of(stem) if self._safe or directory.lists(stem) else None
        if head is not None and not head.readable:
            return directory.read(stem, ref)  # which says what is wrong with it
        return None if head is None else Record(b"", RAW_BYTES, head.version or "", 0.0, head.deadline)

    def _attempt(self, work: Callable[[*Given], R], *args: *Given) -> R | SatchelError:
        """Return the result of the work on one entry, or its error."""
        try:
            return work(*args)
        except SatchelError as error:
            return error
        except OSError as error:
            return problem(error, self._data)

    def _put(self, directory: Directory, ref: Ref, record: Record, saved_at: float) -> bool:
        directory.write(self._escape(ref[1]), ref, record, saved_at, durable=self._durable)
        return True

    def _holds(self, directory: Directory, ref: Ref, condition: Condition, now: float) -> bool:
        record = self._read_head_of_one(directory, ref)
        if record is not None and not record.version:
            record = directory.read(self._escape(ref[1]), ref)
        if record is None or record.deadline <= now:
            return condition is ABSENT
        return record.version == condition

    def _remove_folder(self, folder: str) -> None:
        """Remove a collection's directory and lock, with the lock held, unless something is left in there."""
        try:
            os.rmdir(self._path(folder))
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        else:
            self._locks.remove(folder)

    def _lone_locks(self) -> list[str]:
        """Return the directories of which there is the lock alone, as writers leave that die between the two."""
        return [folder for folder in self._locks.folders() if not os.path.lexists(self._path(folder))]

    def _sweep(self) -> None:
        """Finish or undo what writers that died left half done."""
        left = [folder for folder in self.folders() if has_leftovers(self._path(folder))]
        for folder in [*left, *self._lone_locks()]:
            try:
                with self._locked(folder, create=False, wait=False) as directory:  # once we hold it, its writer is dead
                    if directory is not None:
                        directory.sweep()
            except StoreUnavailableError:  # its writer lives
                continue

    def _path(self, folder: str) -> str:
        return os.path.join(self._data, folder)


def _grouped(refs: Sequence[Ref]) -> dict[str, list[int]]:
    """Return the indexes of the names in each collection."""
    groups: dict[str, list[int]] = {}
    for index, (collection, _) in enumerate(refs):
        groups.setdefault(collection, []).append(index)
    return groups
