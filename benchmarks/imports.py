"""What `import satchel` costs beyond `import asyncio, msgspec`, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from benchmarks.harness import Report, pinned

STATEMENTS = {
    "import asyncio, msgspec": "import asyncio, msgspec",
    "import satchel": "import satchel",
    "import asyncio, msgspec, satchel": "import asyncio, msgspec, satchel",
    "the same, and MemoryStore": "import asyncio, msgspec, satchel; satchel.MemoryStore",
    "the same, and DiskStore": "import asyncio, msgspec, satchel; satchel.DiskStore",
}


def run(report: Report) -> None:
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    with pinned():
        for number in range(report.rounds + 1):
            for name, statement in STATEMENTS.items():
                started = time.perf_counter()
                subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603  # a statement of ours
                if number:  # the first round compiles
                    times[name].append(time.perf_counter() - started)
    base = median(times["import asyncio, msgspec"])
    report.table(
        "a fresh interpreter, pinned",
        {name: {"ms": median(taken) * 1e3, "ms more": (median(taken) - base) * 1e3} for name, taken in times.items()},
    )
