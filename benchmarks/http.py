"""HTTPStore against httpx making one request a call, on loopback, with `satchel serve` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx
import msgspec

from benchmarks.harness import Report
from benchmarks.network import compare
from satchel.stores.http import HTTPStore

STEPS = {1: 100, 32: 800}


class PlainStore:
    """What a service writes for itself: a request of httpx for each call, values encoded and decoded.

    Args:
        url: Where the server is.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder().decode
        self._client = httpx.AsyncClient(base_url=self._url, timeout=60, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, collection: str, key: str) -> Any:
        answer = await self._client.get(f"/v1/c/{collection}/{key}")
        return self._decode(answer.content) if answer.status_code == httpx.codes.OK else None

    async def put(self, collection: str, key: str, value: object, *, ttl: int) -> None:
        headers = {"Content-Type": "application/json", "Satchel-TTL": str(ttl)}
        answer = await self._client.put(f"/v1/c/{collection}/{key}", content=self._encode(value), headers=headers)
        answer.raise_for_status()


@contextmanager
def served() -> Iterator[str]:
    """Serve a memory store in another process, and give its URL."""
    command = [sys.executable, "-c", "import satchel.cli; satchel.cli.main()", "serve", "memory://", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:  # noqa: S603  # our own
        try:
            line = server.stderr.readline() if server.stderr else ""
            yield next(word.rstrip(";") for word in line.split() if word.startswith("http://"))
        finally:
            server.terminate()


def run(report: Report) -> None:
    with served() as url:
        makers = {"plain httpx": lambda: PlainStore(url), "satchel": lambda: HTTPStore(url)}
        compare(report, makers, STEPS)
