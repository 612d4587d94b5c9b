"""What both ends of the REST interface need: the codes of errors, and versions as entity tags (`docs/rest.md`)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .errors import (
    CircuitOpenError,
    ConfigurationError,
    ConflictError,
    DecryptionError,
    IntegrityError,
    InvalidKeyError,
    InvalidTTLError,
    QueueFullError,
    ReadOnlyError,
    SatchelError,
    SerializationError,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    UnsupportedOperationError,
    ValueTooLargeError,
)

API: Final = "1"
"""The version of the interface, in the header `Satchel-API` of every answer."""

ERRORS: Final[dict[str, tuple[int, type[SatchelError]]]] = {
    "invalid_key": (400, InvalidKeyError),
    "invalid_ttl": (400, InvalidTTLError),
    "read_only": (403, ReadOnlyError),
    "conflict": (409, ConflictError),
    "value_too_large": (413, ValueTooLargeError),
    "unserializable": (422, SerializationError),
    "damaged": (500, IntegrityError),
    "undecryptable": (500, DecryptionError),
    "misconfigured": (500, ConfigurationError),
    "unsupported": (501, UnsupportedOperationError),
    "store_failed": (502, StoreError),
    "store_unavailable": (503, StoreUnavailableError),
    "circuit_open": (503, CircuitOpenError),
    "store_closed": (503, StoreClosedError),
    "queue_full": (503, QueueFullError),
    "store_timeout": (504, StoreTimeoutError),
}
"""The status and the class of each code that stands for an error of satchel."""

_TAG = re.compile(r'"([\x21\x23-\x7e]*)"')
_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def quote_version(version: str) -> str:
    """Return a version as an entity tag, in quotes."""
    return f'"{quote_from_bytes(version.encode("utf-8", "surrogatepass"), _SAFE)}"'


def unquote_version(tag: str) -> str | None:
    """Return the version of an entity tag; None for anything else, such as a weak tag or several."""
    match = _TAG.fullmatch(tag.strip())
    try:
        return None if match is None else unquote_to_bytes(match[1]).decode()
    except UnicodeDecodeError:
        return None
