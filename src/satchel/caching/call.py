"""`CachedCall`: one call of a cached function, and what is kept of its result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .binding import Place
from .frames import Frame, framed, unframed
from .options import Lifetime


class CachedCall:
    """One call of a cached function: its key, its tags, and what is kept of its result.

    Args:
        place: Where the result is kept.
        key: The key.
        tags: Its tags.
        lifetime: How long the result is kept.
        function: Calls the function.

    Attributes:
        versions: Versions of the tags, if they were read before for several calls; None to read them.
    """

    versions: Mapping[str, str] | None

    __slots__ = ("_function", "_lifetime", "_place", "key", "tags", "versions")

    def __init__(
        self, place: Place, key: str, tags: tuple[str, ...], lifetime: Lifetime, function: Callable[[], Awaitable[Any]]
    ) -> None:
        self.key = key
        self.tags, self.versions = tags, None
        self._place, self._lifetime, self._function = place, lifetime, function

    @property
    def trust(self) -> Callable[[Any], Awaitable[bool]] | None:
        """Function that returns whether what was kept is good; None where there are no tags."""
        return None if self._place.tags is None else self.is_good

    async def make(self) -> Any:
        """Call the function, and return what is kept: with tags, the versions that they had before."""
        place = self._place
        versions = self.versions
        if versions is None and place.tags is not None:
            versions = await place.tags.versions(self.tags)
        result = await self._function()
        value = await place.collection._dumped(self.key, result)
        return self._lifetime.of(result, value if versions is None else framed(Frame(versions, value)))

    async def is_good(self, kept: object) -> bool:
        """Return whether the tags of what was kept are the same now."""
        frame, tags = unframed(kept), self._place.tags
        return frame is not None and tags is not None and await tags.are_current(frame.tags, self.tags)

    def is_good_by(self, current: Mapping[str, str], kept: object) -> bool:
        """Return whether what was kept has the present versions of its tags."""
        frame = unframed(kept)
        return frame is not None and frame.tags == {tag: current.get(tag) for tag in self.tags}

    async def result(self, kept: Any) -> Any:
        """Return the result from what was kept."""
        if self._place.tags is not None and (frame := unframed(kept)) is not None:
            kept = frame.value
        return await self._place.collection._loaded(self.key, kept)
