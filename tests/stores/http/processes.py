"""`satchel serve` in a process of its own, to be killed and started again on the same port."""

import subprocess
import sys
from typing import Self

PROGRAM = "import satchel.cli; satchel.cli.main()"


class Process:
    """Server in another process.

    Attributes:
        url: Where it is.

    Args:
        store: The URL of the store that it serves.
        *options: More options of the command.
    """

    def __init__(self, store: str, *options: str) -> None:
        self._store = store
        self._options = options
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, at first on a free port, and wait until it listens."""
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-c", PROGRAM, "serve", self._store, "--port", port, *self._options]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = self._process.stderr.readline()
        assert "serving" in line, line + self._process.stderr.read()
        self.url = next(word.rstrip(";") for word in line.split() if word.startswith("http://"))

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._process.stderr.close()

    def stop(self) -> None:
        """Let it end what it is at, and stop."""
        self._process.terminate()
        assert self._process.wait(30) == 0
        self._process.stderr.close()
