"""`FsspecBlobs`: blobs as files of any file system of fsspec, such as sftp, webdav or smb."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar

from .._shielding import shielded
from .._shortage import shortage, shortage_of_descriptors
from .._threads import in_thread
from ..clock import Clock, system_clock
from ..errors import (
    BlobChangedError,
    BlobMissingError,
    ConfigurationError,
    SatchelError,
    StoreError,
    UnsupportedOperationError,
    missing_extra,
)
from ..names import SAFE, Escaping
from . import content_types
from .base import BlobsBase
from .ids import IdKind
from .info import BlobInfo
from .levels import READABLE, KeyPaths
from .options import PutOptions
from .source import BlobSource
from .urls import UrlSigner

try:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it has no annotations
    from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]  # as above
    from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]  # as above
except ModuleNotFoundError as error:
    raise missing_extra("FsspecBlobs", "fsspec", error) from error

__all__ = ["FsspecBlobs"]

_PIECE = 4 * 1024 * 1024
_LEVEL_BYTES, _PATH_BYTES = 250, 3500
_UPLOADS = ".satchel"
"""Folder for what is being written, which no key leads to."""
_ABANDONED_SECONDS = 3600.0
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
"""Names that file systems have for the time of the last change."""
_READ_TIMES = {"time", "atime", "accessTime", "accessed"}
"""Names that they have for the time of the last read; `time` is that of sftp."""

P = ParamSpec("P")
R = TypeVar("R")


class FsspecBlobs(BlobsBase):
    """Target that keeps blobs as files of a file system of fsspec.

    A blob is written under a temporary name and then moved, which is one step where the file system renames. For local
    files `FileBlobs` does more, and follows no links; for S3, `ObjectBlobs`.

    Conditions, `pop`, `metadata=`, `ttl=` and a `content_type=` other than that of the name are refused. As on most
    file systems, `a` and `a/b` exclude each other. A file system that only reads, such as http, refuses every write.

    Args:
        filesystem: The file system, made without `asynchronous=True`. Its calls are made in threads, one
            after the other where it is neither fsspec's local, its memory nor an asynchronous one.
        prefix: Folder of all blobs, such as an absolute path.
        ids: How keys are made: `uuid7`, `uuid4` or `sha256`.
        template: The key that is made, with `{}` for the id.
        max_size: The longest blob in bytes that is taken; None for no limit.
        base_url: Address of a web server that serves the folder, or a function that returns the address for a key.
        signer: Signs the addresses made from `base_url`.
        clock: Returns the present as seconds since the Unix epoch, for keys and addresses.

    Raises:
        ConfigurationError: An option is not legal.
    """

    def __init__(
        self,
        filesystem: AbstractFileSystem,
        prefix: str = "",
        *,
        ids: IdKind = "uuid7",
        template: str = "{}",
        max_size: int | None = None,
        base_url: str | Callable[[str], str] | None = None,
        signer: UrlSigner | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if not isinstance(filesystem, AbstractFileSystem) or getattr(filesystem, "asynchronous", False):
            raise ConfigurationError("filesystem must be a file system of fsspec, made without asynchronous=True")
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix must be a str, got {type(prefix).__name__}")
        super().__init__(ids=ids, template=template, max_size=max_size, base_url=base_url, signer=signer, clock=clock)
        self._files: Any = filesystem
        self._turns = _turns(self._files)
        self._process = os.getpid()
        root = str(self._files._strip_protocol(prefix)).rstrip("/") if prefix else ""
        self._root = f"{root}/" if root or prefix.startswith("/") else ""
        self._paths = KeyPaths(Escaping(SAFE | READABLE, keep_unicode=True), _LEVEL_BYTES, _PATH_BYTES)

    def __repr__(self) -> str:
        return f"FsspecBlobs({type(self._files).__name__}, prefix={self._root!r})"

    async def info(self, key: str) -> BlobInfo | None:
        """Return what is known about a blob, or None when there is none."""
        path = self._path(key)
        found = await self._run(self._found, path)
        if found is None:
            return None
        if found.get("size") is None:
            self._refuse("blobs whose size the file system does not know")
        return BlobInfo(
            key=key,
            size=found["size"],
            sha256=None,
            content_type=await content_types.guessed(key),
            metadata={},
            created_at=None,
            updated_at=_time(found),
            expires_at=None,
            version=_version(found),
            uri=str(self._files.unstrip_protocol(path)),
        )

    async def _source(self, key: str) -> BlobSource | None:
        info = await self.info(key)
        return None if info is None else _FsspecSource(self, self._path(key), info)

    async def _write(self, key: str, pieces: AsyncIterator[bytes], options: PutOptions) -> BlobInfo:
        await self._check_options(key, options)
        path = self._path(key)
        upload = _Upload(self._files, f"{self._root}{_UPLOADS}/{secrets.token_hex(16)}.part")
        try:
            await self._to_end(upload.begin)
            async for piece in pieces:
                await self._to_end(upload.write, piece)
            await self._to_end(upload.publish, path)
        except FileNotFoundError as error:
            raise StoreError(f"{self!r} cannot write: a folder is missing, or what was written was removed") from error
        finally:
            await self._to_end(upload.end)
        return await self._required_info(key)

    async def _check_options(self, key: str, options: PutOptions) -> None:
        if options.metadata:
            self._refuse("metadata= of put: a plain file has none")
        if options.ttl is not None:
            self._refuse("ttl= of put: a plain file does not expire")
        if options.if_absent:
            self._refuse("if_absent=: a move replaces an existing file")
        if options.if_version is not None:
            self._refuse("if_version= of put: a move replaces an existing file")
        kind = options.content_type
        if kind is not None and not options.type_is_guessed and kind != await content_types.guessed(key):
            self._refuse("content_type= of put, but for the type that the end of the key stands for")

    def _options_of(self, info: BlobInfo, if_absent: bool) -> PutOptions:
        return PutOptions(if_absent=if_absent, size=info.size)

    async def _move(self, source: str, target: str, if_absent: bool) -> BlobInfo:
        """Rename the file."""
        if if_absent:
            self._refuse("if_absent= of move: a move replaces an existing file")
        try:
            await self._to_end(_move, self._files, self._path(source), self._path(target))
        except FileNotFoundError as error:
            raise BlobMissingError(f"there is no blob under {source!r}") from error
        return await self._required_info(target)

    async def _delete(self, key: str, version: str | None) -> bool:
        if version is not None:
            self._refuse("pop: a file system does not tell which of several callers removed a file")
        return await self._to_end(self._remove, self._path(key))

    async def _keys(self, prefix: str, after: str | None, limit: int | None) -> AsyncIterator[str]:
        for key in (await self._run(self._list, prefix, after))[:limit]:
            yield key

    async def sweep(self) -> int:
        """Remove what writes left behind whose processes died, once it is an hour old; return how many there were."""
        return await self._run(self._sweep)

    def _path(self, key: str) -> str:
        return self._root + "/".join(self._paths.levels(key))

    def _found(self, path: str) -> Mapping[str, Any] | None:
        """Return what the file system says of a file, rather than what it remembers; None if there is no file."""
        self._files.invalidate_cache(self._files._parent(path))
        try:
            found: Mapping[str, Any] = self._files.info(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if found["type"] == "file" else None

    def _remove(self, path: str) -> bool:
        if self._found(path) is None:
            return False
        try:
            self._files.rm_file(path)
        except FileNotFoundError:
            return False
        return True

    def _list(self, prefix: str, after: str | None) -> list[str]:
        self._files.invalidate_cache()
        paths = [str(path) for path in self._files.find(self._root)]
        if (used_up := shortage_of_descriptors(1)) is not None:  # fsspec leaves out the folders that it cannot read
            raise used_up
        root = str(self._files._strip_protocol(self._root)).rstrip("/")
        keys = [self._paths.key(path.removeprefix(root).removeprefix("/").split("/")) for path in paths]
        return sorted(key for key in keys if key and key.startswith(prefix) and (after is None or key > after))

    def _sweep(self) -> int:
        try:
            found = self._files.ls(f"{self._root}{_UPLOADS}", detail=True)
        except FileNotFoundError:
            return 0
        old = datetime.now(UTC).timestamp() - _ABANDONED_SECONDS
        left = [item["name"] for item in found if 0 < _time(item).timestamp() < old]
        return sum(self._remove(path) for path in left)

    async def _run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Carry out calls of the file system in a thread; a missing file raises `FileNotFoundError`."""
        if self._process != os.getpid() and not isinstance(self._turns, nullcontext):
            raise StoreError(
                f"the file system of {self!r} has the connection of the process from which this one was forked; make "
                "the file system and the blobs anew in each process"
            )
        try:
            return await in_thread(self._at_its_turn, partial(work, *args, **kwargs))
        except (SatchelError, FileNotFoundError):
            raise
        except NotImplementedError as error:
            raise UnsupportedOperationError(f"{self!r}: its file system does not support this operation") from error
        except Exception as error:
            if (used_up := shortage(error)) is not None:
                raise used_up from error
            raise StoreError(f"the file system of {self!r} failed ({type(error).__name__})") from error

    def _at_its_turn(self, work: Callable[[], R]) -> R:
        with self._turns:
            return work()

    async def _to_end(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Carry out a change, whose end a caller that is cancelled waits for."""
        return await shielded(partial(self._run, work, *args, **kwargs), _ignored)


class _FsspecSource(BlobSource):
    """File that is read in pieces, and looked at after each: it must still be the same."""

    def __init__(self, blobs: FsspecBlobs, path: str, info: BlobInfo) -> None:
        self.info = info
        self._blobs, self._path = blobs, path

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        for first in range(start, end, _PIECE):
            last = min(first + _PIECE, end)
            try:
                piece = bytes(await self._blobs._run(self._blobs._files.cat_file, self._path, first, last))
            except FileNotFoundError:
                piece = b""
            found = await self._blobs._run(self._blobs._found, self._path)
            if found is None or _version(found) != self.info.version or len(piece) != last - first:
                raise BlobChangedError(f"the file of the blob {self.info.key!r} was changed while it was read")
            yield piece


class _Upload:
    """File under a temporary name, which gets its own name at the end.

    Args:
        files: The file system.
        path: The temporary name.
    """

    def __init__(self, files: Any, path: str) -> None:
        self._files, self._path = files, path
        self._file: Any = None

    def begin(self) -> None:
        """Make the file."""
        self._files.makedirs(self._files._parent(self._path), exist_ok=True)
        self._file = self._files.open(self._path, "wb")

    def write(self, piece: bytes) -> None:
        """Write bytes."""
        self._file.write(piece)

    def publish(self, path: str) -> None:
        """Give the file its own name."""
        self._file.close()
        _move(self._files, self._path, path)
        self._file = None

    def end(self) -> None:
        """Remove the file if it did not get its own name."""
        if self._file is not None:
            self._file.close()
            self._files.rm_file(self._path)


def _turns(files: Any) -> AbstractContextManager[object]:
    """Return what a call of a file system has to hold: most have one connection, which threads must not share."""
    if files.async_impl or isinstance(files, (LocalFileSystem, MemoryFileSystem)):
        return nullcontext()
    return _locks.setdefault(files, threading.Lock())


_locks: weakref.WeakKeyDictionary[Any, threading.Lock] = weakref.WeakKeyDictionary()


def _move(files: Any, source: str, target: str) -> None:
    parent = files._parent(target)
    if not files.isfile(source):
        raise FileNotFoundError(source)
    if files.isdir(target) or files.isfile(parent):
        raise StoreError("a folder is where a file should be, or the reverse: remove one of them, or use another key")
    files.makedirs(parent, exist_ok=True)
    files.mv(source, target)


def _version(found: Mapping[str, Any]) -> str:
    """Return what identifies the content of a file: all that the file system says of it, but when it was read."""
    told = [pair for pair in found.items() if pair[0] not in _READ_TIMES]
    return hashlib.sha256(repr(sorted(told, key=str)).encode("utf-8", "replace")).hexdigest()[:32]


def _time(found: Mapping[str, Any]) -> datetime:
    """Return when a file was changed; the Unix epoch where the file system does not say."""
    for name in _TIMES:
        at = found.get(name)
        if isinstance(at, (int, float)):
            return datetime.fromtimestamp(at, UTC)
        if isinstance(at, datetime):
            return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return datetime.fromtimestamp(0, UTC)


def _ignored(_error: Exception) -> None:
    """Take the error of a change that its caller does not wait for."""
