"""An aiobotocore client of a store's own, made without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any, Self

from aiobotocore.config import AioConfig  # type: ignore[import-untyped]  # it has no types
from aiobotocore.session import get_session  # type: ignore[import-untyped]  # it has no types

_SETTINGS = AioConfig(
    # The driver would also send again what may have been done already: a conditional write then sees its own first
    # sending, and says that it lost. The store itself sends again what was certainly not done.
    retries={"total_max_attempts": 1, "mode": "standard"},
    parameter_validation=False,  # what is sent has been checked before
    max_pool_connections=64,
)


class OwnClient:
    """Is a client that was made here.

    It is closed by `close`, and at the orderly end of its event loop.
    """

    def __init__(self, client: Any, guard: AsyncGenerator[None]) -> None:
        self.client = client
        self._guard = guard

    @classmethod
    async def make(cls, **arguments: Any) -> Self:
        """Make a client: aiobotocore reads large files for it, and perhaps asks for credentials.

        Args:
            **arguments: Those of `create_client`.
        """
        session = await asyncio.to_thread(get_session)
        stack = AsyncExitStack()
        creating = session.create_client("dynamodb", config=_SETTINGS, **arguments)
        # It awaits nothing of the thread's own event loop that would outlive it: connections are made later.
        client = await asyncio.to_thread(asyncio.run, stack.enter_async_context(creating))
        guard = _close_at_end_of_loop(stack)
        await anext(guard)
        return cls(client, guard)

    async def close(self) -> None:
        """Close the client and its connections."""
        await self._guard.aclose()


async def _close_at_end_of_loop(stack: AsyncExitStack) -> AsyncGenerator[None]:
    """Close a client when this generator is closed: `asyncio.run` does that to all of them at its end."""
    try:
        yield
    finally:
        await stack.aclose()
