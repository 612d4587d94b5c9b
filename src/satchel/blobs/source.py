"""`BlobSource`: one version of a blob, open for reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing

from .data import joined
from .info import BlobInfo


class BlobSource(ABC):
    """One version of a blob, open for reading.

    Attributes:
        info: What is known about it.
    """

    info: BlobInfo

    @abstractmethod
    def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Iterate over the bytes from `start` up to `end`, which are within the blob, in pieces of any size.

        Several may be under way at once. What is damaged or cut short raises `IntegrityError`.

        Raises:
            BlobChangedError: This version can no longer be read.
        """

    async def read_whole(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to `end`, which are within the blob; raises what `read` does."""
        async with aclosing(self.read(start, end)) as pieces:
            return await joined(pieces)

    async def aclose(self) -> None:  # most sources hold nothing
        """Release what the source holds."""
