"""Local files, read and written with aiofiles."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from functools import partial
from os import PathLike
from typing import Any, TypeVar

from .._executor import own_threads
from .._places import replaceable
from .._shielding import shielded
from .._shortage import shortage
from .._threads import in_thread
from ..errors import missing_extra

T = TypeVar("T")


def _aiofiles() -> Any:
    try:
        import aiofiles  # noqa: PLC0415  # only files need it
    except ModuleNotFoundError as error:
        raise missing_extra("a blob from or to a file", "blobs", error) from error
    return aiofiles


@asynccontextmanager
async def reading(path: str | PathLike[str]) -> AsyncGenerator[Any, None]:
    """Open a file for the time of a block."""
    async with _opened(path, "rb") as file:
        yield file


async def write(path: str | PathLike[str], pieces: AsyncIterator[bytes]) -> None:
    """Write a file under a temporary name in its directory, and give it its own name when it is whole.

    A device or pipe is written to as it is.
    """
    target = await in_thread(replaceable, os.fspath(path))
    if target is None:
        async with _opened(path, "wb") as file:
            await _write(file, pieces)
        return
    temporary = f"{target}.{secrets.token_hex(8)}.part"
    try:
        async with _opened(temporary, "xb") as file:
            await _write(file, pieces)
        await in_thread(os.replace, temporary, target)
    except BaseException:
        await shielded(partial(in_thread, _remove, temporary), _ignored)
        raise


async def _write(file: Any, pieces: AsyncIterator[bytes]) -> None:
    async for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[await _naming_shortage(file.write(left)) :]


@asynccontextmanager
async def _opened(path: str | PathLike[str], mode: str) -> AsyncGenerator[Any, None]:
    name = os.fspath(path)  # an int would be a descriptor
    file = await _naming_shortage(_aiofiles().open(name, mode, buffering=0, executor=own_threads))
    try:
        yield file
    finally:  # aiofiles' own `async with` closes in a thread of the event loop
        await shielded(file.close, _ignored)


async def _naming_shortage(work: Awaitable[T]) -> T:
    """Await work on a file; where descriptors or room are used up, the error names it."""
    try:
        return await work
    except OSError as error:
        used_up = shortage(error)
        if used_up is None:
            raise
        raise used_up from error


def _ignored(_error: Exception) -> None:
    """Take the error of a removal that its caller does not wait for."""


def _remove(path: str) -> None:
    with suppress(OSError):  # it was not made, or has its own name by now
        os.unlink(path)  # noqa: PTH108  # as os.replace above
