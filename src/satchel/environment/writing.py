"""Writing of `.env` files that are read back equal."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .._places import replaceable
from ..errors import InvalidSettingError
from .interpolation import escaped


def write_env(path: Path, texts: Mapping[str, str], *, append: bool) -> None:
    """Write variables to a `.env` file, whole or not at all; a device or pipe is written to as it is.

    Raises:
        InvalidSettingError: A name cannot stand in such a file, or the file cannot be written.
    """
    lines = "".join(_line(name, text) for name, text in texts.items()).encode()
    try:
        _write(path, lines, append=append)
    except OSError as error:
        raise InvalidSettingError(f"{path} cannot be written: {error.strerror}") from error


def _write(path: Path, lines: bytes, *, append: bool) -> None:
    target = replaceable(path)
    if target is None:
        path.write_bytes(lines)
        return
    before = target.read_bytes() if append and target.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    _replace(target, before + lines)


def _line(name: str, text: str) -> str:
    if name.startswith("'") or "'" in name or any(letter.isspace() or letter == "#" for letter in name):
        raise InvalidSettingError(f"{name!r} cannot be the name of a variable in a .env file; nothing was written")
    quoted = escaped(text).replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{quoted}'\n"


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            Path(temporary).chmod(path.stat().st_mode & 0o777)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
