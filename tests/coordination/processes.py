"""Processes of `tests.coordination.worker` over one store, and the stores that several processes can share."""

import asyncio
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from satchel import open_store
from tests.servers import server_url

ROOT = Path(__file__).parents[2]
ANY_CREDENTIALS = "region_name=eu-west-1&aws_access_key_id=local&aws_secret_access_key=local"


def _dynamodb(_place, name):
    return f"dynamodb://{name}?create_table=true&endpoint_url={server_url('dynamodb')}&{ANY_CREDENTIALS}"


URLS = {
    "disk": lambda place, _name: f"disk://{place}",
    "filetree": lambda place, _name: f"file://{place}",
    "redis": lambda _place, name: f"{server_url('redis')}?prefix={name}",
    "dynamodb": _dynamodb,
    "mongodb": lambda _place, name: f"{server_url('mongodb')}?coll_name={name}",
    "nats": lambda _place, name: f"{server_url('nats')}/{name}",
    "postgresql": lambda _place, name: f"{server_url('postgresql')}?table_name={name.replace('-', '_')}",
}
EMBEDDED = ("disk", "filetree")
DAILY = ("disk", "redis")
"""Stores with which the default profile is content: on the others, processes wait for each other for minutes."""


def _marks(name):
    return [*[pytest.mark.server(name)] * (name not in EMBEDDED), *[pytest.mark.night] * (name not in DAILY)]


BACKENDS = [pytest.param(name, marks=_marks(name)) for name in URLS]


class Worker:
    """Is one process at work."""

    def __init__(self, work, url, *arguments):
        command = [sys.executable, "-m", "tests.coordination.worker", work, url, *map(str, arguments)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()

    def hear(self):
        """Wait for what it says next."""
        line = self._process.stdout.readline()
        assert line, self._process.communicate()[1].decode()
        return json.loads(line)

    def pause(self):
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def kill(self):
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL

    def finish(self):
        """Wait for its end, and return what it said until then."""
        said, errors = self._process.communicate()
        assert (self._process.returncode, errors.decode()) == (0, "")
        return [json.loads(line) for line in said.splitlines()]


class Place:
    """Is one store, which processes share."""

    def __init__(self, backend, place):
        self.url = URLS[backend](place, f"satchel-{uuid4().hex[:12]}")
        self.use(lambda store: store.get("c", "k"))  # it has its table or the like from now on, and answers quickly

    def use(self, work):
        """Do something with the store in this process, which costs less than one more."""
        store = open_store(self.url)  # not on an event loop: it imports the driver

        async def opened():
            async with store:
                return await work(store)

        return asyncio.run(opened())

    def worker(self, work, *arguments):
        return Worker(work, self.url, *arguments)

    def run(self, work, *arguments):
        """Let one process do its work, and return what it said at last."""
        with self.worker(work, *arguments) as worker:
            said = worker.finish()
        return said[-1] if said else None

    def run_all(self, count, work, *arguments):
        """Let many processes do the same, and return what each said."""
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(lambda _: self.run(work, *arguments), range(count)))
