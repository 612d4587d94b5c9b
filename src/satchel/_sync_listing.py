"""`Listing`: takes the names of an async listing to another thread, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

_PAGE = 500
"""So many names make the way between the threads together."""


class Listing:
    """Gives the names of an async listing in pages, on the event loop that the listing belongs to."""

    def __init__(self, names: AsyncIterator[str]) -> None:
        self._names = names
        self._turn = asyncio.Lock()

    async def page(self) -> list[str]:
        """Return the next names, none when there are no more."""
        async with self._turn:
            page: list[str] = []
            async for name in self._names:
                page.append(name)
                if len(page) == _PAGE:
                    break
            return page

    async def close(self) -> None:
        """Release what the listing holds, once a page that is under way has ended."""
        async with self._turn:
            if isinstance(self._names, AsyncGenerator):
                await self._names.aclose()
