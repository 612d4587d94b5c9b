import io
import sys
from dataclasses import dataclass

import pytest

from satchel.cli import run


@dataclass
class Done:
    """What a command did."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self):
        return self.out.decode().splitlines()


@pytest.fixture(scope="module", autouse=True)
def writing_to_streams_is_allowed(blocking_detector):
    """The command's loop has nothing else to do while standard output waits."""
    for name, function in blocking_detector.functions.items():
        if name.startswith(("io.", "sys.", "builtins.")):
            for place in ("cli/output.py", "cli/transfer.py", "cli/entries.py", "cli/outcome.py"):
                function.can_block_in(place, {"line", "_write", "write", "_sink", "say", "ls", "show", "show_plain"})


@pytest.fixture
def satchel(tmp_path, monkeypatch, capfdbinary):
    """Run a command in this process, with a disk store in a directory of its own as the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SATCHEL_URL", "disk:data")

    def call(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        code = run([str(argument) for argument in arguments])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return Done(code, out, err.decode())

    return call
