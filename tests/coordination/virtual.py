"""An event loop whose time passes only while all its tasks wait, and then at once."""

import asyncio
import selectors


class _Selector(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise AssertionError("every task waits for something that never comes")
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Passes the time of timers without waiting."""

    def __init__(self):
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self):
        return self._virtual.now

    def pass_time(self, seconds):
        """Let time pass without anything else happening, as while a process is stopped."""
        self._virtual.now += seconds


def run(work):
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def wall_clock():
    """Give the time of day, in the time of the running loop; it is exact."""
    return 1_800_000_000.0 + asyncio.get_running_loop().time()
