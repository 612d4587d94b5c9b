"""Operating system functions of the file tree store: locks between processes, directories, errors."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from ..._forks import at_fork
from ..._shortage import shortage
from ...errors import SatchelError, StoreError, StoreUnavailableError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module is what is expected here

# Windows has none of these; modules are imported there all the same.
DIRECTORY, NO_LINK, NO_WAIT, NOT_INHERITED = (
    getattr(os, flag, 0) for flag in ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")
)

SUPPORTED = fcntl is not None and bool(DIRECTORY and NO_LINK) and os.open in os.supports_dir_fd
"""Whether this platform has locks that the kernel frees when their holder dies, and descriptors of directories."""

UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Error numbers of a place where this process may not write."""

BUSY_SECONDS = 10.0
"""How long a lock is waited for that another process holds."""

_LOCK = ".lock"
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.01  # seconds between two tries
_NO_PLACE = {errno.ENOENT, errno.ENAMETOOLONG}
_WRONG_KIND = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP}


def _forever() -> bool:
    return True


@contextmanager
def held(path: str, is_wanted: Callable[[], bool] = _forever) -> Iterator[None]:
    """Hold the lock that a file stands for, waiting `BUSY_SECONDS` at most, and no longer than it is wanted.

    The kernel frees it when the holder dies. A process that is forked meanwhile does not keep it.

    Raises:
        StoreUnavailableError: Another process, or another store of this one, holds it all the time.
    """
    descriptor = _acquire(path, is_wanted)
    _locked.add(descriptor)
    try:
        yield
    finally:
        _locked.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child holds a copy: closing ours alone would not free it
        os.close(descriptor)


_locked: set[int] = set()
"""The descriptors by which this process holds locks."""


def _close_copies() -> None:
    """In a child of `fork`: hold no lock any longer than the parent does, should that one be killed."""
    while _locked:
        os.close(_locked.pop())


at_fork(after_in_child=_close_copies)


def _acquire(path: str, is_wanted: Callable[[], bool]) -> int:
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        descriptor = _open(path)
        try:
            # The kernel's own queue would be fairer, but nothing ends a thread's wait in it.
            pause = _SHORTEST_PAUSE
            while not _try(descriptor):
                if time.monotonic() > give_up or not is_wanted():
                    raise StoreUnavailableError(
                        f"{path} is held by another process or store, for which this one waits {BUSY_SECONDS:.0f} s "
                        "at most; end it or let it go on, and try again"
                    )
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # `destroy` removed the file while we waited: others lock a new one


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | NOT_INHERITED | NO_LINK
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:  # somebody removed the whole tree
        make_directory(os.path.dirname(path))
        return os.open(path, flags, 0o600)


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class Locks:
    """Locks of collections, a file each, named after the collection's directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.patient = True
        """Whether to wait for a lock that another process holds."""

    def held(self, folder: str) -> AbstractContextManager[None]:
        """Hold the lock of a directory."""
        return held(self._path(folder), lambda: self.patient)

    def held_at_once(self, folder: str) -> AbstractContextManager[None]:
        """Hold the lock of a directory, if nobody else holds it."""
        return held(self._path(folder), lambda: False)

    def has(self, folder: str) -> bool:
        """Return whether there is a lock for a directory."""
        return os.path.lexists(self._path(folder))

    def remove(self, folder: str) -> None:
        """Remove a lock that is held; its holder changes nothing more."""
        with suppress(FileNotFoundError):
            os.unlink(self._path(folder))

    def folders(self) -> list[str]:
        """Return the directories for which there are locks."""
        try:
            return [name.removesuffix(_LOCK) for name in os.listdir(self.directory)]
        except FileNotFoundError:
            return []

    def _path(self, folder: str) -> str:
        return os.path.join(self.directory, folder + _LOCK)


def refuse_replaced(opened: dict[str, os.stat_result]) -> None:
    """Raise `StoreError` when one of the directories is no longer the one that was opened."""
    for path, status in opened.items():
        try:
            same = os.path.samestat(os.stat(path), status)
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise StoreError(f"{path} was removed or replaced while it was open; close the store and make a new one")


def make_directory(path: str) -> None:
    """Make a directory and those above it, for this user alone."""
    if not os.path.isdir(path):
        above = os.path.dirname(path)
        if above != path:
            make_directory(above)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):
                raise


def problem(error: OSError, where: str) -> SatchelError:
    """Return the satchel error for a fault in a directory."""
    used_up = shortage(error)
    if used_up is not None:
        return used_up
    code = error.errno
    if code == errno.EROFS:
        failure: StoreError = StoreError(f"{where} is on a read-only file system: it can be read, not changed")
    elif code in UNWRITABLE:
        failure = StoreError(f"{where} may not be read or written; look at its owner, mode and mount options")
    elif code in _NO_PLACE:
        failure = StoreError(f"{where} is not there, or its path is too long; make it, or take a shorter one")
    elif code in _WRONG_KIND:
        failure = StoreError(f"in {where} a file or link is where a directory should be, or the reverse; move it")
    else:
        failure = StoreUnavailableError(f"the file system of {where} failed: {os.strerror(code or 0)}")
    failure.__cause__ = error
    return failure
