"""Writers for tests that kill a server under load: what they were told was written must be there afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from satchel import StoreError, StoreTimeoutError, StoreUnavailableError


class Writers:
    """Puts entries and takes locks in several tasks, until told to stop; each key is one task's alone.

    Attributes:
        acknowledged: What was put, as the store said.
        won: The versions of the locks that were taken, as the store said.
        failures: What was raised instead.
    """

    def __init__(self, store: Any, *, count: int = 8) -> None:
        self._store = store
        self._count = count
        self._stopped = False
        self.acknowledged: dict[str, int] = {}
        self.won: dict[str, str] = {}
        self.failures: list[StoreError] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._write(writer)) for writer in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self, writer: int) -> None:
        number = 0
        while not self._stopped:
            number += 1
            key = f"{writer}-{number}"
            try:
                await self._store.put("c", key, number)
                self.acknowledged[key] = number
                version = await self._store.put_if_absent("locks", key, writer)
                assert version is not None, "nobody else takes this lock"
                self.won[key] = version
            except StoreError as error:
                self.failures.append(error)
                await asyncio.sleep(0.05)

    async def write(self, count: int) -> None:
        """Wait until so many more locks have been taken."""
        wanted = len(self.won) + count
        while len(self.won) < wanted:
            await self._go_on()

    async def fail(self) -> None:
        """Wait for as many failures as there are writers: no call waits for ever where no server is."""
        wanted = len(self.failures) + self._count
        while len(self.failures) < wanted:
            await self._go_on()

    def forget(self) -> None:
        """Expect nothing of what was written so far: the server keeps nothing over its end."""
        self.acknowledged.clear()
        self.won.clear()

    async def stop(self) -> None:
        """Let the writers come to their end, and check what failed, and that nothing acknowledged was lost."""
        self._stopped = True
        await asyncio.gather(*self._tasks)
        assert {type(failure) for failure in self.failures} <= {StoreUnavailableError, StoreTimeoutError}
        assert all(failure.retryable for failure in self.failures)
        assert await _answer(lambda: self._store.get_many("c", self.acknowledged)) == self.acknowledged
        entries = await _answer(lambda: self._store.get_entries("locks", self.won))
        assert {key: entry.version for key, entry in entries.items()} == self.won

    async def _go_on(self) -> None:
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in self._tasks), "a writer ended with an error that is no StoreError"


async def _answer(read: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a read gives in the end: a busy machine may be slower than such a store is patient."""
    while True:
        try:
            return await read()
        except StoreError as error:
            if not error.retryable:
                raise
