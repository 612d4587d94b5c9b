"""Codecs: values to bytes and back, refusing values that would come back changed.

The accepted values are the same for every store and codec: `None`, `bool`, 64-bit `int`, finite `float`, valid-Unicode
`str`, and `list` and `dict` of these, with `str` keys, at most 100 deep. `bytes` are accepted at the top level and
stored unchanged. The check looks at exact types, so that an enum, a tuple or a subclass is refused, not changed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec

from .errors import ConfigurationError, IntegrityError, SerializationError, ValueTooLargeError, with_article

RAW_BYTES = 0
"""The codec number of `bytes`, which every store keeps unchanged."""

LARGE = 64 * 1024
"""Approximate size in bytes from which a value is encoded and decoded in a worker thread."""

MAX_DEPTH = 100
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_CHANGED = "this value changed while it was being encoded; leave it alone until its put has returned"
_NODE_SIZE = 8  # rough bytes per item of a container
UNDECODABLE = (ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
"""What decoders of JSON, TOML and MessagePack raise for data that is none, is not UTF-8, or nests or counts too far."""
MOST_REPEATED = 1 << 30
"""Approximate bytes that parts may add that a value holds more than once: a list of itself twice doubles each time."""
_UNCOUNTED = 16 << 20  # rough bytes of a value, up to which its repeated parts need not be counted: a second of walking
REFUSED = -math.inf
"""Result of `room_left` for a value that would come back changed."""


class Codec(ABC):
    """Encoder of values as bytes. Numbers 128 to 255 are free for codecs of your own.

    Attributes:
        number: Identifies the codec in every entry, for reading.
        name: Names the codec in messages.
    """

    number: ClassVar[int]
    name: ClassVar[str]

    @abstractmethod
    def encode(self, value: object) -> bytes:
        """Return a value as bytes.

        Raises:
            SerializationError: The value would not come back the same.
            ValueTooLargeError: It holds the same parts so often that it would take all memory.
        """

    @abstractmethod
    def decode(self, payload: bytes) -> Any:
        """Return the value passed to `encode`; any exception becomes an `IntegrityError`."""

    def encode_if_small(self, value: object) -> bytes | None:
        """Return a small value as bytes; None for a value to encode in a worker thread."""
        return self.encode(value) if rough_size(value) < LARGE else None


class StrictCodec(Codec):
    """Base class for codecs that keep the accepted values exactly, in any encoding."""

    _encode: Callable[[Any], bytes]

    def encode(self, value: object) -> bytes:
        try:
            room = room_left([value], _UNCOUNTED, MAX_DEPTH)
            if room < 0 and room != REFUSED:
                check_repeated(value)
                room = room_left([value], math.inf, MAX_DEPTH)
            if room >= 0:
                try:
                    return self._encode(value)
                except UnicodeEncodeError:
                    pass  # the explanation has its place
            raise explain(value)
        except RuntimeError as error:  # a dict changed size while a worker thread iterated over it
            raise SerializationError(f"$: {_CHANGED}") from error

    def encode_if_small(self, value: object) -> bytes | None:
        plain_container = type(value) is dict or type(value) is list
        room = room_left(value, LARGE, MAX_DEPTH - 1) if plain_container else room_left([value], LARGE, MAX_DEPTH)
        if room >= 0:
            try:
                return self._encode(value)
            except UnicodeEncodeError:
                raise explain(value) from None
        if room == REFUSED:
            raise explain(value)
        return None


class JsonCodec(StrictCodec):
    """Codec that writes JSON, readable with any tool. This is the default.

    Args:
        strict: Refuse values that would come back different. With False, values that JSON cannot represent are
            converted as msgspec does: tuples and sets to lists, datetimes and UUIDs to strings, NaN to null.
    """

    number = 1
    name = "json"
    _encode = staticmethod(msgspec.json.Encoder().encode)
    decode = staticmethod(msgspec.json.Decoder().decode)  # type: ignore[assignment]  # spares every get a call

    def __init__(self, *, strict: bool = True) -> None:
        self.strict = strict
        if not strict:
            self.encode = self._convert_any  # type: ignore[method-assign]  # decided here, not at every put
            self.encode_if_small = self._convert_if_small  # type: ignore[method-assign]  # as above

    def __repr__(self) -> str:
        return f"JsonCodec(strict={self.strict})"

    def _convert_any(self, value: object) -> bytes:
        try:
            if rough_size(value) >= LARGE:
                check_repeated(value)
        except RuntimeError as error:  # as above
            raise SerializationError(f"$: {_CHANGED}") from error
        return self._convert(value)

    def _convert_if_small(self, value: object) -> bytes | None:
        return self._convert(value) if rough_size(value) < LARGE else None

    def _convert(self, value: object) -> bytes:
        try:
            return self._encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise SerializationError(f"JSON cannot represent this {type(value).__name__}: {error}") from None


class MessagePackCodec(StrictCodec):
    """Codec that writes MessagePack: smaller than JSON, and faster to read."""

    number = 2
    name = "msgpack"
    _encode = staticmethod(msgspec.msgpack.Encoder().encode)
    decode = staticmethod(msgspec.msgpack.Decoder().decode)  # type: ignore[assignment]  # spares every get a call

    def __repr__(self) -> str:
        return "MessagePackCodec()"


class SignedPickleCodec(Codec):
    """Codec that pickles any object and signs it with HMAC-SHA256: only data signed with the key is unpickled.

    Anyone with the key can run code in every process that reads the store. Prefer the JSON codec with models.

    Args:
        signing_key: At least 32 secret bytes.
    """

    number = 3
    name = "signed-pickle"

    def __init__(self, *, signing_key: bytes) -> None:
        if not isinstance(signing_key, bytes) or len(signing_key) < 32:
            raise ConfigurationError("signing_key must be at least 32 bytes; make one with secrets.token_bytes(32)")
        self._key = signing_key

    def __repr__(self) -> str:
        return "SignedPickleCodec(signing_key=***)"

    def encode(self, value: object) -> bytes:
        import pickle  # noqa: PLC0415  # rarely needed, and slow to import

        try:
            pickled = pickle.dumps(value, protocol=5)
        except Exception as error:  # an object's own __reduce__ can raise anything
            raise SerializationError(f"this {type(value).__name__} cannot be pickled") from error
        return self._sign(pickled) + pickled

    def decode(self, payload: bytes) -> Any:
        import hmac  # noqa: PLC0415  # as above
        import pickle  # noqa: PLC0415  # as above

        signature, pickled = payload[:32], payload[32:]
        if not hmac.compare_digest(signature, self._sign(pickled)):
            raise IntegrityError("the signature of a pickled value does not match signing_key; it was not unpickled")
        return pickle.loads(pickled)  # noqa: S301  # the signature was checked, and the user chose pickle

    def _sign(self, pickled: bytes) -> bytes:
        import hmac  # noqa: PLC0415  # as above

        return hmac.digest(self._key, b"satchel signed pickle 1\0" + pickled, "sha256")


class AutoCodec(Codec):
    """Codec that writes JSON if a value comes back from it unchanged, and a signed pickle otherwise.

    A tag before each value names the encoding, so that reading never guesses.

    Args:
        signing_key: At least 32 secret bytes, which sign the pickles. Without it, such values are refused.
    """

    number = 4
    name = "auto"

    def __init__(self, *, signing_key: bytes | None = None) -> None:
        self._json = JsonCodec()
        self._pickle = None if signing_key is None else SignedPickleCodec(signing_key=signing_key)

    def __repr__(self) -> str:
        return "AutoCodec()" if self._pickle is None else "AutoCodec(signing_key=***)"

    def encode(self, value: object) -> bytes:
        if type(value) is bytes:
            return b"b" + value
        try:
            return b"j" + self._json.encode(value)
        except (SerializationError, ValueTooLargeError) as error:
            if self._pickle is None:
                raise type(error)(f"{error}; or give AutoCodec a signing_key, with which it pickles") from None
        return b"p" + self._pickle.encode(value)

    def decode(self, payload: bytes) -> Any:
        tag, body = payload[:1], payload[1:]
        if tag == b"j":
            return self._json.decode(body)
        if tag == b"b":
            return body
        if tag != b"p":
            raise IntegrityError("a value has a tag that AutoCodec does not know")
        if self._pickle is None:
            raise SerializationError("this value is a signed pickle; give AutoCodec the signing_key to read it")
        return self._pickle.decode(body)


_WITH_NUMBERS = (JsonCodec, MessagePackCodec, SignedPickleCodec, AutoCodec)
_NUMBERS_TO_CHOOSE = range(128, 256)


def check_codec(codec: object) -> None:
    """Raise unless the argument is a codec with a free number.

    Raises:
        ConfigurationError: It is not a codec, or its number is reserved.
    """
    if not isinstance(codec, Codec):
        raise ConfigurationError(f"codec must be a satchel Codec such as JsonCodec(), got {type(codec).__name__}")
    number: object = getattr(codec, "number", None)
    taken = any(isinstance(codec, kind) and number == kind.number for kind in _WITH_NUMBERS)
    if type(number) is not int or (number not in _NUMBERS_TO_CHOOSE and not taken):
        raise ConfigurationError(
            f"the number of {type(codec).__name__} must be an int from 128 to 255, got {number!r}: it is written to "
            "every entry, and lower numbers are reserved for satchel's own codecs"
        )


def room_left(container: Any, room: float, depth: int) -> float:
    """Return how many bytes, roughly, the encoded items of a container would leave of some room.

    The walk stops once there is no room left: then the result is below 0. The result is `REFUSED` if the container has
    something that the codecs do not keep; lone surrogates are left to the encoder, which refuses them.
    This is the hottest Python code of a put: keep an edit only if `benchmarks/memory.py` shows a gain.

    Args:
        container: A list or a dict.
        room: Available bytes.
        depth: Maximum number of containers nested in this one.
    """
    room -= _NODE_SIZE * len(container)
    if room < 0:
        return room
    if type(container) is dict:
        for key in container:
            if type(key) is not str:
                return REFUSED
        container = container.values()
    for item in container:
        kind = type(item)
        if kind is str:
            room -= len(item)
        elif kind is dict or kind is list:
            if not depth:
                return REFUSED
            room = room_left(item, room, depth - 1)
            if room < 0:
                return room
        elif kind is bool or item is None:
            pass
        elif kind is int:
            if not _MIN_INT <= item <= _MAX_INT:
                return REFUSED
        elif kind is float:
            if item - item != 0.0:
                return REFUSED
        else:
            return REFUSED
    return room


def rough_size(value: object) -> int:
    """Return the rough encoded size of any object, with unknown types counted as one node; from `LARGE` on is large."""
    size, stack = 0, [value]
    while stack and size < LARGE:
        item = stack.pop()
        size += _NODE_SIZE
        if isinstance(item, (str, bytes, bytearray)):
            size += len(item)
        elif isinstance(item, (list, tuple, set, frozenset)):
            size += _NODE_SIZE * len(item)
            stack.extend(item if size < LARGE else ())
        elif isinstance(item, dict):
            size += _NODE_SIZE * len(item)
            stack.extend([*item, *item.values()] if size < LARGE else ())
    return size


def check_repeated(value: object) -> None:
    """Raise if a value holds the same lists or dicts so often that encoding it would take all memory, or never end.

    Raises:
        ValueTooLargeError: They would add more than `MOST_REPEATED` bytes.
    """
    if repeated_size(value) > MOST_REPEATED:
        raise ValueTooLargeError(
            f"the value holds the same lists or dicts so often that they would add more than {MOST_REPEATED:,} bytes "
            "when it is encoded; put each of them once, under a key of its own"
        )


def repeated_size(value: object) -> int:
    """Return how many bytes, roughly, containers would add to an encoded value that it holds more than once.

    Each container is looked at once, however often the value holds it.
    """
    known: dict[int, int] = {}
    own = 0

    def size(container: Any, depth: int) -> int:
        nonlocal own
        known[id(container)] = 0  # for one that holds itself
        total = here = _NODE_SIZE * len(container)
        for item in container.values() if type(container) is dict else container:
            kind = type(item)
            if kind is str or kind is bytes:
                here += len(item)
                total += len(item)
            elif kind in _CONTAINERS:
                found = known.get(id(item))
                total += (size(item, depth - 1) if depth else 0) if found is None else found
        known[id(container)] = total
        own += here
        return total

    return size([value], MAX_DEPTH) - own


def explain(value: object) -> SerializationError:
    """Return an error with the path of the part of a value that is not accepted, and a remedy."""
    stack: list[tuple[object, str, int]] = [(value, "$", MAX_DEPTH)]
    while stack:
        item, path, depth = stack.pop()
        complaint = _complaint(item, depth)
        if complaint:
            return SerializationError(f"{path}: {complaint}")
        if type(item) is list:
            stack.extend((inner, f"{path}[{index}]", depth - 1) for index, inner in reversed([*enumerate(item)]))
        elif type(item) is dict:
            for key in item:
                if type(key) is not str or not _is_text(key):
                    return SerializationError(
                        f"{path}: a key is {_describe(key)}; keys must be plain str, convert them first"
                    )
            stack.extend((inner, f"{path}.{key}", depth - 1) for key, inner in reversed(item.items()))
    return SerializationError(f"$: {_CHANGED}")


def _complaint(item: object, depth: int) -> str:
    kind = type(item)
    if kind is list or kind is dict:
        return "" if depth else f"nested deeper than {MAX_DEPTH}; flatten it"
    if kind is bool or item is None:
        return ""
    if kind is str:
        return "" if _is_text(item) else "a str with a lone surrogate; decode it properly, or put bytes"
    if kind is int:
        return "" if _MIN_INT <= item <= _MAX_INT else "an int beyond 64 bits; put it as a str"  # type: ignore[operator]  # as kind shows
    if kind is float:
        return "" if math.isfinite(item) else "a float that is NaN or infinite; put None or a str"  # type: ignore[arg-type]  # as kind shows
    return f"{_describe(item)} would not come back unchanged; {_ADVICE.get(kind, _CONVERT)}"


_CONTAINERS = frozenset({list, dict, tuple, set, frozenset})
_CONVERT = "convert it to plain JSON types, or declare its type: store.collection(..., model=...)"
_ADVICE: dict[type, str] = {
    tuple: "convert it to a list",
    set: "convert it to a list",
    frozenset: "convert it to a list",
    bytes: "bytes are kept at the top level only; put them under a key of their own, or encode them as str",
    bytearray: "convert it to bytes and put it at the top level",
    memoryview: "convert it to bytes and put it at the top level",
}


def _is_text(text: object) -> bool:
    try:
        str.encode(text)  # type: ignore[arg-type]  # as kind shows
    except UnicodeEncodeError:
        return False
    return True


def _describe(item: object) -> str:
    kind = type(item)
    for plain in (str, bytes, bool, int, float, list, dict):
        if kind is not plain and isinstance(item, plain):
            return f"{kind.__name__}, a subclass of {plain.__name__},"
    return with_article(kind) if kind is not str else "a str with a lone surrogate"
