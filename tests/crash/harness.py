"""Crash rounds: a writer in a process of its own is killed at a random moment, then what it left is checked.

The writer says in its journal, on its standard output, what it is about to do to an entry (`begin`) and what it was
told is done (`done`); what a killed process has written to a pipe is still there to be read. Afterwards each entry must
be in the state last done or in one begun since: nothing acknowledged is lost, nothing is torn.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from satchel import SupportsEverything

ROOT = Path(__file__).resolve().parents[2]
LONGEST_START = 30.0

Name = tuple[str, str]
State = object
"""The value of an entry; None for absent. A crash writer never puts None."""


# In the writer.


def begin(*entries: tuple[str, str, State]) -> None:
    """Say of each collection and key what state the entry is about to get."""
    _say("begin", entries)


def done(*entries: tuple[str, str, State]) -> None:
    """Say of each collection and key what state the entry now has."""
    _say("done", entries)


def _say(what: str, entries: tuple[tuple[str, str, State], ...]) -> None:
    text = "".join(json.dumps([what, *entry]) + "\n" for entry in entries).encode()
    while text:
        text = text[os.write(1, text) :]


# In the test.


class Journal:
    """Holds for each entry the states it may be in: the one last done first, then those begun since."""

    def __init__(self) -> None:
        self.possible: dict[Name, list[State]] = {}
        self.acknowledged = 0

    def read(self, line: bytes) -> None:
        """Take in a line; the torn last line of a killed writer is none."""
        if not line.endswith(b"\n"):
            return
        what, collection, key, state = json.loads(line)
        if what == "begin":
            self.possible.setdefault((collection, key), [None]).append(state)
        else:
            self.possible[collection, key] = [state]
            self.acknowledged += 1

    async def check(self, store: SupportsEverything, *, may_be_gone: bool = False) -> None:
        """Compare with a store, also that it lists these entries and no others.

        Args:
            store: The store over what the writer left.
            may_be_gone: Every entry may be absent, because the writer's store evicts.
        """
        found: dict[Name, State] = {}
        for collection in {name[0] for name in self.possible}:
            keys = [key for known, key in self.possible if known == collection]
            values = await store.get_many(collection, keys)
            found |= {(collection, key): value for key, value in values.items()}
        for name, states in self.possible.items():
            allowed = [*states, None] if may_be_gone else states
            assert found.get(name) in allowed, f"{name}: not a state it may be in, of {len(allowed)}"
        listed = [(collection, key) async for collection in store.collections() async for key in store.keys(collection)]
        assert sorted(listed) == sorted(found)


class Writer:
    """Runs a module as a process, from the root of the repository, and reads its journal."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.journal = Journal()
        self._begun = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._errors = b""
        self._readers = [threading.Thread(target=read) for read in (self._read_journal, self._read_errors)]
        for reader in self._readers:
            reader.start()

    def kill_after(self, pause: float) -> Journal:
        """Wait for the first line of the journal and a pause of so many seconds, kill, and return the journal."""
        begun = self._begun.wait(LONGEST_START)
        time.sleep(pause)
        ended = self._process.poll()
        self._process.kill()
        self._wait()
        assert begun, f"the writer wrote nothing in {LONGEST_START} s: {self._errors.decode()}"
        assert ended is None, f"the writer ended by itself with {ended}: {self._errors.decode()}"
        return self.journal

    def finish(self) -> Journal:
        """Wait for the writer to end by itself, and return the journal."""
        self._wait()
        assert self._process.returncode == 0, self._errors.decode()
        return self.journal

    def _wait(self) -> None:
        for reader in self._readers:
            reader.join()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _read_journal(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.journal.read(line)
            self._begun.set()
        self._begun.set()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors = self._process.stderr.read()


def write_and_kill(mode: str, store: str, seed: int, **options: object) -> Journal:
    """Run `tests.crash.writer` on a store and kill it up to 0.2 seconds after its first write began.

    Args:
        mode: What the writer does: one of the functions in `tests.crash.writer`.
        store: The class of the store, as `module:name`.
        seed: Makes the writer and the moment differ from round to round.
        options: What the store is made with; JSON values.
    """
    pause = random.Random(seed).uniform(0, 0.2)
    return Writer("tests.crash.writer", mode, store, str(seed), json.dumps(options)).kill_after(pause)
