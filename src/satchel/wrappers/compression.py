"""`CompressionWrapper`: large values compressed (`?wrap=compression(level=3)`)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .._checks import check_choice, check_int
from ..codec import LARGE, RAW_BYTES
from ..errors import ConfigurationError, IntegrityError, SerializationError, missing_extra, safe_repr
from ..names import Ref
from ..protocol import AsyncKeyValue
from ._frames import body_if_small, body_of, value_of
from .base import BaseWrapper
from .call import IN_WORKER

_EXTRA = "compression"
_GZIP_HEADER = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Algorithm:
    """Compression algorithm; what it unpacks is limited in size.

    Attributes:
        pack: Takes bytes and a level.
        unpack: Takes packed bytes and the size of the result. Gives at most one byte more than that; None when what
            was packed does not end where it should. It may raise anything.
    """

    pack: Callable[[bytes, int], bytes]
    unpack: Callable[[bytes, int], bytes | None]

    def unpacked(self, packed: bytes, size: int) -> bytes:
        """Return what was packed.

        Raises:
            IntegrityError: It is not of this algorithm, is damaged, or has another size.
        """
        try:
            unpacked = self.unpack(packed, size)
        except MemoryError:
            raise
        except Exception as error:
            raise IntegrityError(f"a compressed value is damaged: {type(error).__name__}") from None
        if unpacked is None or len(unpacked) != size:
            raise IntegrityError(f"a compressed value is damaged: it does not unpack to {size} bytes")
        return unpacked


@dataclass(frozen=True)
class Kind:
    """What is known of an algorithm before it is loaded.

    Attributes:
        number: Stands for it in frames.
        levels: The levels that it takes.
        level: The one that it takes by default.
        slow_level: From this one on, packing 64 KiB takes long enough to hold up the event loop.
        load: Imports it; raises `ModuleNotFoundError` where its package is not installed.
        package: What has to be installed.
    """

    number: int
    levels: range
    level: int
    slow_level: int
    load: Callable[[], Algorithm]
    package: str = ""

    def loaded(self) -> Algorithm:
        """Return the algorithm.

        Raises:
            MissingExtraError: Its package is not installed.
        """
        try:
            return self.load()
        except ModuleNotFoundError as error:
            missing = ModuleNotFoundError(str(error), name=self.package)
            raise missing_extra("CompressionWrapper", _EXTRA, missing) from error


def _zstd() -> Algorithm:
    zstd: Any
    try:
        from compression import zstd  # type: ignore[no-redef,import-not-found,unused-ignore]  # noqa: PLC0415  # new in Python 3.14
    except ImportError:  # before 3.14 there may be another module of this name
        from backports import zstd  # type: ignore[no-redef,unused-ignore]  # noqa: PLC0415  # only some values need it

    def unpack(packed: bytes, size: int) -> bytes | None:
        if zstd.get_frame_info(packed).decompressed_size != size:
            return None  # the decoder's own memory is bounded by the size that the zstd frame gives
        decompressor = zstd.ZstdDecompressor()
        return _to_the_end(decompressor, decompressor.decompress(packed, size + 1))

    return Algorithm(zstd.compress, unpack)


def _gzip() -> Algorithm:
    def unpack(packed: bytes, size: int) -> bytes | None:
        decompressor = zlib.decompressobj(_GZIP_HEADER)
        return _to_the_end(decompressor, decompressor.decompress(packed, size + 1))

    return Algorithm(lambda data, level: zlib.compress(data, level, _GZIP_HEADER), unpack)


def _lz4() -> Algorithm:
    from lz4 import frame  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415  # only some values need it

    def unpack(packed: bytes, size: int) -> bytes | None:
        decompressor = frame.LZ4FrameDecompressor()
        return _to_the_end(decompressor, decompressor.decompress(packed, size + 1))

    return Algorithm(lambda data, level: frame.compress(data, compression_level=level), unpack)


def _to_the_end(decompressor: Any, unpacked: bytes) -> bytes | None:
    return unpacked if decompressor.eof and not decompressor.unused_data else None


ALGORITHMS = {
    "zstd": Kind(1, range(-7, 23), 3, 13, _zstd, "backports.zstd"),
    "gzip": Kind(2, range(1, 10), 6, 10, _gzip),
    "lz4": Kind(3, range(17), 0, 17, _lz4, "lz4"),
}
"""By their names. A number keeps its meaning forever."""


FORMAT = 1

_MAGIC = b"\x89C"
_STORED = 0
_START = struct.Struct(">2sBBBQ")  # magic, format, algorithm, kind, size of the value
_CRC = struct.Struct(">I")
_HEADER_SIZE = _START.size + _CRC.size
_BY_NUMBER = {kind.number: kind for kind in ALGORITHMS.values()}


class CompressionWrapper(BaseWrapper):
    """Wrapper that compresses values above a size.

    Every `bytes` value is kept in a frame, compressed or not; other values only when they are compressed, as JSON. A
    value that compressing does not make smaller is kept as it is. Values written with any algorithm and level can be
    read.

    Args:
        inner: The wrapped store.
        algorithm: The algorithm for values that are put.
        level: The compression level: -7 to 22 for `zstd` (3 by default), 1 to 9 for `gzip` (6), 0 to 16 for `lz4` (0).
        threshold: Minimum size in bytes, as JSON or of `bytes`, of values to compress.
        max_size: Maximum decompressed size in bytes, so that a small entry cannot fill the memory. A larger value is
            put without being compressed.

    Raises:
        ConfigurationError: An option is out of its range, or unknown.
        MissingExtraError: The algorithm's package is not installed. Reading raises it too, for an entry that was
            compressed by another algorithm.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        algorithm: Literal["zstd", "gzip", "lz4"] = "zstd",
        level: int | None = None,
        threshold: int = 1024,
        max_size: int = 64 * 1024 * 1024,
    ) -> None:
        check_choice("algorithm", algorithm, ALGORITHMS)
        kind = ALGORITHMS[algorithm]
        if level is not None and (type(level) is not int or level not in kind.levels):
            span = f"{kind.levels[0]} to {kind.levels[-1]}"
            raise ConfigurationError(f"level must be an int from {span} for {algorithm}, got {safe_repr(level)}")
        check_int("threshold", threshold, 1)
        check_int("max_size", max_size, 1)
        self._number, self._level = kind.number, kind.level if level is None else level
        self._large = LARGE if self._level < kind.slow_level else LARGE // 8
        self._threshold, self._max_size = threshold, max_size
        self._loaded = {kind.number: kind.loaded()}
        super().__init__(inner)

    def _encode_if_small(self, ref: Ref, value: object) -> object:
        try:
            body = body_if_small(value)
        except SerializationError:
            return value  # the inner store refuses it too, or has a codec that keeps it
        return IN_WORKER if body is None or len(body[1]) >= self._large else self._framed(value, *body)

    def _encode(self, ref: Ref, value: object) -> object:
        try:
            return self._framed(value, *body_of(value))
        except SerializationError:
            return value  # as above

    def _framed(self, value: object, kind: int, body: bytes) -> object:
        if self._threshold <= len(body) <= self._max_size:
            packed = self._loaded[self._number].pack(body, self._level)
            if _HEADER_SIZE + len(packed) < len(body):
                return _frame(self._number, kind, len(body), packed)
        return _frame(_STORED, kind, len(body), body) if kind == RAW_BYTES else value

    def _decode_if_small(self, ref: Ref, value: Any) -> Any:
        if type(value) is not bytes:
            return value
        algorithm, _, size = _read_start(value)
        is_ready = algorithm == _STORED or algorithm in self._loaded
        return self._decode(ref, value) if is_ready and max(size, len(value)) < LARGE else IN_WORKER

    def _decode(self, ref: Ref, value: Any) -> Any:
        algorithm, kind, size = _read_start(value)
        (checksum,) = _CRC.unpack_from(value, _START.size)
        packed = value[_HEADER_SIZE:]
        if checksum != _checksum(value[: _START.size], packed):
            raise IntegrityError("a value's frame is damaged: its checksum does not match")
        return value_of(kind, packed if algorithm == _STORED else self._unpacked(algorithm, packed, size))

    def _unpacked(self, algorithm: int, packed: bytes, size: int) -> bytes:
        if size > self._max_size:
            raise IntegrityError(
                f"a compressed value says that it unpacks to {size} bytes, and max_size is {self._max_size}; "
                "if it really is so large, raise max_size"
            )
        if algorithm not in _BY_NUMBER:
            raise IntegrityError(f"a value is compressed by algorithm {algorithm}; upgrade satchel to read it")
        if algorithm not in self._loaded:
            self._loaded[algorithm] = _BY_NUMBER[algorithm].loaded()
        return self._loaded[algorithm].unpacked(packed, size)


def _frame(algorithm: int, kind: int, size: int, packed: bytes) -> bytes:
    start = _START.pack(_MAGIC, FORMAT, algorithm, kind, size)
    return b"".join((start, _CRC.pack(_checksum(start, packed)), packed))


def _checksum(start: bytes, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(start))


def _read_start(frame: bytes) -> tuple[int, int, int]:
    if len(frame) < _HEADER_SIZE or not frame.startswith(_MAGIC):
        raise IntegrityError("bytes are not in a frame: they were not put through a CompressionWrapper, or are damaged")
    _, number, algorithm, kind, size = _START.unpack_from(frame)
    if number != FORMAT:
        raise IntegrityError(f"a frame has format {number}, this release reads format {FORMAT}; upgrade it")
    return algorithm, kind, size
