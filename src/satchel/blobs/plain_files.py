"""`FileBlobs`: blobs as plain files in a directory, which people and web servers can open."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from .._places import settled
from .._shielding import shielded
from .._threads import in_thread
from ..clock import Clock, system_clock
from ..errors import BlobChangedError, BlobExistsError, BlobMissingError, ConfigurationError, SatchelError
from ..stores.filetree.system import SUPPORTED, problem
from . import content_types
from .base import BlobsBase
from .file_tree import BlobFolder, FileUpload, OpenFile, version_of
from .ids import IdKind
from .info import BlobInfo
from .options import PutOptions
from .source import BlobSource
from .urls import UrlSigner

_PIECE = 1024 * 1024

Given = TypeVarTuple("Given")
R = TypeVar("R")


class FileBlobs(BlobsBase):
    """Target that keeps blobs as plain files in a directory, under names that people can read.

    The key `photos/cat.png` is the file `cat.png` in the folder `photos`. A blob is written under a temporary name and
    then renamed, so that nobody sees a part of it, and several processes may use one directory at once. Files that
    people put there are blobs too. Symbolic links are not followed.

    A file keeps its content, its time and its name: `metadata=`, `ttl=` and a `content_type=` other than that of the
    name are refused. As on every file system, `a` and `a/b` exclude each other.

    Args:
        directory: The directory, created if missing. A `~` is the user's home; a relative path is resolved against the
            current working directory.
        ids: How keys are made: `uuid7`, `uuid4` or `sha256`.
        template: The key that is made, with `{}` for the id.
        max_size: The longest blob in bytes that is taken; None for no limit.
        base_url: Address of a web server that serves the directory, or a function that returns the address for a key.
        signer: Signs the addresses made from `base_url`.
        clock: Returns the present as seconds since the Unix epoch, for keys and addresses.

    Raises:
        ConfigurationError: An option is not legal, or this platform has no locks between processes.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        ids: IdKind = "uuid7",
        template: str = "{}",
        max_size: int | None = None,
        base_url: str | Callable[[str], str] | None = None,
        signer: UrlSigner | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if not SUPPORTED:
            raise ConfigurationError("FileBlobs needs the file locks and directory descriptors of a POSIX system")
        super().__init__(ids=ids, template=template, max_size=max_size, base_url=base_url, signer=signer, clock=clock)
        self._tree = BlobFolder(_checked(directory))

    def __repr__(self) -> str:
        return f"FileBlobs({str(self._tree.root)!r})"

    async def _open(self) -> None:
        await self._run(lambda: self._tree.paths)

    async def _source(self, key: str) -> BlobSource | None:
        found = await self._run(self._tree.find, key)
        if found is None:
            return None
        return _FileSource(found, await self._info(key, found.status))

    async def info(self, key: str) -> BlobInfo | None:
        """Return what is known about a blob, or None when there is none."""
        status = await self._run(self._tree.status, key)
        return None if status is None else await self._info(key, status)

    async def _write(self, key: str, pieces: AsyncIterator[bytes], options: PutOptions) -> BlobInfo:
        await self._check_options(key, options)
        upload = FileUpload(self._tree, key)
        try:
            await self._to_end(upload.begin)
            async for batch in _batches(pieces):
                await self._to_end(upload.write, batch)
            status = await self._to_end(upload.publish, options.if_absent, options.if_version)
        finally:
            await self._to_end(upload.end)
        if status is None:
            raise _refusal(key, options)
        return await self._info(key, status)

    async def _check_options(self, key: str, options: PutOptions) -> None:
        if options.metadata:
            self._refuse("metadata= of put: a plain file has none")
        if options.ttl is not None:
            self._refuse("ttl= of put: a plain file does not expire")
        if options.content_type is None or options.type_is_guessed:
            return
        if options.content_type != await content_types.guessed(key):
            self._refuse("content_type= of put, but for the type that the end of the key stands for")

    def _options_of(self, info: BlobInfo, if_absent: bool) -> PutOptions:
        return PutOptions(if_absent=if_absent, size=info.size)

    async def _move(self, source: str, target: str, if_absent: bool) -> BlobInfo:
        """Rename the file, in one step."""
        status = await self._to_end(self._tree.rename, source, target, if_absent)
        if status is None:
            if await self.exists(source):
                raise BlobExistsError(f"there is a blob under {target!r}")
            raise BlobMissingError(f"there is no blob under {source!r}")
        return await self._info(target, status)

    async def _delete(self, key: str, version: str | None) -> bool:
        return await self._to_end(self._tree.delete, key, version)

    async def _keys(self, prefix: str, after: str | None, limit: int | None) -> AsyncIterator[str]:
        left = limit
        if left == 0:
            return
        async with aclosing(self._walk((), "", prefix, after)) as keys:
            async for key in keys:
                yield key
                left = None if left is None else left - 1
                if left == 0:
                    return

    async def _walk(
        self, folder: tuple[str, ...], base: str, prefix: str, after: str | None
    ) -> AsyncGenerator[str, None]:
        """Iterate over the keys below a folder, sorted by code points."""
        for part, name in await self._run(self._tree.children, folder):
            key = base + part
            if not part.endswith("/"):
                if key.startswith(prefix) and (after is None or key > after):
                    yield key
            elif key[: len(prefix)] == prefix[: len(key)] and (after is None or key > after or after.startswith(key)):
                async with aclosing(self._walk((*folder, name), key, prefix, after)) as keys:
                    async for below in keys:
                        yield below

    async def local_path(self, key: str) -> Path:
        """Return the path of the file that has the content, as described for `Blobs`."""
        if await self.info(key) is None:
            raise BlobMissingError(f"there is no blob under {key!r}")
        return self._tree.path(key)

    async def sweep(self) -> int:
        """Remove what writes left behind whose processes died, once it is an hour old; return how many there were.

        It is also done when this object is first used.
        """
        return await self._run(self._tree.sweep)

    async def _info(self, key: str, status: os.stat_result) -> BlobInfo:
        return BlobInfo(
            key=key,
            size=status.st_size,
            sha256=None,
            content_type=await content_types.guessed(key),
            metadata={},
            created_at=None,
            updated_at=datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC),
            expires_at=None,
            version=version_of(status),
            uri=self._tree.path(key).as_uri(),
        )

    async def _run(self, work: Callable[[*Given], R], *args: *Given) -> R:
        """Carry out work on files in a thread."""
        try:
            return await in_thread(work, *args)
        except SatchelError:
            raise
        except OSError as error:
            raise problem(error, str(self._tree.root)) from error

    async def _to_end(self, work: Callable[[*Given], R], *args: *Given) -> R:
        """Carry out a change of files, whose end a caller that is cancelled waits for."""
        return await shielded(partial(self._run, work, *args), _ignored)


