"""The files of one collection: read, written and removed relative to its open directory, so that nothing leads outside.

An entry is `{stem}.json`, or `{stem}.bin` for `bytes` and other codecs. Where a writer died between the two, both are
there, and `.json` counts. So a change from one to the other puts the new file in place first and then removes the old
one, a delete removes `.bin` first, and a reader that finds neither looks again. A change from one to the other is noted
in a file, so that the next opener can finish it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Self

from ...backend.record import Record, pack, unpack, unpack_pieces
from ...codec import JsonCodec
from ...errors import IntegrityError
from ...names import MAX_NAME_BYTES, Ref
from .._documents import UNREADABLE, Head, head_of_document, nanoseconds, read_document, read_head, write_document
from .system import DIRECTORY, NO_LINK, NO_WAIT, NOT_INHERITED, make_directory

JSON, BINARY = ".json", ".bin"
_TEMPORARY = ".satchel.tmp"
"""The one temporary file of a collection: only the holder of its lock writes it."""
_CHANGING = ".satchel.changing"
"""Holds the stem of an entry that is being changed from one kind of file to the other."""

_MARKED = b"\x89S"
_SHORT_HEAD = 4096  # bytes, in which the expiry is
_LONG_HEAD = 16 * MAX_NAME_BYTES  # two names, each byte escaped as \u0000
_HUGE = 1024 * 1024
_CLOSED = -1
_OPENING = os.O_RDONLY | DIRECTORY | NO_LINK | NOT_INHERITED
# A named pipe must not hold up its reader, nor a symbolic link lead elsewhere.
_READING = os.O_RDONLY | NO_LINK | NO_WAIT | NOT_INHERITED
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK | NOT_INHERITED


class Directory:
    """Open directory of a collection; a missing one raises `FileNotFoundError`."""

    _descriptor = _CLOSED

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, _OPENING)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        descriptor, self._descriptor = self._descriptor, _CLOSED
        os.close(descriptor)

    def __del__(self) -> None:
        if self._descriptor != _CLOSED:  # a listing was cut off while a thread was opening it
            os.close(self._descriptor)

    def read(self, stem: str, ref: Ref) -> Record | None:
        """Return the record of an entry, None for nothing there.

        Raises:
            IntegrityError: Its file is no entry, or a damaged one.
        """
        found = self._find(stem)
        if found is None:
            return None
        suffix, pieces, modified_at = found
        if suffix == BINARY:
            return unpack(pieces[0]) if len(pieces) == 1 else unpack_pieces(pieces)
        return read_document(ref, b"".join(pieces), modified_at)

    def head(self, name: str, limit: int = _SHORT_HEAD) -> Head | None:
        """Return the head of a file, `UNREADABLE` if it cannot be read; None if there is no such file."""
        try:
            found = self._content(name, limit)
            if found is None:
                return None
            if name.endswith(BINARY):
                return _binary_head(found[0])
            head = read_head(found[0])
            if head is None and len(found[0]) == limit:
                found = self._content(name)
                return None if found is None else head_of_document(found[0])
            return head or head_of_document(found[0])
        except IntegrityError:
            return UNREADABLE

    def head_with_names(self, name: str) -> Head | None:
        """Return the head of a file whose name does not determine its key."""
        return self.head(name, _LONG_HEAD)

    def head_of(self, stem: str) -> Head | None:
        """Return the head of an entry, None for nothing there."""
        for _ in range(2):
            head = self.head(stem + JSON) or self.head(stem + BINARY, _LONG_HEAD)
            if head is not None:
                return head
        return None

    def write(self, stem: str, ref: Ref, record: Record, saved_at: float, *, durable: bool) -> None:
        """Replace the current entry by a record, in one step, or leave everything unchanged."""
        is_json = record.codec == JsonCodec.number
        new, old = (JSON, BINARY) if is_json else (BINARY, JSON)
        changes = self.has(stem + old)
        try:
            with self._opened(_TEMPORARY, _WRITING) as descriptor:
                if is_json:
                    _fill_document(descriptor, ref, record, nanoseconds(saved_at))
                else:
                    _fill(descriptor, pack(record))
                if durable:
                    os.fsync(descriptor)
            if changes:
                self._note_change(stem)
            os.replace(_TEMPORARY, stem + new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            if changes:
                self.unlink(stem + old)
                self.unlink(_CHANGING)
        except BaseException:
            self.sweep()
            raise

    def sweep(self) -> None:
        """With the lock held, finish or undo an interrupted write."""
        self.unlink(_TEMPORARY)
        self._finish_change()

    def remove(self, stem: str) -> bool:
        """Remove an entry, and return whether there was one."""
        return self.unlink(stem + BINARY) | self.unlink(stem + JSON)

    def discard(self, name: str) -> bool:
        """Remove one of an entry's files, but not so that an older one beneath it comes to light."""
        if name.endswith(JSON):
            self.unlink(name.removesuffix(JSON) + BINARY)
        return self.unlink(name)

    def unlink(self, name: str) -> bool:
        """Remove a file, and return whether there was one."""
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return False
        return True

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        try:
            os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def lists(self, stem: str) -> bool:
        """Return whether an entry's file has exactly this name, however the file system compares names."""
        return not {stem + JSON, stem + BINARY}.isdisjoint(os.listdir(self._descriptor))

    def sync(self) -> None:
        """Wait until the changes in this directory would survive a loss of power."""
        os.fsync(self._descriptor)

    def names(self) -> Generator[str, None, None]:
        """Yield the name of everything in the directory; close what this returns."""
        with os.scandir(self._descriptor) as found:
            for item in found:
                yield item.name

    def _note_change(self, stem: str) -> None:
        if self.has(_CHANGING):
            self._finish_change()
        with self._opened(_CHANGING, _WRITING) as descriptor:
            _fill(descriptor, os.fsencode(stem))

    def _finish_change(self) -> None:
        noted = self._content(_CHANGING)
        stem = "" if noted is None else os.fsdecode(noted[0])
        if "/" not in stem and self.has(stem + JSON):
            self.unlink(stem + BINARY)
        self.unlink(_CHANGING)

    @contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        descriptor = os.open(name, flags, 0o600, dir_fd=self._descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _find(self, stem: str) -> tuple[str, list[bytes], int] | None:
        for _ in range(2):
            for suffix in (JSON, BINARY):
                found = self._pieces(stem + suffix)
                if found is not None:
                    return suffix, *found
        return None

    def _content(self, name: str, limit: int | None = None) -> tuple[bytes, int] | None:
        """Return the first bytes of a file, or all of it, and when it was modified, in nanoseconds."""
        found = self._pieces(name, limit)
        return None if found is None else (b"".join(found[0]), found[1])

    def _pieces(self, name: str, limit: int | None = None) -> tuple[list[bytes], int] | None:
        """Return the same in pieces: of a large file, what a header may be in is apart from the rest."""
        try:
            with self._opened(name, _READING) as descriptor:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise IntegrityError("in place of its file there is a directory or the like; remove it")
                size = status.st_size if limit is None else limit
                parts = [_LONG_HEAD, size - _LONG_HEAD] if size > _HUGE else [size]
                return [_read(descriptor, part) for part in parts], status.st_mtime_ns
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise IntegrityError("in place of its file there is a symbolic link or the like; remove it") from None
            raise


def existing_directory(path: str) -> Directory | None:
    """Open a directory, None if it is not there."""
    try:
        return Directory(path)
    except FileNotFoundError:
        return None


def ensured_directory(path: str, *, durable: bool) -> Directory:
    """Open a directory, made if it is not there; `durable` waits until it would survive a loss of power."""
    found = existing_directory(path)
    if found is not None:
        return found
    make_directory(path)
    if durable:
        with Directory(os.path.dirname(path)) as parent:
            parent.sync()
    return Directory(path)


def has_leftovers(path: str) -> bool:
    """Return whether a writer is working in a directory, or died there."""
    return any(os.path.lexists(os.path.join(path, name)) for name in (_TEMPORARY, _CHANGING))


def _read(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    if len(data) == size:
        return data
    parts = [data]
    while parts[-1]:
        size -= len(parts[-1])
        parts.append(os.read(descriptor, size))
    return b"".join(parts)


def _fill(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _fill_document(descriptor: int, ref: Ref, record: Record, saved_at: int) -> None:
    """Write a readable file and set its modification time to what it says, which tells an edit by hand later."""
    _fill(descriptor, write_document(ref, record, saved_at))
    os.utime(descriptor, ns=(saved_at, saved_at))
    kept = os.fstat(descriptor).st_mtime_ns
    if kept != saved_at:  # this file system keeps times less finely: say the one that it keeps
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        _fill(descriptor, write_document(ref, record, kept))
        os.utime(descriptor, ns=(kept, kept))


def _binary_head(data: bytes) -> Head:
    try:
        record = unpack(data, whole=False)
    except IntegrityError:
        return Head(UNREADABLE.deadline, marked=data.startswith(_MARKED), readable=False)
    return Head(record.deadline, record.names, version=record.version)
