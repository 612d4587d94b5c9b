"""What dulwich and the file system say went wrong, in satchel's errors."""

from __future__ import annotations

import errno
import os

from dulwich.errors import NotGitRepository
from dulwich.file import FileLocked
from dulwich.repo import UnsupportedExtension, UnsupportedVersion

from ..._shortage import shortage
from ...errors import ConfigurationError, SatchelError, StoreError, StoreUnavailableError

_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def translate(error: Exception, path: str) -> SatchelError | None:
    """Return the satchel error for one of dulwich's or the file system's; None for those that are neither.

    Args:
        error: The error raised.
        path: The path of the repository.
    """
    if isinstance(error, NotGitRepository):
        return ConfigurationError(f"{path} is not a git repository; give the path of one, or of an empty directory")
    if isinstance(error, (UnsupportedVersion, UnsupportedExtension)):
        return ConfigurationError(f"{path} is a git repository of a kind that dulwich does not know")
    if isinstance(error, FileLocked):
        lock = os.fsdecode(error.lockfilename)
        return StoreUnavailableError(
            f"{lock} is there: another process is at work, or was killed at work; if none is, remove that file"
        )
    if isinstance(error, OSError):
        return shortage(error) or _of_file_system(error, path)
    return None


def _of_file_system(error: OSError, path: str) -> SatchelError:
    if error.errno in _NOT_ALLOWED:
        return StoreError(f"{path} may not be read or written; look at its owner, mode and mount options")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return StoreError(f"{path} is not there, or a part of it is not; close the store and make a new one")
    return StoreUnavailableError(f"the file system of {path} failed: {os.strerror(error.errno or 0)}")
