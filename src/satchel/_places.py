"""Paths that satchel is given: which directory or file is meant, and how a file may be replaced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import ConfigurationError


def settled(directory: str, name: str) -> Path:
    """Return the absolute path of a directory, with a leading `~` or `~user` as that user's home.

    It is settled once, because which directory is meant must not depend on when it is used.

    Raises:
        ConfigurationError: The home, or the working directory of a relative path, is not known.
    """
    try:
        path = Path(directory)
        if directory.startswith("~"):  # `./~` is no home, but becomes `~` in a Path
            path = path.expanduser()
        return path.absolute()
    except RuntimeError:
        raise ConfigurationError(f"{name} begins with a user's home that is not known; give an absolute path") from None
    except FileNotFoundError:
        raise ConfigurationError(
            f"{name} is relative to a working directory that is gone; give an absolute path"
        ) from None


def replaceable(path: str | os.PathLike[str]) -> Path | None:
    """Return the path of the file that a new one may replace, behind links; None for a device or pipe. It blocks.

    A file that appears when it is whole gets its name by renaming, which would replace the link or device itself.
    """
    given = Path(path)
    target = Path(os.path.realpath(given)) if given.is_symlink() else given
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return target
    return target if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else None
