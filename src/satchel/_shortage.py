"""Exhausted resources, recognized from an error: descriptors, threads, memory, disk space."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from .errors import StoreUnavailableError

FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG})
"""Error numbers of a file system, a quota or a limit that leaves no room."""

_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_NO_DESCRIPTORS = (
    "no file or connection can be opened, because this process or the machine has too many open: close some, "
    "or raise the limit (ulimit -n)"
)
_NO_ROOM = "there is no room for the write on the disk or in the user's quota: free some space; nothing was changed"
_NO_MEMORY = "the operating system has no more memory: use less, or allow the process more"
_NO_THREADS = "no thread can be started: end some, or raise the limit of threads and processes (ulimit -u)"


def shortage(error: BaseException) -> StoreUnavailableError | None:
    """Return the error that names what is used up, from an error or what caused it; None where it says nothing of it.

    The same call may succeed later, so that it is retryable, whatever store met it.
    """
    for cause in _causes(error):
        said = _said(cause)
        if said is not None:
            failure = StoreUnavailableError(said)
            failure.__cause__ = error
            return failure
    return None


def shortage_of_descriptors(needed: int) -> StoreUnavailableError | None:
    """Return the error for a process that cannot open a number of further files, by trying; None if it can.

    It is for drivers whose errors do not have the operating system's own: SQLite says only that it could not open a
    file. Sockets are tried, which an event loop's thread may open.
    """
    opened: list[socket.socket] = []
    try:
        while len(opened) < needed:
            opened.append(socket.socket())
    except OSError as error:
        return shortage(error)
    finally:
        for one in opened:
            one.close()
    return None


def _said(error: BaseException) -> str | None:
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    if isinstance(error, RuntimeError):  # Python has no type of its own for it
        return _NO_THREADS if "can't start new thread" in str(error) else None
    code = error.errno if isinstance(error, OSError) else None
    if code in _DESCRIPTORS:
        return _NO_DESCRIPTORS
    if code in FULL:
        return _NO_ROOM
    return _NO_MEMORY if code == errno.ENOMEM else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over an error and what led to it, each once, as a driver may wrap the operating system's in its own."""
    seen: set[int] = set()
    left = [error]
    while left:
        cause = left.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        wrapped = [cause.__cause__ or cause.__context__, *(getattr(cause, "errors", None) or ())]
        wrapped += cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
        left += [inner for inner in wrapped if isinstance(inner, BaseException)]