class _FileSource(BlobSource):
    """Open file: what replaces it meanwhile is another file."""

    def __init__(self, found: OpenFile, info: BlobInfo) -> None:
        self.info = info
        self._file = found

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        while start < end:
            piece = await in_thread(os.pread, self._file.descriptor, min(_PIECE, end - start), start)
            if not piece or version_of(os.fstat(self._file.descriptor)) != self.info.version:
                raise BlobChangedError(f"the file of the blob {self.info.key!r} was changed in place while it was read")
            yield piece
            start += len(piece)

    async def aclose(self) -> None:
        self._file.close()


def _checked(directory: str | os.PathLike[str]) -> Path:
    path = os.fspath(directory) if isinstance(directory, (str, os.PathLike)) else None
    if not isinstance(path, str) or not path or "\x00" in path:
        raise ConfigurationError("directory must be the path of a directory")
    return settled(path, "directory")


def _refusal(key: str, options: PutOptions) -> SatchelError:
    if options.if_absent:
        return BlobExistsError(f"there is a blob under {key!r}")
    return BlobChangedError(f"the blob {key!r} has another version, or is gone")


async def _batches(pieces: AsyncIterator[bytes]) -> AsyncIterator[Sequence[bytes]]:
    """Iterate over pieces, as many together as are worth a change of threads."""
    batch: list[bytes] = []
    size = 0
    async for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _ignored(_error: Exception) -> None:
    """Take the error of a change that its caller does not wait for."""
