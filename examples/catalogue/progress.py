"""A progress bar on a terminal, a few plain lines elsewhere."""

import sys
from types import TracebackType
from typing import Self

WIDTH = 32


class Progress:
    def __init__(self, title: str, total: int) -> None:
        self._title = f"{title:<24}"
        self._total = total
        self._live = sys.stdout.isatty()
        self._shown = -1

    def __enter__(self) -> Self:
        self.show(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            print(flush=True)

    def show(self, done: int) -> None:
        step = done * (WIDTH if self._live else 4) // max(self._total, 1)
        if step == self._shown:
            return
        self._shown = step
        count = f"{done:>7,} of {self._total:,} entries"
        if self._live:
            print(f"\r  {self._title} {'█' * step}{'░' * (WIDTH - step)} {count}", end="", flush=True)
        else:
            print(f"  {self._title} {count}", flush=True)
