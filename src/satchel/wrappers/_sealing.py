"""`SealingWrapper`: what encryption and signing share, frames that are made with a key and bound to an entry's names.

Such a frame begins with 12 bytes: the wrapper's magic, the format, the kind of the value, and the id of the key. The
rest is the wrapper's own. `docs/format.md` describes it.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from .._keyring import ID_SIZE
from ..codec import LARGE
from ..errors import IntegrityError
from ..names import Ref
from ..protocol import AsyncKeyValue
from ._frames import body_if_small, body_of, framed_names, value_of
from ._rotation import RotatingWrapper
from .call import IN_WORKER

FORMAT = 1

_HEADER = struct.Struct(f">2sBB{ID_SIZE}s")


class SealingWrapper(RotatingWrapper, ABC):
    """Base class for wrappers that keep every value in a frame made with a key.

    Args:
        inner: The wrapped store.
        keys: By their ids, in the form that `_seal` and `_unseal` take; new values are put under the first.
    """

    _magic: ClassVar[bytes]
    _overhead: ClassVar[int]
    """What a sealed body is longer than the body."""
    _unreadable: ClassVar[type[IntegrityError]]
    """Says that a frame cannot be read with the keys given."""

    def __init__(self, inner: AsyncKeyValue, keys: Mapping[bytes, Any]) -> None:
        self._keys = keys
        self._current_key = next(iter(keys))
        super().__init__(inner)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys in hexadecimal, the current one first. They are no secrets."""
        return tuple(key_id.hex() for key_id in self._keys)

    @abstractmethod
    def _seal(self, key: Any, associated: bytes, body: bytes) -> bytes:
        """Return the bytes that follow a frame's header: `body`, bound to what it is associated with."""

    @abstractmethod
    def _unseal(self, key: Any, associated: bytes, sealed: bytes) -> bytes:
        """Return the body of which `_seal` made these bytes, or raise `_unreadable`."""

    def _encode_if_small(self, ref: Ref, value: object) -> object:
        body = body_if_small(value)
        return IN_WORKER if body is None else self._sealed(ref, *body)

    def _encode(self, ref: Ref, value: object) -> object:
        return self._sealed(ref, *body_of(value))

    def _decode_if_small(self, ref: Ref, value: Any) -> Any:
        return IN_WORKER if type(value) is bytes and len(value) >= LARGE else self._decode(ref, value)

    def _decode(self, ref: Ref, value: Any) -> Any:
        return value_of(*self._unsealed(ref, value))

    def _reencrypt_if_stale(self, ref: Ref, frame: Any) -> Any:
        if self._read_header(frame)[1] == self._current_key:
            return None
        return IN_WORKER if len(frame) >= LARGE else self._reencrypt(ref, frame)

    def _reencrypt(self, ref: Ref, frame: bytes) -> bytes:
        return self._sealed(ref, *self._unsealed(ref, frame))

    def _sealed(self, ref: Ref, kind: int, body: bytes) -> bytes:
        header = _HEADER.pack(self._magic, FORMAT, kind, self._current_key)
        return header + self._seal(self._keys[self._current_key], header + framed_names(ref), body)

    def _unsealed(self, ref: Ref, frame: object) -> tuple[int, bytes]:
        kind, key_id = self._read_header(frame)
        key = self._keys.get(key_id)
        if key is None:
            raise self._unreadable(
                f"the value was put under the key with the id {key_id.hex()}, which is none of those given: "
                f"{', '.join(self.key_ids)}"
            )
        header, sealed = frame[: _HEADER.size], frame[_HEADER.size :]  # type: ignore[index]  # a header was read: it is bytes
        return kind, self._unseal(key, header + framed_names(ref), sealed)

    def _read_header(self, frame: object) -> tuple[int, bytes]:
        if type(frame) is not bytes or not frame.startswith(self._magic):
            raise IntegrityError(
                f"what is stored is not in a frame: it was not put through {type(self).__name__}, or is damaged"
            )
        if len(frame) < _HEADER.size + self._overhead:
            raise IntegrityError(f"{len(frame)} bytes are too few for a frame of {type(self).__name__}")
        _, number, kind, key_id = _HEADER.unpack_from(frame)
        if number != FORMAT:
            raise IntegrityError(f"a frame has format {number}, this release reads format {FORMAT}; upgrade it")
        return kind, key_id
