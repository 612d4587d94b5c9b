"""Blobs as a store of Zarr 3: arrays whose chunks are blobs.

```python
import zarr
from satchel.integrations.zarr import BlobZarrStore

array = zarr.create_array(BlobZarrStore("memory:"), shape=(1000,), chunks=(100,), dtype="f8")
array[:] = 1.5
```
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from ..blobs.protocol import Blobs
from ..errors import BlobExistsError, ConfigurationError, missing_extra
from ..url import open_blobs

try:
    from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
    from zarr.core.common import concurrent_map
except ModuleNotFoundError as error:
    raise missing_extra("satchel.integrations.zarr", "zarr", error) from error

__all__ = ["BlobZarrStore"]


class BlobZarrStore(Store):
    """Store of Zarr 3 over any blobs.

    Zarr carries out calls on an event loop of its own, in a thread. So give it a URL, or blobs that are used nowhere
    else: a store belongs to one event loop at a time. One made from a URL can be pickled, as for workers of dask.

    Args:
        blobs: The blobs, or their URL as for `open_blobs`.
        read_only: Refuse every write.

    Raises:
        ConfigurationError: No blobs are given, or the URL is wrong.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, blobs: Blobs | str, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        if not isinstance(blobs, str) and not callable(getattr(blobs, "put_file", None)):
            raise ConfigurationError(f"blobs must be Blobs or their URL, got {type(blobs).__name__}")
        self._given = blobs
        self.blobs: Blobs = open_blobs(blobs) if isinstance(blobs, str) else blobs

    def __reduce__(self) -> tuple[object, ...]:
        return _made, (type(self), self._given, self.read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._given == other._given and self.read_only == other.read_only

    __hash__ = Store.__hash__

    def __repr__(self) -> str:
        return f"BlobZarrStore({self.blobs!r})"

    def with_read_only(self, read_only: bool = False) -> BlobZarrStore:
        """Return a store over the same blobs that refuses writes, or does not."""
        other = type(self)(self.blobs, read_only=read_only)
        other._given = self._given
        return other

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a value or a part of it, None if there is none."""
        await self._ensure_open()
        start, end = _span(byte_range)
        content = await self.blobs.get(key, start=start, end=end)
        kind = (prototype or default_buffer_prototype()).buffer
        return None if content is None else kind.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several values or parts of them."""

        async def get(key: str, byte_range: ByteRequest | None) -> Buffer | None:
            return await self.get(key, prototype, byte_range)

        return await concurrent_map(key_ranges, get, limit=None)

    async def exists(self, key: str) -> bool:
        """Return whether there is a value."""
        await self._ensure_open()
        return await self.blobs.exists(key)

    async def getsize(self, key: str) -> int:
        """Return the size of a value in bytes."""
        await self._ensure_open()
        info = await self.blobs.info(key)
        if info is None:
            raise FileNotFoundError(key)
        return info.size

    async def set(self, key: str, value: Buffer) -> None:
        """Store a value."""
        await self._put(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Store a value if there is none, in one step."""
        try:
            await self._put(key, value, if_absent=True)
        except BlobExistsError:
            return

    async def _put(self, key: str, value: Buffer, **options: Any) -> None:
        self._check_writable()
        await self._ensure_open()
        if not isinstance(value, Buffer):
            raise TypeError(f"value must be a Buffer of zarr, got {type(value).__name__}")
        await self.blobs.put(key, value.to_bytes(), **options)

    async def delete(self, key: str) -> None:
        """Remove a value, if there is one."""
        self._check_writable()
        await self._ensure_open()
        await self.blobs.delete(key)

    async def list(self) -> AsyncIterator[str]:
        """Iterate over all keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Iterate over the keys that start with a prefix."""
        await self._ensure_open()
        for key in [key async for key in self.blobs.keys(prefix=prefix)]:  # they may be removed meanwhile
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Iterate over the names of keys and folders directly in a folder."""
        await self._ensure_open()
        folder = f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""
        async for found in self.blobs.prefixes("/", folder):
            yield found[len(folder) : -1]
        async for key in self.blobs.keys(prefix=folder, depth=1):
            if not key.endswith("/"):
                yield key[len(folder) :]


def _made(kind: type[BlobZarrStore], blobs: Blobs | str, read_only: bool) -> BlobZarrStore:
    return kind(blobs, read_only=read_only)


def _span(byte_range: ByteRequest | None) -> tuple[int, int | None]:
    """Return where a part begins and ends, as for a slice."""
    match byte_range:
        case None:
            return 0, None
        case RangeByteRequest(start, end):
            return start, end
        case OffsetByteRequest(offset):
            return offset, None
        case SuffixByteRequest(suffix):
            return (-suffix, None) if suffix else (0, 0)
        case _:
            raise ValueError(f"Unexpected byte_range, got {byte_range!r}.")
