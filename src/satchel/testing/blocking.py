"""A detector of calls that block the event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import BlockBuster, blockbuster_ctx


@contextmanager
def blocking_detected() -> Iterator[BlockBuster]:
    """Let every call of satchel's that blocks the event loop raise; its worker threads may run loops of their own."""
    # Tasks that wait for a disk store go on below its frame there, the caller's too.
    with blockbuster_ctx("satchel", excluded_modules=["satchel.stores.disk.answers"]) as detector:
        for function in detector.functions.values():
            function.can_block_in("threads.py", "carry_out")
        # Where a relative directory is, the kernel knows without looking at a file system.
        detector.functions["os.getcwd"].can_block_in("places.py", "settled")
        # Whether others have changed a database is in memory that SQLite shares with them; the file is only looked for.
        for name in ("sqlite3.Cursor.execute", "sqlite3.Cursor.fetchall", "os.stat"):
            detector.functions[name].can_block_in("disk/commits.py", "none_since")
        # Once for each: which packages have hooks, and the source of a function. Imports read files in the same way.
        for function in detector.functions.values():
            function.can_block_in("content/hooks.py", "installed_hooks")
            function.can_block_in("content/functions.py", "source_of")
        yield detector
