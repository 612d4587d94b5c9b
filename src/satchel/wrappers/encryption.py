"""`EncryptionWrapper`: values that only those with the key can read (`?wrap=encryption(key_env=APP_KEY)`)."""

from __future__ import annotations

import os
from typing import Any

from .._keyring import Keys, keyring
from ..errors import DecryptionError, ValueTooLargeError, missing_extra
from ..protocol import AsyncKeyValue
from ._sealing import SealingWrapper

_NONCE_SIZE, _TAG_SIZE = 12, 16
_MAX_SIZE = 2**31 - 1 - _TAG_SIZE


class EncryptionWrapper(SealingWrapper):
    """Wrapper that encrypts every value with AES-256-GCM, bound to its key and collection.

    Collections, keys, times and the sizes of values stay visible. One key must not encrypt more than 2**32 values, as
    the nonces are random: use a new one before that.

    Args:
        inner: The wrapped store.
        key: The current key, used to encrypt: 32 bytes, or as text in base64 or hexadecimal.
        other_keys: Further keys, used only to decrypt: older ones, or the next one. As one text, separated by commas.

    Raises:
        ConfigurationError: A key has another form. The message does not show it.
        MissingExtraError: The package `cryptography` is not installed.
        DecryptionError: When reading: the value was changed or moved, or its key is not among those given.
        IntegrityError: When reading: the value was not put through this wrapper.
    """

    _magic = b"\x89E"
    _overhead = _NONCE_SIZE + _TAG_SIZE
    _unreadable = DecryptionError

    def __init__(self, inner: AsyncKeyValue, *, key: bytes | str, other_keys: Keys = ()) -> None:
        try:
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # only this wrapper needs it
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # as above
        except ModuleNotFoundError as error:
            raise missing_extra("EncryptionWrapper", "encryption", error) from error
        self._invalid_tag = InvalidTag
        super().__init__(inner, {key_id: AESGCM(secret) for key_id, secret in keyring(key, other_keys).items()})

    def _seal(self, key: Any, associated: bytes, body: bytes) -> bytes:
        if len(body) > _MAX_SIZE:
            raise ValueTooLargeError(f"the encoded value has {len(body)} bytes, AES-GCM takes at most {_MAX_SIZE}")
        nonce = os.urandom(_NONCE_SIZE)
        return nonce + key.encrypt(nonce, body, associated)  # type: ignore[no-any-return]  # an AESGCM gives bytes

    def _unseal(self, key: Any, associated: bytes, sealed: bytes) -> bytes:
        try:
            return key.decrypt(sealed[:_NONCE_SIZE], sealed[_NONCE_SIZE:], associated)  # type: ignore[no-any-return]  # as above
        except self._invalid_tag:
            raise DecryptionError(
                "the value cannot be decrypted: it was changed, or was put under another key or collection"
            ) from None
