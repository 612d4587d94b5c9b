"""`BlobsBase`: everything of `Blobs` that a target need not write itself."""

# mypy: disable-error-code="overload-overlap"
# As in the protocol.

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, Self, TypeVar, overload

from msgspec.structs import replace

from .._checks import check_bool, check_bound, check_choice, check_clock
from ..clock import TTL, Clock, seconds, system_clock
from ..errors import BlobChangedError, BlobMissingError, ConfigurationError, UnsupportedOperationError
from ..matching import KeyFilter, check_delimiter, folders, matching_keys
from ..names import check_after, check_limit, check_name
from ..protocol import AsyncKeyValue
from . import content_types, local_files
from .compression import Compression, check_compression
from .data import BlobData, add_to_hash, check_size, digest_of, pieces_of, resized, spooled
from .files import (
    BlobReader,
    BlobWriter,
    TextBlobReader,
    TextBlobWriter,
    check_encoding,
    read_file,
    text_read,
    text_written,
    written_file,
)
from .ids import IdKind, KeyMaker
from .info import BlobInfo
from .options import PutOptions, checked_options
from .protocol import PathOrText
from .source import BlobSource
from .urls import UrlSigner, address

D = TypeVar("D")
T = TypeVar("T")

_LEAST_TTL = 0.001


