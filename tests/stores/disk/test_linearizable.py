"""Four processes over one database, some of them killed, with checkpoints in between: each key is linearizable."""

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from satchel.stores.disk import DiskStore
from satchel.testing.simulation import UNKNOWN, History, HistoryCall

PROCESSES = 4

# The clock is one for all processes. Each key has its short time, in which all work on it; so its history stays short.
WORKER = """
import asyncio, json, os, random, sys, time
from satchel import StoreError
from satchel.stores.disk import DiskStore

directory, log, name, end, window = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), float(sys.argv[5])
chance = random.Random(name)
out = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
numbers = iter(range(10**9))

def note(*what):
    os.write(out, (json.dumps(what) + "\\n").encode())

async def work(store, task):
    while time.monotonic() < end:
        now = time.monotonic()
        turn = int(now / window)
        key = f"{turn} {chance.randrange(2)}"
        for _ in range(5):
            number = f"{name} {next(numbers)}"
            kind = chance.choices(["get", "put", "delete"], [8, 2, 1])[0]
            note("begin", number, key, kind, time.monotonic_ns())
            if kind == "get":
                answer = await store.get("c", key)
            elif kind == "put":
                answer = await store.put("c", key, number)
            else:
                answer = await store.delete("c", key)
            note("end", number, time.monotonic_ns(), answer)
        await asyncio.sleep(max(0.0, (turn + 1) * window - time.monotonic()))

async def main():
    async with DiskStore(directory) as store:
        await asyncio.gather(*(work(store, task) for task in range(2)))
        print(store.__class__.__name__, flush=True)

asyncio.run(main())
"""


def histories(logs: list[Path]) -> dict[str, History]:
    found: dict[str, History] = defaultdict(History)
    calls: dict[str, HistoryCall] = {}
    for log in logs:
        for line in log.read_text("utf-8").splitlines():
            what, number, *rest = json.loads(line)
            if what == "begin":
                key, kind, start = rest
                calls[number] = HistoryCall(kind, start, 1 << 62, UNKNOWN, token=number)
                found[key].calls.append(calls[number])
            else:
                calls[number].end, calls[number].answer = rest
    return found


def run(directory: Path, seconds: float, seed: int, kills: bool, store: str = "") -> dict[str, History]:
    chance = random.Random(seed)
    worker = f"{store}\n{WORKER}" if store else WORKER
    logs: list[Path] = []
    end = time.monotonic() + seconds + 1

    def start() -> subprocess.Popen[bytes]:
        logs.append(directory / f"log {len(logs)}")
        logs[-1].touch()  # it may be killed before it has written anything
        arguments = [str(directory / "data"), str(logs[-1]), f"{seed}.{len(logs)}", str(end), "0.05"]
        return subprocess.Popen([sys.executable, "-c", worker, *arguments], stdout=subprocess.DEVNULL)

    async def make() -> None:
        async with DiskStore(directory / "data") as made:
            await made.ping()

    asyncio.run(make())
    processes = [start() for _ in range(PROCESSES)]
    while time.monotonic() < end - 0.3:
        time.sleep(chance.uniform(0.05, 0.3))
        other = sqlite3.connect(directory / "data" / "satchel.sqlite3", isolation_level=None)
        other.execute(f"PRAGMA wal_checkpoint({chance.choice(['PASSIVE', 'RESTART', 'TRUNCATE'])})").fetchall()
        other.close()
        if kills and chance.random() < 0.5:
            at = chance.randrange(PROCESSES)
            processes[at].send_signal(signal.SIGKILL)
            processes[at].wait()
            processes[at] = start()
    assert [process.wait(60) for process in processes] == [0] * PROCESSES
    return histories(logs)


def check(found: dict[str, History]) -> None:
    assert sum(len(history.calls) for history in found.values()) > 100
    wrong = [key for key, history in found.items() if not history.is_linearizable()]
    assert wrong == []


@pytest.mark.parametrize(
    ("seconds", "seeds"),
    [
        pytest.param(2, 1, marks=pytest.mark.long),
        pytest.param(10, 20, marks=[pytest.mark.night, pytest.mark.timeout(900)]),
    ],
)
@pytest.mark.parametrize("kills", [False, True])
def test_each_key_is_linearizable_over_processes(seconds: float, seeds: int, kills: bool, tmp_path: Path) -> None:
    for seed in range(seeds):
        (tmp_path / str(seed)).mkdir()
        check(run(tmp_path / str(seed), seconds, seed, kills))


SEES_NO_OTHERS = """
from satchel.stores.disk.commits import ForeignCommits
_asked = ForeignCommits.none_since
ForeignCommits.none_since = lambda self: True if self.began else _asked(self)
"""


@pytest.mark.long
def test_a_store_that_sees_no_commits_of_others_is_caught(tmp_path: Path) -> None:
    found = run(tmp_path, 2, 5, kills=False, store=SEES_NO_OTHERS)
    assert not all(history.is_linearizable() for history in found.values())
