"""Local files, read and written with aiofiles."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from os import PathLike
from typing import Any

from .._places import replaceable
from .._shielding import shielded
from .._threads import in_thread
from ..errors import missing_extra


def _aiofiles() -> Any:
    try:
        import aiofiles.os  # noqa: PLC0415  # only files need it
    except ModuleNotFoundError as error:
        raise missing_extra("a blob from or to a file", "blobs", error) from error
    return aiofiles


@asynccontextmanager
async def reading(path: str | PathLike[str]) -> AsyncGenerator[Any, None]:
    """Open a file for the time of a block."""
    async with _aiofiles().open(os.fspath(path), "rb", buffering=0) as file:  # an int would be a descriptor
        yield file


async def write(path: str | PathLike[str], pieces: AsyncIterator[bytes]) -> None:
    """Write a file under a temporary name in its directory, and give it its own name when it is whole.

    A device or pipe is written to as it is.
    """
    aiofiles = _aiofiles()
    target = await in_thread(replaceable, os.fspath(path))
    if target is None:
        async with aiofiles.open(path, "wb", buffering=0) as file:
            await _write(file, pieces)
        return
    temporary = f"{target}.{secrets.token_hex(8)}.part"
    try:
        async with aiofiles.open(temporary, "xb", buffering=0) as file:
            await _write(file, pieces)
        await aiofiles.os.replace(temporary, target)
    except BaseException:
        await shielded(partial(in_thread, _remove, temporary), _ignored)
        raise


async def _write(file: Any, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[await file.write(left) :]


def _ignored(_error: Exception) -> None:
    """Take the error of a removal that its caller does not wait for."""


def _remove(path: str) -> None:
    with suppress(OSError):  # it was not made, or has its own name by now
        os.unlink(path)  # noqa: PTH108  # one name for what aiofiles.os and os do
