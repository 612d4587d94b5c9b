"""What failures of the file system mean for the user of a file tree store."""

from __future__ import annotations

import errno
import os

from ..errors import SatchelError, StoreError, StoreUnavailableError

UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Error numbers of a place where this process may not write."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_FILES = {errno.EMFILE, errno.ENFILE}
_WRONG_KIND = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP}


def problem(error: OSError, where: str) -> SatchelError:
    """Return the satchel error that says what is wrong in a directory."""
    code = error.errno
    if code in _NO_FILES:
        failure: StoreError = StoreUnavailableError("this process has too many files open; raise its limit")
    elif code in _NO_ROOM:
        failure = StoreError(f"there is no room for this file in {where}; free some, the entry is as it was")
    elif code in UNWRITABLE:
        failure = StoreError(f"{where} may not be read or written; look at its owner, mode and mount options")
    elif code in _WRONG_KIND:
        failure = StoreError(f"in {where} a file or link is where a directory should be, or the reverse; move it")
    else:
        failure = StoreUnavailableError(f"the file system of {where} failed: {os.strerror(code or 0)}")
    failure.__cause__ = error
    return failure
