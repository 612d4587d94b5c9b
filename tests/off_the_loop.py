"""A block of a test that may wait for files on a thread that runs an event loop, as if it ran on another one."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def away_from_the_loop() -> Iterator[None]:
    """Let a block pass for one in which no event loop runs."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
