"""`Entry`: a value with what the store knows about it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic

import msgspec

if TYPE_CHECKING:
    # Type checkers carry typing_extensions with them; at run time a default for the variable is not needed.
    from typing_extensions import TypeVar

    T_co = TypeVar("T_co", default=Any, covariant=True)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)


class Entry(msgspec.Struct, Generic[T_co], frozen=True, kw_only=True):
    """Value together with its version, times and size.

    A store gives an `Entry` of anything, a `Collection[User]` an `Entry[User]`.

    Attributes:
        value: What was put.
        version: Identifies the write that made this entry. It is opaque: compare it, pass it to `compare_and_put`.
        updated_at: When the entry was put, an aware UTC datetime.
        expires_at: When it expires, an aware UTC datetime, or None.
        ttl: Seconds left when it was read, or None.
        size: Bytes of the encoded value in the backend, without header and names.
    """

    value: T_co
    version: str
    updated_at: datetime
    expires_at: datetime | None
    ttl: float | None
    size: int

    def __repr__(self) -> str:
        return f"Entry(version={self.version!r}, expires_at={self.expires_at}, size={self.size})"
