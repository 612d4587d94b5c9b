"""Pickles that are signed, and bound to the digest of what they hold."""

from __future__ import annotations

import hmac
import io
import pickle
from collections.abc import Mapping
from typing import Any

from .._keyring import ID_SIZE, Keys, keyring, split_keys
from ..errors import ConfigurationError, IntegrityError, SerializationError
from .walk import Digest

_SIGNATURE_SIZE = 32
_DOMAIN = b"satchel content pickle 1\0"


def read_keys(keys: Keys | None) -> dict[bytes, bytes]:
    """Return the keys that sign pickles by their ids, the current one first.

    Raises:
        ConfigurationError: There are none, or one has another form. The message does not show it.
    """
    given = [] if keys is None else split_keys("keys", keys)
    if not given:
        return {}
    return keyring(given[0], given[1:])


class Pickles:
    """Signed pickles of any values, with cloudpickle if it is installed and the value needs it.

    Args:
        keys: The keys by their ids; the first signs, all verify.
    """

    def __init__(self, keys: Mapping[bytes, bytes]) -> None:
        self._keys = keys
        self._current = next(iter(keys))

    def encode(self, value: object, digest: Digest) -> bytes:
        """Return the signed pickle of a value.

        Raises:
            SerializationError: It cannot be pickled, or holds a `Digest`, which stands for a value of its own.
        """
        pickled = _pickled(value)
        return self._current + self._sign(self._current, digest, pickled) + pickled

    def is_current(self, body: bytes) -> bool:
        """Return whether the current key signed a pickle."""
        return body[:ID_SIZE] == self._current

    def decode(self, body: bytes, digest: Digest) -> Any:
        """Return the value of a pickle, after its signature was checked.

        Raises:
            IntegrityError: No key given signed this pickle for this digest; it was not unpickled.
            SerializationError: A class or a module has gone that it needs, or its code raised an error.
        """
        pickled = self.check(body, digest)
        try:
            return pickle.loads(pickled)  # noqa: S301  # the signature was checked, and the user chose pickle
        except Exception as error:  # an object's own code can raise anything
            raise SerializationError(
                f"the pickle of {digest} cannot be loaded: it raised {type(error).__name__}; a class, a function or a "
                "module that it needs may have been changed or removed"
            ) from error

    def check(self, body: bytes, digest: Digest) -> bytes:
        """Return a pickle without its signature, after that was checked.

        Raises:
            IntegrityError: No key given signed this pickle for this digest.
        """
        identity, signature = body[:ID_SIZE], body[ID_SIZE : ID_SIZE + _SIGNATURE_SIZE]
        pickled = body[ID_SIZE + _SIGNATURE_SIZE :]
        if identity not in self._keys:
            raise IntegrityError(
                f"the pickle of {digest} was signed with the key with the id {identity.hex()}, which is none of those "
                f"given: {', '.join(known.hex() for known in self._keys)}; it was not unpickled"
            )
        if not hmac.compare_digest(signature, self._sign(identity, digest, pickled)):
            raise IntegrityError(f"the signature of the pickle of {digest} does not match; it was not unpickled")
        return pickled

    def _sign(self, identity: bytes, digest: Digest, pickled: bytes) -> bytes:
        return hmac.digest(self._keys[identity], _DOMAIN + bytes.fromhex(digest) + pickled, "sha256")


def _pickled(value: object) -> bytes:
    try:
        return _dumped(_Pickler, value)
    except _RefusedError:
        raise
    except Exception as error:  # an object's own __reduce__ can raise anything
        try:
            import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415  # only what pickle refuses needs it
        except ImportError:
            raise SerializationError(
                f"this {type(value).__name__} cannot be pickled; cloudpickle may: pip install cloudpickle"
            ) from error

    class _CloudPickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
        def reducer_override(self, obj: Any) -> Any:
            _refuse_digest(obj)
            if type(obj) is memoryview:
                raise _RefusedError("a pickle cannot hold a memoryview; give its bytes")
            return super().reducer_override(obj)

    try:
        return _dumped(_CloudPickler, value)
    except _RefusedError:
        raise
    except Exception as error:  # as above
        raise SerializationError(f"this {type(value).__name__} cannot be pickled") from error


class _RefusedError(SerializationError):
    """A pickle would not come back as the value."""


def _refuse_digest(value: object) -> None:
    if type(value) is Digest:
        raise _RefusedError("a pickle cannot hold a Digest, which stands for the value that it is of; load it first")


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        _refuse_digest(obj)
        return NotImplemented


def _dumped(kind: Any, value: object) -> bytes:
    buffer = io.BytesIO()
    kind(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def check_leaf_keys(leaf: str, keys: Mapping[bytes, bytes]) -> None:
    """Raise unless there are keys where pickles are written.

    Raises:
        ConfigurationError: Pickles are to be written without a key.
    """
    if leaf == "pickle" and not keys:
        raise ConfigurationError('leaf="pickle" needs keys=[...]: 32 secret bytes each, secrets.token_bytes(32)')
