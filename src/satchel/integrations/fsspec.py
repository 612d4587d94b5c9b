"""Blobs as a file system of fsspec, under `satchel://`, for pandas, pyarrow, dask and others.

```python
import fsspec
from satchel.integrations.fsspec import SatchelFileSystem

fsspec.register_implementation("satchel", SatchelFileSystem, clobber=True)

with fsspec.open("satchel://reports/may.csv", "w", blobs="memory:") as file:
    file.write("name,size")
```
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .._threads import in_thread
from ..blobs import BlobInfo
from ..blobs.protocol import Blobs
from ..errors import BlobChangedError, BlobExistsError, BlobMissingError, ConfigurationError, missing_extra
from ..url import open_blobs

try:
    from fsspec.asyn import AsyncFileSystem, sync  # type: ignore[import-untyped]  # it has no annotations
    from fsspec.spec import AbstractBufferedFile  # type: ignore[import-untyped]  # it has no annotations
except ModuleNotFoundError as error:
    raise missing_extra("satchel.integrations.fsspec", "fsspec", error) from error

__all__ = ["SatchelFileSystem"]

_AT_ONCE = 16
_IN_MEMORY = 8 * 1024 * 1024

_opened: dict[str, Blobs] = {}
"""Blobs by their URLs, opened on fsspec's event loop, which all file systems of this process share."""


class SatchelFileSystem(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no annotations
    """File system of fsspec over any blobs.

    A path is a key. A folder exists while there are blobs in it. What is written in a `with` block appears when that
    ends, and not when it raises.

    fsspec carries out calls on an event loop of its own, in a thread. So give it a URL, or blobs that are used nowhere
    else: a store belongs to one event loop at a time.

    Args:
        blobs: The blobs, or their URL as for `open_blobs`. File systems with the same URL share the blobs until the
            process ends.
        **options: Options of fsspec, such as `asynchronous=True` for use on an event loop of the caller's.

    Raises:
        ConfigurationError: No blobs are given, or the URL is wrong.
    """

    protocol = "satchel"
    root_marker = ""
    cachable = False  # fsspec would tell blobs apart by their repr
    mirror_sync_methods = True

    def __init__(self, blobs: Blobs | str, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(blobs, str):
            if not callable(getattr(blobs, "put_file", None)):
                raise ConfigurationError(f"blobs must be Blobs or their URL, got {type(blobs).__name__}")
            self.blobs = blobs
        elif self.asynchronous:
            self.blobs = open_blobs(blobs)
        else:
            if blobs not in _opened:
                _opened[blobs] = open_blobs(blobs)
            self.blobs = _opened[blobs]

    async def _info(self, path: str, **_options: Any) -> dict[str, Any]:
        key = self._strip_protocol(path)
        info = await self.blobs.info(key) if key else None
        if info is not None:
            return _described(info)
        if key and await anext(self.blobs.keys(prefix=f"{key}/", limit=1), None) is None:
            raise FileNotFoundError(path)
        return _folder(key)

    async def _ls(self, path: str, detail: bool = True, **_options: Any) -> list[Any]:
        key = self._strip_protocol(path)
        prefix = f"{key}/" if key else ""
        folders = [_folder(name.rstrip("/")) async for name in self.blobs.prefixes("/", prefix)]
        keys = [name async for name in self.blobs.keys(prefix=prefix, depth=1) if not name.endswith("/")]
        if not folders and not keys and key:
            keys = [key] if await self.blobs.exists(key) else []
            if not keys:
                raise FileNotFoundError(path)
        names = sorted([*(folder["name"] for folder in folders), *keys])
        return sorted([*folders, *await self._infos(keys)], key=lambda item: str(item["name"])) if detail else names

    async def _find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> Any:
        if maxdepth is not None or withdirs:
            return await super()._find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **options)
        key = self._strip_protocol(path)
        keys = [name async for name in self.blobs.keys(prefix=f"{key}/" if key else "")]
        if key and await self.blobs.exists(key):
            keys.append(key)
        return {item["name"]: item for item in await self._infos(sorted(keys))} if detail else sorted(keys)

    async def _infos(self, keys: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for start in range(0, len(keys), _AT_ONCE):
            infos = await asyncio.gather(*[self.blobs.info(key) for key in keys[start : start + _AT_ONCE]])
            found += [_described(info) for info in infos if info is not None]
        return found

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_options: Any) -> bytes:
        content = await self.blobs.get(self._strip_protocol(path), start=start or 0, end=end)
        if content is None:
            raise FileNotFoundError(path)
        return content

    async def _part(self, path: str, version: str, start: int, end: int) -> bytes:
        """Return a part of one version of a blob."""
        content = await self._cat_file(path, start, end)
        info = await self.blobs.info(self._strip_protocol(path))
        if info is None or info.version != version:
            raise BlobChangedError(f"the blob {path!r} was replaced or removed while it was read")
        return content

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **_options: Any) -> None:
        try:
            await self.blobs.put(self._strip_protocol(path), value, if_absent=mode == "create")
        except BlobExistsError as error:
            raise FileExistsError(path) from error

    async def _put_file(self, lpath: str, rpath: str, mode: str = "overwrite", **_options: Any) -> None:
        if await in_thread(Path(lpath).is_dir):
            return
        try:
            await self.blobs.put_file(self._strip_protocol(rpath), lpath, if_absent=mode == "create")
        except BlobExistsError as error:
            raise FileExistsError(rpath) from error

    async def _get_file(self, rpath: str, lpath: str, **_options: Any) -> None:
        is_folder = await self._isdir(rpath)
        target = Path(lpath) if is_folder else Path(lpath).parent
        await in_thread(target.mkdir, parents=True, exist_ok=True)
        if not is_folder:
            await self.blobs.get_file(self._strip_protocol(rpath), lpath)

    async def _cp_file(self, path1: str, path2: str, **_options: Any) -> None:
        try:
            await self.blobs.copy(self._strip_protocol(path1), self._strip_protocol(path2))
        except BlobMissingError:
            if not await self._isdir(path1):
                raise

    async def _mv_file(self, path1: str, path2: str) -> None:
        await self.blobs.move(self._strip_protocol(path1), self._strip_protocol(path2))

    async def _rm_file(self, path: str, **_options: Any) -> None:
        if not await self.blobs.delete(self._strip_protocol(path)):
            raise FileNotFoundError(path)

    async def _rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None, **_options: Any) -> None:
        for found in await self._expand_path(path, recursive=recursive, maxdepth=maxdepth):
            await self.blobs.delete(self._strip_protocol(found))

    async def _mkdir(self, path: str, create_parents: bool = True, **_options: Any) -> None:
        """Do nothing: a folder exists while there are blobs in it."""

    async def _makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists while there are blobs in it."""

    async def _rmdir(self, path: str) -> None:
        """Do nothing: a folder exists while there are blobs in it."""

    def created(self, path: str) -> Any:
        """Return when a blob was first put, where the target keeps that."""
        return self.info(path)["created"]

    def modified(self, path: str) -> Any:
        """Return when the content of a blob was put."""
        return self.info(path)["mtime"]

    def open(self, path: str, mode: str = "rb", block_size: Any = None, **options: Any) -> Any:
        """Open a blob as a file of bytes or text, for reading or writing."""
        if "b" in mode or "r" in mode:
            return super().open(path, mode, block_size=block_size, **options)
        of_text = {name: options.pop(name) for name in ("encoding", "errors", "newline") if name in options}
        return _WrittenText(
            super().open(path, mode.replace("t", "") + "b", block_size=block_size, **options), **of_text
        )

    def _open(self, path: str, mode: str = "rb", block_size: Any = None, **options: Any) -> Any:
        if mode == "rb":
            return _ReadFile(self, path, mode, block_size or "default", **options)
        if mode in ("wb", "xb"):
            pipe_mode = "create" if mode == "xb" else "overwrite"
            return _WrittenFile(
                path, mode, lambda file: self.pipe_file(path, file, mode=pipe_mode), options.get("autocommit", True)
            )
        raise NotImplementedError(f"a blob is read or written as a whole, so that the mode {mode} has no meaning")


class _ReadFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no annotations
    """One version of a blob, read in blocks."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        content: bytes = sync(self.fs.loop, self.fs._part, self.path, self.details["ETag"], start, end)
        return content


