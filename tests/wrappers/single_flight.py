"""Factories for tests of single flights."""

import asyncio


class Factory:
    """Counts its runs, and waits in each until it is let go. Gives one outcome a run, and the last for ever."""

    def __init__(self, *outcomes, held=False):
        self.outcomes = list(outcomes)
        self.runs = self.cancelled = 0
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def __call__(self):
        self.runs += 1
        outcome = self.outcomes[min(self.runs, len(self.outcomes)) - 1]
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def other_tasks():
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def quiet():
    """Let everything in the background come to its end."""
    async with asyncio.timeout(50):
        while tasks := other_tasks():
            await asyncio.wait(tasks)
