"""Compression of streams, in constant memory: `gzip`, `bz2`, `xz`, `zstd`, `lz4`."""

from __future__ import annotations

import sys
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Literal, Protocol

from .._checks import check_choice
from .._threads import offload
from ..errors import IntegrityError, missing_extra

Compression = Literal["gzip", "bz2", "xz", "zstd", "lz4"]

_PIECE = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Decompressor(Protocol):
    """Decompressor in the form of those of `bz2`, `lzma` and `zstd`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _GzipDecompressor:
    """Decompressor of gzip in the form of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP)
        self._left, self._is_full = b"", False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._left and not self._is_full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        result = self._inner.decompress(self._left + data, max_length)
        self._left, self._is_full = self._inner.unconsumed_tail, len(result) == max_length
        return result


class _Lz4Compressor:
    """Compressor of lz4 that writes the beginning of a frame with the first piece."""

    def __init__(self, inner: Any) -> None:
        self._inner, self._begun = inner, False

    def compress(self, data: bytes) -> bytes:
        return self._beginning() + bytes(self._inner.compress(data))

    def flush(self) -> bytes:
        return self._beginning() + bytes(self._inner.flush())

    def _beginning(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return bytes(self._inner.begin())


def _gzip() -> tuple[Callable[[], _Compressor], Callable[[], Any]]:
    # No name and no time are written: the same content gives the same bytes.
    return lambda: zlib.compressobj(wbits=_GZIP), _GzipDecompressor


def _bz2() -> tuple[Callable[[], _Compressor], Callable[[], Any]]:
    import bz2  # noqa: PLC0415  # an optional part of Python

    return bz2.BZ2Compressor, bz2.BZ2Decompressor


def _xz() -> tuple[Callable[[], _Compressor], Callable[[], Any]]:
    import lzma  # noqa: PLC0415  # an optional part of Python

    return lzma.LZMACompressor, lzma.LZMADecompressor


def _zstd() -> tuple[Callable[[], _Compressor], Callable[[], Any]]:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415  # only some blobs need it
    else:
        from backports import zstd  # noqa: PLC0415  # only some blobs need it
    return zstd.ZstdCompressor, zstd.ZstdDecompressor


def _lz4() -> tuple[Callable[[], _Compressor], Callable[[], Any]]:
    from lz4 import frame  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415  # only some blobs need it

    return lambda: _Lz4Compressor(frame.LZ4FrameCompressor()), frame.LZ4FrameDecompressor


_KINDS = {"gzip": _gzip, "bz2": _bz2, "xz": _xz, "zstd": _zstd, "lz4": _lz4}


def check_compression(compression: str | None) -> None:
    """Raise unless a compression is known and installed; None is none.

    Raises:
        ConfigurationError: It is not known.
        MissingExtraError: Its package is not installed.
    """
    if compression is not None:
        check_choice("compression", compression, _KINDS)
        _loaded(compression)


def _loaded(compression: str) -> tuple[Callable[[], _Compressor], Callable[[], Any]]:
    try:
        return _KINDS[compression]()
    except ModuleNotFoundError as error:
        raise missing_extra(f"{compression} compression", "compression", error) from error


async def compressed(pieces: AsyncIterator[bytes], compression: Compression) -> AsyncGenerator[bytes, None]:
    """Iterate over the compressed form of a stream."""
    compressor = _loaded(compression)[0]()
    async for piece in pieces:
        for start in range(0, len(piece), _PIECE):
            if packed := await offload(compressor.compress, piece[start : start + _PIECE]):
                yield packed
    yield await offload(compressor.flush)


async def decompressed(pieces: AsyncIterator[bytes], compression: Compression) -> AsyncGenerator[bytes, None]:
    """Iterate over what was compressed, in pieces of bounded size; several streams in a row are one.

    Raises:
        IntegrityError: It was not compressed in this way, is damaged or cut short.
    """
    new = _loaded(compression)[1]
    current: _Decompressor = new()
    begun = False
    async for piece in pieces:
        left = piece
        while left or not current.needs_input:
            if current.eof:
                current, begun = new(), False
            begun = True
            unpacked = await offload(_unpacked, current, left, compression)
            left = (current.unused_data or b"") if current.eof else b""
            if unpacked:
                yield unpacked
            if current.eof and not left:
                break
    if not begun or not current.eof:
        raise IntegrityError(f"a blob ends in the middle of its {compression} compression")


def _unpacked(current: _Decompressor, data: bytes, compression: str) -> bytes:
    try:
        return current.decompress(data, _PIECE)
    except MemoryError:
        raise
    except Exception as error:  # each package raises errors of its own
        raise IntegrityError(f"a blob is not compressed with {compression}, or is damaged") from error
