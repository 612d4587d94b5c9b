"""The lock of a collection that every writer takes, of this and of other processes."""

# Descriptors, and paths in the hottest calls: pathlib has no form for the former, and costs more.
# ruff: noqa: PTH102, PTH112, PTH116, PTH120

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SUPPORTED = fcntl is not None
"""Whether this platform has locks that the kernel frees when their holder dies."""


@contextmanager
def held(path: str) -> Iterator[None]:
    """Hold the lock that a file stands for, waiting for it in the kernel's queue.

    The kernel frees it when the holder dies. A process that is forked meanwhile does not keep it.
    """
    descriptor = _acquire(path)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child holds a copy: closing ours alone would not free it
        os.close(descriptor)


def _acquire(path: str) -> int:
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # `destroy` removed the file while we waited: others lock a new one


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
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
