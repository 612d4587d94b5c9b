"""`Blobs`: what every place for blobs offers."""

# mypy: disable-error-code="overload-overlap"
# One text narrows the type of an open blob, and a default of None that of what is read.

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, overload

from ..clock import TTL
from .compression import Compression
from .data import BlobData
from .files import BlobReader, BlobWriter, TextBlobReader, TextBlobWriter
from .info import BlobInfo

D = TypeVar("D")
T = TypeVar("T")


PathOrText = str | PathLike[str]


class Blobs(Protocol):
    """Place that keeps blobs: bytes of any size under keys.

    * A key is what a key of a store is: any non-empty `str` of at most 4,096 UTF-8 bytes. `/` divides it into folders
      for `prefixes`, `glob` and `depth`.
    * A reader sees one version of a blob from beginning to end, or gets `BlobChangedError`; never a mixture.
    * A blob appears when all of it is written. A write that raised or was cancelled changes nothing.
    * `start` and `end` are those of a slice: a negative one counts from the end, and one past the end is the end.
    * What a target cannot do raises `UnsupportedOperationError` by name, such as metadata in a plain directory.
    """

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
        """Store a blob, replacing the one under this key, and return what is known about it.

        Args:
            key: The key; None makes one from the `ids` and the `template` of this object.
            data: Bytes, an async iterable of bytes, or a binary file, which is read to its end.
            if_absent: Store it only if there is no blob under this key.
            if_version: Store it only if the blob still has this version.
            content_type: Media type; None guesses it from the end of the key, such as `.png`.
            metadata: Texts to keep with the blob.
            ttl: Time to live in seconds or as a `timedelta`; None for no expiry.

        Raises:
            InvalidKeyError, InvalidTTLError: The key or the ttl is not legal.
            SerializationError: The data is not made of bytes, or a part of the metadata is not a `str`.
            ValueTooLargeError: The data is longer than `max_size`.
            BlobExistsError: `if_absent` was given, and there is a blob.
            BlobChangedError: `if_version` was given, and the blob has another version or is gone.
            UploadLostError: The upload stood still for so long that its beginning was removed.
        """
        ...

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
        """Store the content of a file, which stays where it is; arguments and errors are those of `put`."""
        ...

    @overload
    async def get(self, key: str, default: None = None, *, start: int = 0, end: int | None = None) -> bytes | None: ...
    @overload
    async def get(self, key: str, default: D, *, start: int = 0, end: int | None = None) -> bytes | D: ...
    async def get(self, key: str, default: Any = None, *, start: int = 0, end: int | None = None) -> Any:
        """Return the content of a blob or a part of it, or the default when there is no blob."""
        ...

    async def get_file(self, key: str, path: PathOrText) -> BlobInfo:
        """Write a blob to a file, which appears or is replaced when all of it is written.

        Raises:
            BlobMissingError: There is no blob.
        """
        ...

    async def ranges(self, key: str, spans: Iterable[tuple[int, int | None]]) -> list[bytes]:
        """Return several parts of one version of a blob, each given as `(start, end)`.

        Raises:
            BlobMissingError: There is no blob.
        """
        ...

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, size: int | None = None
    ) -> AsyncIterator[bytes]:
        """Iterate over the content of a blob in constant memory.

        Args:
            key: The key.
            start: The first byte.
            end: The byte before which to end; None for the end of the blob.
            size: Bytes of each piece but the last; None takes them as they come.

        Raises:
            BlobMissingError: There is no blob.
            BlobChangedError: It was replaced so long ago that the rest is gone.
        """
        ...

    @overload
    def lines(self, key: str, *, encoding: str = "utf-8", decode: None = None) -> AsyncIterator[str]: ...
    @overload
    def lines(self, key: str, *, encoding: str = "utf-8", decode: Callable[[str], T]) -> AsyncIterator[T]: ...
    def lines(
        self, key: str, *, encoding: str = "utf-8", decode: Callable[[str], Any] | None = None
    ) -> AsyncIterator[Any]:
        r"""Iterate over the lines of a text without their ends, `\n` or `\r\n`.

        Args:
            key: The key.
            encoding: How the text is encoded.
            decode: What makes an object of each line, such as `json.loads`.

        Raises:
            BlobMissingError: There is no blob.
            UnicodeDecodeError: It is not encoded in this way.
        """
        ...

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
    def open(self, key: str, mode: str = "rb", **options: Any) -> AbstractAsyncContextManager[Any]:
        """Open a blob as an async file.

        ```python
        from satchel import MemoryStore
        from satchel.blobs import StoreBlobs

        blobs = StoreBlobs(MemoryStore())
        async with blobs.open("report.csv", "w") as file:
            await file.write("name,size")
        async with blobs.open("report.csv", "r") as file:
            async for line in file: ...
        ```

        What is written appears when the block is left. Nothing appears when the block raises or is cancelled.

        Args:
            key: The key.
            mode: `rb` and `wb` for bytes, `r` and `w` for text.
            options: `compression` is `gzip`, `bz2`, `xz`, `zstd` or `lz4`, whose result is what is stored; `encoding`
                is for text; the others are those of `put`.

        Raises:
            BlobMissingError: The mode is `rb` or `r`, and there is no blob.
            IntegrityError: What is read was not compressed in this way, or is damaged.
        """
        ...

    async def info(self, key: str) -> BlobInfo | None:
        """Return what is known about a blob, or None when there is none."""
        ...

    async def exists(self, key: str) -> bool:
        """Return whether there is a blob under a key."""
        ...

    async def checksum(self, key: str, algorithm: str = "sha256") -> str:
        """Return a checksum of the content in hexadecimal, by any algorithm of `hashlib`.

        The SHA-256 is taken from what is known about the blob, where the target keeps it; others read the content.

        Raises:
            BlobMissingError: There is no blob.
            ValueError: `hashlib` does not know the algorithm.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Remove a blob, and return whether it existed."""
        ...

    @overload
    async def pop(self, key: str, default: None = None) -> bytes | None: ...
    @overload
    async def pop(self, key: str, default: D) -> bytes | D: ...
    async def pop(self, key: str, default: Any = None) -> Any:
        """Remove a blob and return its content, or the default when there is none; of several callers one gets it."""
        ...

    async def touch(self, key: str, *, ttl: TTL | None) -> bool:
        """Give a blob a new deadline, None for no deadline, and return whether it existed."""
        ...

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> BlobInfo:
        """Copy a blob to another key with its metadata, and what is left of its ttl.

        Onto itself it changes nothing.

        Raises:
            BlobMissingError: There is no blob under `source`.
            BlobExistsError: `if_absent` was given, and there is a blob under `target`.
        """
        ...

    async def move(self, source: str, target: str, *, if_absent: bool = False) -> BlobInfo:
        """Copy a blob to another key, then remove it from the first; arguments and errors are those of `copy`.

        A move that is broken off leaves the blob under both keys. Onto itself it changes nothing.

        Raises:
            BlobChangedError: The blob was replaced meanwhile; the old content is under `target`.
        """
        ...

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
        ...

    def prefixes(self, delimiter: str = "/", prefix: str = "") -> AsyncIterator[str]:
        """Iterate over "folders", each once; arguments and errors are those of `Collection.prefixes`."""
        ...

    async def url_for(self, key: str, *, expires: TTL = 900, method: str = "GET") -> str:
        """Return an address under which a browser finds the blob, or may put it.

        Within a while it is the same each time, so that caches keep what they got: it holds for `expires` at least, and
        for a quarter longer at most. The blob need not exist.

        Args:
            key: The key.
            expires: Time for which it holds at least, in seconds or as a `timedelta`.
            method: The HTTP method that it allows.

        Raises:
            UnsupportedOperationError: This object has no `base_url`, and its target makes no addresses.
        """
        ...

    async def local_path(self, key: str) -> Path:
        """Return the path of the file that has the content, where blobs are files.

        Raises:
            BlobMissingError: There is no blob.
            UnsupportedOperationError: The target does not keep blobs as files.
        """
        ...

    async def sweep(self) -> int:
        """Remove what unfinished and replaced writes left behind, and return how many of them there were.

        It is also done little by little by each write.
        """
        ...
