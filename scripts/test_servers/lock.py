"""One process at a time: what two shells do at once must not meet half-way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait until nobody else, in this process or another, is within this for the same file.

    The file stays: who removed it could leave two behind that each hold a lock on a file of that name. A process that
    ends lets go, however it ends.
    """
    import fcntl  # noqa: PLC0415  # Windows has none, where this module is imported and no server started

    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
