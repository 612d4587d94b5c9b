"""`Conversion` between the values of a collection and those in its store, by a model, functions or a codec."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ._models import Model, dump_checked, model_for
from .codec import RAW_BYTES, Codec, JsonCodec, MessagePackCodec, check_codec
from .errors import ConfigurationError, IntegrityError, SatchelError, SerializationError


class Conversion(Protocol):
    """Conversion of the values of a collection."""

    @property
    def load(self) -> Callable[[Any], Any]:
        """Function that makes a value from a stored one; it raises anything when that does not fit."""
        ...

    @property
    def dump(self) -> Callable[[Any], Any]:
        """Function that makes the stored form of a value; a `SatchelError` message continues "the value"."""
        ...

    def explain(self, error: Exception) -> str:
        """Return where a value does not fit and why, without revealing any of the value itself."""
        ...


def conversion_for(kind: Any, encode: Any, decode: Any, codec: Codec | None) -> Conversion | None:
    """Return the conversion for the options; None if the store keeps values unchanged.

    Raises:
        ConfigurationError: An option is wrong, or contradicts another.
    """
    if codec is not None:
        check_codec(codec)
    inner: Conversion | None
    if encode is not None or decode is not None:
        if kind is not None:
            raise ConfigurationError("model= and encode=/decode= exclude each other: give one of them")
        if not callable(encode) or not callable(decode):
            raise ConfigurationError("encode and decode must both be given, each a function of one value")
        inner = _ByFunctions(encode, decode)
    else:
        model = model_for(kind)
        inner = None if model is None else _ByModel(kind, model)
    return inner if codec is None else _ByCodec(codec, inner)


class _ByModel:
    def __init__(self, kind: Any, model: Model) -> None:
        self.load, self.explain = model.load, model.explain
        self.dump = partial(dump_checked, kind, model)


class _ByFunctions:
    def __init__(self, encode: Callable[[Any], object], decode: Callable[[Any], Any]) -> None:
        self._encode, self.load = encode, decode

    def dump(self, value: Any) -> Any:
        try:
            return self._encode(value)
        except SatchelError:
            raise
        except Exception as error:
            kind = type(error).__name__
        raise SerializationError(f"is refused by encode, which raised {kind}")  # its message may contain the value

    def explain(self, error: Exception) -> str:
        return f"$: decode raised {type(error).__name__}"


class _ByCodec:
    """Conversion to `bytes`: the number of the codec and the encoded value; for `bytes`, 0 and the value."""

    def __init__(self, codec: Codec, inner: Conversion | None) -> None:
        self._codec, self._inner = codec, inner
        self._decoders = {known.number: known.decode for known in (JsonCodec(), MessagePackCodec(), codec)}

    def dump(self, value: Any) -> bytes:
        plain = value if self._inner is None else self._inner.dump(value)
        if type(plain) is bytes:
            return bytes((RAW_BYTES,)) + plain
        return bytes((self._codec.number,)) + self._codec.encode(plain)

    def load(self, frame: Any) -> Any:
        if type(frame) is not bytes or not frame:
            raise SerializationError("it was not written with a codec of the collection; leave codec= out to read it")
        plain = frame[1:] if frame[0] == RAW_BYTES else self._decoded(frame)
        return plain if self._inner is None else self._inner.load(plain)

    def explain(self, error: Exception) -> str:
        return f"$: {type(error).__name__}" if self._inner is None else self._inner.explain(error)

    def _decoded(self, frame: bytes) -> Any:
        decode = self._decoders.get(frame[0])
        if decode is None:
            raise SerializationError(f"it was written with codec number {frame[0]}; give the collection that codec")
        try:
            return decode(frame[1:])
        except SatchelError:
            raise
        except Exception as error:
            kind = type(error).__name__
        raise IntegrityError(f"it cannot be decoded: {kind}")
