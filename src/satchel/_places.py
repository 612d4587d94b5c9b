"""Directories that stores are given, settled once: which one is meant must not depend on when it is used."""

from __future__ import annotations

from pathlib import Path

from .errors import ConfigurationError


def settled(directory: str, name: str) -> Path:
    """Return the absolute path of a directory, with a leading `~` or `~user` as that user's home.

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