class _WrittenFile(io.BufferedIOBase):
    """File that becomes a blob when it is closed, and not when its `with` block raises.

    Args:
        path: The path.
        mode: The mode, as files have it.
        store: Stores the content of a file.
        autocommit: Store it at once; otherwise `commit` does, at the end of a transaction.
    """

    def __init__(self, path: str, mode: str, store: Callable[[Any], object], autocommit: bool) -> None:
        self.path, self.mode = path, mode
        self._store, self._autocommit = store, autocommit
        self._during = sys.exc_info()[1]
        """What is being handled while the file is opened, which is no failure of its block."""
        self._content = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # `discard` closes it

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._content.tell()

    def write(self, data: Any) -> int:
        """Write bytes."""
        return self._content.write(data)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write several pieces of bytes."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Store the blob, unless a block that raised is what closes the file."""
        if self.closed:
            return
        if _block_raised(self._during):
            self.discard()
            return
        super().close()
        if self._autocommit:
            self.commit()

    def commit(self) -> None:
        """Store the blob."""
        try:
            self._content.seek(0)
            self._store(self._content)
        finally:
            self._content.close()

    def discard(self) -> None:
        """Forget what was written."""
        self._autocommit = False
        self._content.close()
        super().close()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        self.discard()  # it was neither closed nor left in the ordinary way


class _WrittenText(io.TextIOWrapper):
    """The same for text."""

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.buffer.discard()  # type: ignore[attr-defined]  # it is a _WrittenFile


def _block_raised(known: BaseException | None) -> bool:
    """Return whether a `with` block is being left by an exception.

    `fsspec.open` and pandas close a file in their `__exit__` without saying how their block ended, and half of a file
    must not be taken for a whole one.

    Args:
        known: The exception that was already being handled when the file was opened.
    """
    error = sys.exc_info()[1]
    frame = None if error is None or error is known else sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "__exit__":
            given = [*frame.f_locals.values()]
            given += [part for value in given if isinstance(value, tuple) for part in value]
            if any(value is error for value in given):
                return True
        frame = frame.f_back
    return False


def _folder(key: str) -> dict[str, Any]:
    return {"name": key, "size": 0, "type": "directory"}


def _described(info: BlobInfo) -> dict[str, Any]:
    return {
        "name": info.key,
        "size": info.size,
        "type": "file",
        "created": info.created_at,
        "mtime": info.updated_at,
        "ETag": info.version,
        "mimetype": info.content_type,
    }
