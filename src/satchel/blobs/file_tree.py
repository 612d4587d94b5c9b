"""The directory of `FileBlobs`: plain calls of the operating system, made in threads.

Each level of a path is opened relative to the one above it and without following links, so that no key and no link
leads out of the directory. What is being written is in `.satchel/uploads`, which no key leads to. Names are given and
taken away under a lock between processes, so that a condition still holds when its write appears.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ..errors import ConfigurationError, StoreError, UploadLostError
from ..stores.filetree.layout import settle
from ..stores.filetree.system import DIRECTORY, NO_LINK, NO_WAIT, NOT_INHERITED, UNWRITABLE, held, make_directory
from .levels import READABLE, KeyPaths

ABANDONED_SECONDS = 3600.0
"""Age of an upload whose writer is taken for dead."""

_LONGEST_PATH = 3500
"""Bytes, which leave room for the directory in what systems take."""
_FOLDER = os.O_RDONLY | DIRECTORY | NO_LINK | NOT_INHERITED
# A named pipe must not hold up its reader.
_READING = os.O_RDONLY | NO_LINK | NO_WAIT | NOT_INHERITED
_CLOSED = -1
_NOTHING_THERE = (FileNotFoundError, NotADirectoryError)


class OpenFile:
    """File of a blob that is open for reading.

    Attributes:
        descriptor: Its descriptor.
        status: Its status.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.status = os.fstat(descriptor)

    def close(self) -> None:
        """Close the file."""
        descriptor, self.descriptor = self.descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()  # a reader was cancelled while a thread was opening it


def version_of(status: os.stat_result) -> str:
    """Return what identifies the content of a file."""
    return f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"


