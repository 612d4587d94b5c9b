"""A detector of calls that block the event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import BlockBuster, blockbuster_ctx


@contextmanager
def blocking_detected() -> Iterator[BlockBuster]:
    """Let every call of satchel's that blocks the event loop raise; its worker threads may run loops of their own."""
    with blockbuster_ctx("satchel") as detector:
        for function in detector.functions.values():
            function.can_block_in("threads.py", "carry_out")
        # Where a relative directory is, the kernel knows without looking at a file system.
        detector.functions["os.getcwd"].can_block_in("places.py", "settled")
        yield detector
