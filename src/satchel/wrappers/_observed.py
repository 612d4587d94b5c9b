"""What wrappers that observe calls share: how they name errors, names and sizes."""

from __future__ import annotations

from typing import Any

import msgspec

from .._threads import offload
from ..codec import LARGE, rough_size
from ..entry import Entry
from ..errors import BatchError, InvalidKeyError
from ..names import check_name

_encode = msgspec.json.Encoder().encode


def kind_of(error: BaseException) -> str:
    """Return the class of an error by name: of a batch whose keys all failed alike, that of each."""
    kinds = {type(failure) for failure in error.failed.values()} if isinstance(error, BatchError) else set()
    return (kinds.pop() if len(kinds) == 1 else type(error)).__name__


def legal(name: Any) -> str | None:
    """Return a name if it is a legal one: what a caller gave may be anything, of any length."""
    try:
        return check_name(name, "name")
    except InvalidKeyError:
        return None


async def size_of(value: Any) -> int:
    """Return the bytes of a value, as JSON unless it is `bytes`; those in the backend of an `Entry`."""
    if type(value) is bytes:
        return len(value)
    if type(value) is Entry:
        return value.size
    try:
        if rough_size(value) >= LARGE:
            return len(await offload(_encode, value))
        return len(_encode(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return 0  # a codec of the user's own keeps what JSON cannot represent