class BlobFolder:
    """Directory that holds blobs as files, by their keys.

    Args:
        root: The absolute path of the directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._own = root / ".satchel"
        self.uploads = self._own / "uploads"
        self._paths: KeyPaths | None = None

    @property
    def paths(self) -> KeyPaths:
        """How keys become paths on this file system; the first call makes the directory."""
        if self._paths is None:
            self._paths = self._opened()
        return self._paths

    def path(self, key: str) -> Path:
        """Return the path of a key's file."""
        return self.root.joinpath(*self.paths.levels(key))

    def find(self, key: str) -> OpenFile | None:
        """Open the file of a blob; None when there is none."""
        *folders, name = self.paths.levels(key)
        try:
            with self._folder(folders) as folder:
                descriptor = os.open(name, _READING, dir_fd=folder)
        except _NOTHING_THERE:
            return None
        except OSError:
            if self.status(key) is None:  # a link, or something that is no file
                return None
            raise
        file = OpenFile(descriptor)
        if stat.S_ISREG(file.status.st_mode):
            return file
        file.close()
        return None

    def status(self, key: str) -> os.stat_result | None:
        """Return the status of a blob's file; None when there is none."""
        *folders, name = self.paths.levels(key)
        try:
            with self._folder(folders) as folder:
                return _status(name, folder)
        except _NOTHING_THERE:
            return None

    def rename(self, source: str, target: str, if_absent: bool) -> os.stat_result | None:
        """Give a blob another key, and return its status; None if it is not there, or if the other must not be."""
        *folders, name = self.paths.levels(source)
        *new_folders, new_name = self.paths.levels(target)
        with self.locked():
            if self.status(source) is None or (if_absent and self.status(target) is not None):
                return None
            with self._folder(folders) as folder, self._folder(new_folders, create=True) as new_folder:
                os.replace(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)
            self._remove_empty(folders)
            return self.status(target)

    def delete(self, key: str, version: str | None) -> bool:
        """Remove the file of a blob, with a version only if it has that one, and the folders that this leaves empty."""
        *folders, name = self.paths.levels(key)
        with self.locked():
            status = self.status(key)
            if status is None or version not in (None, version_of(status)):
                return False
            with self._folder(folders) as folder:
                os.unlink(name, dir_fd=folder)
            self._remove_empty(folders)
        return True

    def children(self, levels: Sequence[str]) -> list[tuple[str, str]]:
        """Return the part of a key and the name of each file and folder in a folder, sorted by the part.

        The part of a folder ends in a slash.
        """
        children: list[tuple[str, str]] = []
        try:
            with self._folder(levels) as folder, os.scandir(folder) as found:
                for item in found:
                    part = self.paths.level(item.name)
                    if part is None:
                        continue
                    if item.is_dir(follow_symlinks=False):
                        children.append((f"{part}/", item.name))
                    elif item.is_file(follow_symlinks=False) and (part or levels):
                        children.append((part, item.name))
        except _NOTHING_THERE:
            return []
        return sorted(children)

    def sweep(self) -> int:
        """Remove uploads whose writers are dead, and return how many."""
        self.paths  # noqa: B018  # makes the directory
        return self._sweep()

    def publish(self, upload: Path, key: str, if_absent: bool, if_version: str | None) -> bool:
        """Give an upload its name in one step, and return whether the condition held."""
        *folders, name = self.paths.levels(key)
        with self.locked():
            status = self.status(key) if if_absent or if_version is not None else None
            if if_absent and status is not None:
                return False
            if if_version is not None and (status is None or version_of(status) != if_version):
                return False
            with self._folder(folders, create=True) as folder:
                try:
                    os.replace(upload, name, dst_dir_fd=folder)
                except FileNotFoundError:
                    raise UploadLostError("the upload stood still for an hour, and was removed; begin again") from None
        return True

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock under which names are given and taken away."""
        os.close(self._open_root())  # the lock would be made together with a directory that was removed
        return held(str(self._own / "blobs.lock"))

    def _opened(self) -> KeyPaths:
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            make_directory(str(self.uploads))
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
        layout, safe = settle(str(self.root), str(self._own))
        if not safe:
            raise ConfigurationError(
                f"{self.root} was copied to a file system that treats different names of its files as one; "
                "copy it to one like that on which it was made"
            )
        with suppress(OSError):  # it may be read-only
            self._sweep()
        escaping = replace(layout.escaping, safe=layout.escaping.safe | READABLE)
        return KeyPaths(escaping, layout.max_name_bytes, _LONGEST_PATH)

    def _sweep(self) -> int:
        count = 0
        for upload in self.uploads.iterdir():
            with suppress(FileNotFoundError):
                if upload.lstat().st_mtime + ABANDONED_SECONDS < time.time():
                    upload.unlink()
                    count += 1
        return count

    @contextmanager
    def _folder(self, levels: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """Open a folder, made if asked for; what is in the way raises an `OSError`."""
        descriptor = self._open_root()
        try:
            for level in levels:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(level, dir_fd=descriptor)
                below = os.open(level, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _open_root(self) -> int:
        self.paths  # noqa: B018  # makes the directory
        try:
            return os.open(self.root, os.O_RDONLY | DIRECTORY | NOT_INHERITED)
        except FileNotFoundError:
            raise StoreError(f"{self.root} was removed while it was open; make it again") from None

    def _remove_empty(self, levels: Sequence[str]) -> None:
        """Remove a folder and those above it that are empty."""
        for length in range(len(levels), 0, -1):
            try:
                with self._folder(levels[: length - 1]) as above:
                    os.rmdir(levels[length - 1], dir_fd=above)
            except OSError:
                return


class FileUpload:
    """File that is being written, and that gets its own name at the end.

    Args:
        tree: Where it is.
        key: The key of the blob.
    """

    def __init__(self, tree: BlobFolder, key: str) -> None:
        self._tree, self._key = tree, key
        self._path = tree.uploads / f"{secrets.token_hex(16)}.part"
        self._descriptor = _CLOSED

    def begin(self) -> None:
        """Make the file."""
        self._tree.paths.levels(self._key)  # a key that is too long is refused before anything is written
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOT_INHERITED, 0o666)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Write bytes."""
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def publish(self, if_absent: bool, if_version: str | None) -> os.stat_result | None:
        """Give the file its own name, and return its status; None when the condition did not hold."""
        now = time.time_ns()
        os.utime(self._descriptor, ns=(now, now))  # the system's own times are coarse, and two versions must differ
        status = os.fstat(self._descriptor)
        return status if self._tree.publish(self._path, self._key, if_absent, if_version) else None

    def end(self) -> None:
        """Close the file, and remove it if it did not get its own name."""
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)
            self._path.unlink(missing_ok=True)


def _status(name: str, folder: int) -> os.stat_result | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None
