"""`SigningWrapper`: values that only those with the key can make or change (`?wrap=signing(key_env=APP_KEY)`)."""

from __future__ import annotations

import hmac

from .._keyring import Keys, keyring
from ..errors import IntegrityError
from ..protocol import AsyncKeyValue
from ._sealing import SealingWrapper

_SIZE = 32


class SigningWrapper(SealingWrapper):
    """Wrapper that signs every value with HMAC-SHA256, bound to its key and collection.

    Values stay readable. An older value of the same entry, put back by someone who can write to the store, is accepted.

    Args:
        inner: The wrapped store.
        key: The current key, under which values are put: 32 bytes, or as text these in base64 or hexadecimal.
        other_keys: Further keys, under which values are read: older ones, or the next one. As one text they are
            separated by commas.

    Raises:
        ConfigurationError: A key has another form. The message does not show it.
        IntegrityError: By reading: the value was changed or moved, its key is none of those given, or it was not put
            through this.
    """

    _magic = b"\x89H"
    _overhead = _SIZE
    _unreadable = IntegrityError

    def __init__(self, inner: AsyncKeyValue, *, key: bytes | str, other_keys: Keys = ()) -> None:
        super().__init__(inner, keyring(key, other_keys))

    def _seal(self, key: bytes, associated: bytes, body: bytes) -> bytes:
        return _signature(key, associated, body) + body

    def _unseal(self, key: bytes, associated: bytes, sealed: bytes) -> bytes:
        signature, body = sealed[:_SIZE], sealed[_SIZE:]
        if not hmac.compare_digest(signature, _signature(key, associated, body)):
            raise IntegrityError(
                "the signature of the value does not match: it was changed, or was put under another key or collection"
            )
        return body


def _signature(key: bytes, associated: bytes, body: bytes) -> bytes:
    return hmac.digest(key, associated + body, "sha256")