class BlobsBase(ABC):
    """Base class for targets of blobs: a few required methods, from which it makes all of `Blobs`.

    A target writes these. Keys were checked; times to live are seconds.

    Required:

    * `async _source(key)` opens one version of a blob for reading; None when there is no blob.
    * `async _write(key, pieces, options)` stores what an async iterator yields. When that raises, or the call is
      cancelled, nothing appears.
    * `async _delete(key, version)` removes a blob; with a version only if the blob still has it.
    * `_keys(prefix, after, limit)` lists the keys that start with a prefix, sorted if `after` is not None.

    Overridden where a target can do better or more:

    * `async info(key)` and `async exists(key)`, for which a source is opened.
    * `async _write_whole(key, data, options)`, which writes bytes by `_write`, as one piece.
    * `async _copy(source, target, if_absent)`, which writes what a source reads.
    * `async _move(source, target, if_absent)`, which copies, then deletes the version that was copied.
    * `prefixes(delimiter, prefix)`, which reads the keys.
    * `async url_for(...)`, which makes addresses from `base_url`, and without one is refused.
    * `async _touch(key, ttl)` and `async local_path(key)`, which are refused.
    * `async sweep()`, which has nothing to sweep.

    A target that cannot keep an option, such as a ttl, raises what `self._refuse(...)` does before it writes anything.

    Args:
        ids: How keys are made for `put(None, ...)`: `uuid7` (sorted by time), `uuid4` (random) or `sha256` (of the
            content: the same content gets the same key).
        template: The key that is made, with `{}` for the id, such as `photos/{}.png`.
        max_size: The longest blob in bytes that is taken; None for no limit.
        base_url: Address of a web server under which the blobs are found by their keys, or a function that returns
            the address for a key.
        signer: Signs the addresses made from `base_url`, for a server that checks them.
        clock: Returns the present as seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is not legal.
    """

    url_query: ClassVar[frozenset[str]] = frozenset()
    """Options of a URL that stay in it for the driver."""
    _owned: AsyncKeyValue | None = None
    """The store, where it was made for this object alone."""

    def __init__(
        self,
        *,
        ids: IdKind = "uuid7",
        template: str = "{}",
        max_size: int | None = None,
        base_url: str | Callable[[str], str] | None = None,
        signer: UrlSigner | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_bound("max_size", max_size)
        check_clock(clock)
        if not (base_url is None or isinstance(base_url, str) or callable(base_url)):
            raise ConfigurationError(f"base_url must be a str or a function of the key, got {type(base_url).__name__}")
        if not (signer is None or isinstance(signer, UrlSigner)):
            raise ConfigurationError(f"signer must be a UrlSigner, got {type(signer).__name__}")
        self._new_key = KeyMaker(ids, template, clock)
        self._max_size, self._clock = max_size, clock
        self._base_url, self._signer = base_url, signer

    # What a target writes.

    @abstractmethod
    async def _source(self, key: str) -> BlobSource | None:
        """Return one version of a blob, open for reading; None when there is no blob."""

    @abstractmethod
    async def _write(self, key: str, pieces: AsyncIterator[bytes], options: PutOptions) -> BlobInfo:
        """Store a blob, in constant memory.

        It appears, or replaces the previous one, in one step, after the last piece. When `pieces` raises, or the call
        is cancelled, nothing appears.

        Args:
            key: The key.
            pieces: The content; no piece is empty. The caller closes it.
            options: What is to be kept, and on what condition.
        """

    @abstractmethod
    async def _delete(self, key: str, version: str | None) -> bool:
        """Remove a blob, and return whether it was removed; with a version only if the blob still has it."""

    @abstractmethod
    def _keys(self, prefix: str, after: str | None, limit: int | None) -> AsyncIterator[str]:
        """Iterate over the keys that start with a prefix, at most `limit` of them.

        With an `after`, only those that sort behind it, sorted by code points.
        """

    # What a target may write.

    async def _write_whole(self, key: str, data: bytes, options: PutOptions) -> BlobInfo:
        """Store bytes as a blob."""
        async with aclosing(pieces_of(data)) as pieces:
            return await self._write(key, pieces, options)

    async def _copy(self, source: str, target: str, if_absent: bool) -> BlobInfo:
        """Copy a blob to another key."""
        async with self._open_source(source) as read:
            options = self._options_of(read.info, if_absent)
            async with aclosing(read.read(0, read.info.size)) as pieces:
                return await self._write(target, pieces, options)

    async def _move(self, source: str, target: str, if_absent: bool) -> BlobInfo:
        """Copy a blob to another key, then remove it from the first if it is still the same."""
        before = await self._required_info(source)
        copied = await self._copy(source, target, if_absent)
        if not await self._delete(source, before.version):
            raise BlobChangedError(f"the blob {source!r} was changed while it was moved; it is under both keys now")
        return copied

    async def _touch(self, key: str, ttl: float | None) -> bool:
        """Give a blob a new deadline, and return whether it existed."""
        self._refuse("touch")

    async def _open(self) -> None:
        """Connect, or make what is needed; without a call of it, the first request does."""
        if self._owned is not None:
            await self._owned.__aenter__()

    def _refuse(self, what: str) -> NoReturn:
        """Raise the error for what this target cannot do.

        Args:
            what: The method, or the option and its method, such as "metadata= of put".
        """
        raise UnsupportedOperationError(f"{self!r} does not support {what}")

    # Lifetime.

    async def aclose(self) -> None:
        """Close the store that `open_blobs` made for this object; another one stays open."""
        if self._owned is not None:
            await self._owned.aclose()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # Writing.

    async def put(
        self,
        key: str | None,
        data: BlobData,
        *,
        if_absent: bool = False,
        if_version: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: TTL | None = None,
    ) -> BlobInfo:
        """Store a blob, as described for `Blobs`."""
        named = None if key is None else check_name(key)
        options = checked_options(if_absent, if_version, content_type, metadata, ttl)
        return await self._put_data(named, data, options)

    async def put_file(
        self,
        key: str | None,
        path: PathOrText,
        *,
        if_absent: bool = False,
        if_version: str | None = None,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: TTL | None = None,
    ) -> BlobInfo:
        """Store the content of a file, as described for `Blobs`."""
        named = None if key is None else check_name(key)
        options = checked_options(if_absent, if_version, content_type, metadata, ttl)
        if content_type is None:
            guess = await content_types.guessed(str(path))
            options = replace(options, content_type=guess, type_is_guessed=guess is not None)
        async with local_files.reading(path) as file:
            return await self._put_data(named, file, options)

    async def _put_data(self, key: str | None, data: BlobData, options: PutOptions) -> BlobInfo:
        if isinstance(data, (bytes, bytearray, memoryview)):
            return await self._put_bytes(key, bytes(data), options)
        async with aclosing(pieces_of(data, self._max_size)) as pieces:
            if key is not None or not self._new_key.needs_content:
                return await self._put_pieces(self._new_key() if key is None else key, pieces, options)
            async with spooled(pieces) as (digest, kept):
                return await self._put_pieces(self._new_key(digest), kept, options)

    async def _put_bytes(self, key: str | None, data: bytes, options: PutOptions) -> BlobInfo:
        check_size(len(data), self._max_size)
        if key is None:
            key = self._new_key(await digest_of(data) if self._new_key.needs_content else None)
        return await self._write_whole(key, data, await _completed(options, key, len(data)))

    async def _put_pieces(self, key: str, pieces: AsyncIterator[bytes], options: PutOptions) -> BlobInfo:
        return await self._write(key, pieces, await _completed(options, key, None))

    def _options_of(self, info: BlobInfo, if_absent: bool) -> PutOptions:
        """Return the options that store a copy of a blob, which expires when the original does."""
        left = None if info.expires_at is None else max(_LEAST_TTL, info.expires_at.timestamp() - self._clock())
        return PutOptions(
            if_absent=if_absent, content_type=info.content_type, metadata=info.metadata, ttl=left, size=info.size
        )

    # Reading.

    @overload
    async def get(self, key: str, default: None = None, *, start: int = 0, end: int | None = None) -> bytes | None: ...
    @overload
    async def get(self, key: str, default: D, *, start: int = 0, end: int | None = None) -> bytes | D: ...
    async def get(self, key: str, default: Any = None, *, start: int = 0, end: int | None = None) -> Any:
        """Return the content of a blob or a part of it, or the default when there is no blob."""
        source = await self._source(check_name(key))
        if source is None:
            return default
        try:
            return await _read_part(source, start, end)
        finally:
            await source.aclose()

    async def get_file(self, key: str, path: PathOrText) -> BlobInfo:
        """Write a blob to a file, as described for `Blobs`."""
        async with self._open_source(check_name(key)) as source:
            async with aclosing(source.read(0, source.info.size)) as pieces:
                await local_files.write(path, pieces)
            return source.info

    async def ranges(self, key: str, spans: Iterable[tuple[int, int | None]]) -> list[bytes]:
        """Return several parts of one version of a blob, each given as `(start, end)`."""
        async with self._open_source(check_name(key)) as source:
            return [await _read_part(source, start, end) for start, end in spans]

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, size: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Iterate over the content of a blob, as described for `Blobs`."""
        check_bound("size", size)
        return self._stream(check_name(key), start, end, size)

    async def _stream(self, key: str, start: int, end: int | None, size: int | None) -> AsyncGenerator[bytes, None]:
        async with self._open_source(key) as source:
            first, last = _span(start, end, source.info.size)
            async with aclosing(source.read(first, last)) as pieces:
                async for piece in pieces if size is None else resized(pieces, size):
                    yield piece

    @overload
    def lines(self, key: str, *, encoding: str = "utf-8", decode: None = None) -> AsyncIterator[str]: ...
    @overload
    def lines(self, key: str, *, encoding: str = "utf-8", decode: Callable[[str], T]) -> AsyncIterator[T]: ...
    def lines(
        self, key: str, *, encoding: str = "utf-8", decode: Callable[[str], Any] | None = None
    ) -> AsyncGenerator[Any, None]:
        """Iterate over the lines of a text, as described for `Blobs`."""
        return self._lines(self.open(key, "r", encoding=encoding), decode)

    async def _lines(
        self, text: AbstractAsyncContextManager[TextBlobReader], decode: Callable[[str], Any] | None
    ) -> AsyncGenerator[Any, None]:
        async with text as file:
            async for line in file:
                bare = line.removesuffix("\n")
                bare = bare.removesuffix("\r") if bare is not line else bare
                yield bare if decode is None else decode(bare)

    @overload
    def open(
        self, key: str, mode: Literal["rb"] = "rb", *, compression: Compression | None = None
    ) -> AbstractAsyncContextManager[BlobReader]: ...
    @overload
    def open(
        self, key: str, mode: Literal["wb"], *, compression: Compression | None = None, content_type: str | None = None,
        metadata: Mapping[str, str] | None = None, ttl: TTL | None = None, if_absent: bool = False,
        if_version: str | None = None,
    ) -> AbstractAsyncContextManager[BlobWriter]: ...  # fmt: skip
    @overload
    def open(
        self, key: str, mode: Literal["r"], *, compression: Compression | None = None, encoding: str = "utf-8"
    ) -> AbstractAsyncContextManager[TextBlobReader]: ...
    @overload
    def open(
        self, key: str, mode: Literal["w"], *, compression: Compression | None = None, encoding: str = "utf-8",
        content_type: str | None = None, metadata: Mapping[str, str] | None = None, ttl: TTL | None = None,
        if_absent: bool = False, if_version: str | None = None,
    ) -> AbstractAsyncContextManager[TextBlobWriter]: ...  # fmt: skip
    def open(
        self,
        key: str,
        mode: Literal["rb", "wb", "r", "w"] = "rb",
        *,
        compression: Compression | None = None,
        encoding: str = "utf-8",
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        ttl: TTL | None = None,
        if_absent: bool = False,
        if_version: str | None = None,
    ) -> Any:
        """Open a blob as an async file, as described for `Blobs`."""
        named = check_name(key)
        options = checked_options(if_absent, if_version, content_type, metadata, ttl)
        check_choice("mode", mode, ("rb", "wb", "r", "w"))
        check_compression(compression)
        check_encoding(encoding)
        if mode in ("wb", "w"):
            written = written_file(partial(self._put_pieces, named, options=options), self._max_size, compression)
            return written if mode == "wb" else text_written(written, encoding)
        read = read_file(self._open_source(named), compression)
        return read if mode == "rb" else text_read(read, encoding)

    @asynccontextmanager
    async def _open_source(self, key: str) -> AsyncGenerator[BlobSource, None]:
        """Open one version of a blob for the time of a block."""
        source = await self._source(key)
        if source is None:
            raise BlobMissingError(f"there is no blob under {key!r}")
        try:
            yield source
        finally:
            await source.aclose()

    async def info(self, key: str) -> BlobInfo | None:
        """Return what is known about a blob, or None when there is none."""
        source = await self._source(check_name(key))
        if source is None:
            return None
        await source.aclose()
        return source.info

    async def exists(self, key: str) -> bool:
        """Return whether there is a blob under a key."""
        return await self.info(key) is not None

    async def checksum(self, key: str, algorithm: str = "sha256") -> str:
        """Return a checksum of the content, as described for `Blobs`."""
        hashed = hashlib.new(algorithm, usedforsecurity=False)
        if not hashed.digest_size:
            raise ValueError(f"{algorithm} has no fixed length; take another algorithm, such as sha256")
        async with self._open_source(check_name(key)) as source:
            if algorithm == "sha256" and source.info.sha256 is not None:
                return source.info.sha256
            async with aclosing(source.read(0, source.info.size)) as pieces:
                async for piece in pieces:
                    await add_to_hash(hashed, piece)
        return hashed.hexdigest()

    # Changing.

    async def delete(self, key: str) -> bool:
        """Remove a blob, and return whether it existed."""
        return await self._delete(check_name(key), None)

    @overload
    async def pop(self, key: str, default: None = None) -> bytes | None: ...
    @overload
    async def pop(self, key: str, default: D) -> bytes | D: ...
    async def pop(self, key: str, default: Any = None) -> Any:
        """Remove a blob and return its content, as described for `Blobs`."""
        named = check_name(key)
        while (source := await self._source(named)) is not None:
            try:
                content = await _read_part(source, 0, None)
            except BlobChangedError:
                continue  # another caller has it, or it was replaced
            finally:
                await source.aclose()
            if await self._delete(named, source.info.version):
                return content
        return default

    async def touch(self, key: str, *, ttl: TTL | None) -> bool:
        """Give a blob a new deadline, None for no deadline, and return whether it existed."""
        return await self._touch(check_name(key), None if ttl is None else seconds(ttl))

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> BlobInfo:
        """Copy a blob to another key, as described for `Blobs`."""
        check_bool("if_absent", if_absent)
        if check_name(source) == check_name(target):
            return await self._required_info(source)
        return await self._copy(source, target, if_absent)

    async def move(self, source: str, target: str, *, if_absent: bool = False) -> BlobInfo:
        """Copy a blob to another key, then remove it from the first, as described for `Blobs`."""
        check_bool("if_absent", if_absent)
        if check_name(source) == check_name(target):
            return await self._required_info(source)
        return await self._move(source, target, if_absent)

    async def _required_info(self, key: str) -> BlobInfo:
        async with self._open_source(key) as source:
            return source.info

    # Listing.

    def keys(
        self,
        *,
        prefix: str = "",
        exclude_prefix: str | None = None,
        glob: str | None = None,
        depth: int | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> AsyncIterator[str]:
        """Iterate over the keys; arguments and errors are those of `Collection.keys`."""
        chosen = KeyFilter(prefix=prefix, exclude_prefix=exclude_prefix, glob=glob, depth=depth)
        most, behind = check_limit(limit), check_after(after)
        if chosen.is_prefix:
            return self._keys(chosen.prefix, behind, most)
        return matching_keys(self._keys(chosen.prefix, behind, None), chosen, 0 if chosen.matches_nothing else most)

    def prefixes(self, delimiter: str = "/", prefix: str = "") -> AsyncIterator[str]:
        """Iterate over "folders", each once; arguments and errors are those of `Collection.prefixes`."""
        check_delimiter(delimiter)
        return folders(self.keys(prefix=prefix), delimiter, len(prefix))

    # Addresses.

    async def url_for(self, key: str, *, expires: TTL = 900, method: str = "GET") -> str:
        """Return an address under which a browser finds the blob, as described for `Blobs`."""
        named, lasting = check_name(key), seconds(expires, "expires")
        if self._base_url is None:
            self._refuse("url_for without base_url=")
        url = address(self._base_url, named)
        return url if self._signer is None else self._signer.sign(url, named, expires=lasting, method=method)

    async def local_path(self, key: str) -> Path:
        """Return the path of the file that has the content, as described for `Blobs`."""
        self._refuse("local_path")

    async def sweep(self) -> int:
        """Remove what unfinished and replaced writes left behind, as described for `Blobs`."""
        return 0


async def _completed(options: PutOptions, key: str, size: int | None) -> PutOptions:
    """Return the options with the size, and the media type that the key stands for unless there is one."""
    guess = None if options.content_type is not None else await content_types.guessed(key)
    if guess is not None:
        return replace(options, content_type=guess, type_is_guessed=True, size=size)
    return options if size is None else replace(options, size=size)


def _span(start: int, end: int | None, size: int) -> tuple[int, int]:
    """Return where a part of a blob begins and ends, as for a slice."""
    first, last, _ = slice(start, end).indices(size)
    return first, max(first, last)


async def _read_part(source: BlobSource, start: int, end: int | None) -> bytes:
    return await source.read_whole(*_span(start, end, source.info.size))
