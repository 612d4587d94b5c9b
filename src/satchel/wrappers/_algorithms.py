"""The algorithms that compress, each imported when it is first used."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import IntegrityError, missing_extra

_EXTRA = "compression"
_GZIP_HEADER = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Algorithm:
    """Compresses bytes, and unpacks them to no more than they should be.

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
    """Says what is known of an algorithm before it is loaded.

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
"""By their names. A number keeps its meaning for ever."""
