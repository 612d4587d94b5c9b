"""Keys of which one is current: under it values are put, and under all of them they are read."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Iterable

from .errors import ConfigurationError

KEY_SIZE = 32
ID_SIZE = 8

_SEPARATOR = re.compile(r"[,\s]+")
_FORMS = "32 bytes, or as text these in base64 or 64 hexadecimal digits; make one with secrets.token_hex(32)"

Keys = Iterable[bytes | str] | str
"""Several keys. As one text they are separated by commas or white space."""


def keyring(key: bytes | str, other_keys: Keys) -> dict[bytes, bytes]:
    """Return keys by their ids, the current one first.

    Raises:
        ConfigurationError: One is not of a form that a key has. The message does not show it.
    """
    others = split_keys("other_keys", other_keys)
    keys = [_read("key", key), *(_read("each of other_keys", other) for other in others)]
    return {key_id(secret): secret for secret in keys}


def split_keys(option: str, keys: Keys) -> list[bytes | str]:
    """Return keys that may be given as one text, one by one.

    Raises:
        ConfigurationError: It is one key as bytes, or nothing that holds keys.
    """
    if isinstance(keys, str):
        return [text for text in _SEPARATOR.split(keys) if text]
    if isinstance(keys, (bytes, bytearray)) or not isinstance(keys, Iterable):
        raise ConfigurationError(f"{option} must be a list of keys, got {type(keys).__name__}")
    return list(keys)


def key_id(key: bytes) -> bytes:
    """Return the id of a key, which says nothing of it: the beginning of a MAC under it."""
    return hmac.digest(key, b"satchel key id 1", "sha256")[:ID_SIZE]


def _read(option: str, key: object) -> bytes:
    secret = key if isinstance(key, bytes) else _decoded(key.strip()) if isinstance(key, str) else None
    if secret is None or len(secret) != KEY_SIZE:
        raise ConfigurationError(f"{option} must be {_FORMS}")
    return bytes(secret)


def _decoded(text: str) -> bytes | None:
    try:
        if len(text) == 2 * KEY_SIZE:
            return binascii.unhexlify(text)
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        return base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True)
    except ValueError:
        return None
