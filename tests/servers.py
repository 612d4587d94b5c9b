"""The real servers that tests use: those of the whole run, by their URLs, and private ones to kill."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from scripts.test_servers.install import NotInstalledError
from scripts.test_servers.kinds import KINDS, variable
from scripts.test_servers.server import Server


def server_url(name: str) -> str:
    """Return the URL of the server that runs for all tests; they share it, so each uses names of its own."""
    return os.environ[variable(name)]


def is_missing(name: str) -> bool:
    """Tell whether nobody has said where a server is."""
    if name not in KINDS:
        raise LookupError(f"there is no server {name!r}; there are {', '.join(KINDS)}")
    return variable(name) not in os.environ


def must_be_tested() -> bool:
    """Tell whether a server that cannot be had is a failure."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false", "no"}


@contextmanager
def private_server(name: str, begin: Callable[[Server], str] | None = None) -> Iterator[Server]:
    """Start a server for one test, which may kill it; with `begin` in another way than the shared one.

    Where the shared one is somebody else's, as in a container, this machine may have none to start.
    """
    with Server(name, begin or KINDS[name]) as server:
        try:
            server.start()
        except NotInstalledError as error:
            if must_be_tested():
                raise
            pytest.skip(f"not tested: {name} ({error})")
        yield server
