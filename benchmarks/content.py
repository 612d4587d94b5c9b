"""What a digest costs beside SHA-256 of the bytes or of JSON, and what it costs to save a long list in parts."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import numpy as np

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import POST, PROFILE
from satchel import AsyncKeyValue, DiskStore, MemoryStore
from satchel.content import ContentStore, digest

MEGABYTE = bytes(range(256)) * 4096
ROWS = [PROFILE | {"id": number} for number in range(1000)]


def of_bytes(value: Any) -> str:
    return hashlib.sha256(value).hexdigest()


def of_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digesting(function: Callable[[Any], str], value: object) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async def work(steps: range) -> None:
            for _ in steps:
                function(value)

        yield work

    return contender


NOTE = {"id": 0, "name": "user 17", "tags": ["a", "b"], "ok": True}
"""A row of about 60 bytes as JSON."""


def saving(make_store: Callable[[], AsyncKeyValue], depth: int, row: dict[str, Any]) -> Contender:
    """Return a contender that saves a list that differs in one row from the one that is saved."""

    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        async with make_store() as store:
            content = ContentStore(store, depth=depth)
            rows, counter = [row | {"id": number} for number in range(10_000)], count(1)
            await content.save(rows)

            async def work(steps: range) -> None:
                for _ in steps:
                    rows[5000] = row | {"id": -next(counter)}
                    await content.save(rows)

            yield work

    return contender


def run(report: Report) -> None:
    for title, value, steps in (("a profile", PROFILE, 1000), ("a post", POST, 1000), ("1,000 profiles", ROWS, 2)):
        contenders = {"digest": digesting(digest, value), "SHA-256 of sorted JSON": digesting(of_json, value)}
        report.compare(f"digest of {title}", contenders, steps=steps)
    array = np.frombuffer(MEGABYTE, "<f8")
    for title, content in (("1 MB of bytes", MEGABYTE), ("1 MB of an array", array)):
        contenders = {"SHA-256": digesting(of_bytes, content), "digest": digesting(digest, content)}
        report.compare(f"digest of {title}", contenders, steps=20)
    with tempfile.TemporaryDirectory() as directory:
        stores: dict[str, Callable[[], AsyncKeyValue]] = {
            "memory": MemoryStore,
            "disk": lambda: DiskStore(tempfile.mkdtemp(dir=directory)),
        }
        for title, row in (("profiles", PROFILE), ("notes", NOTE)):
            for name, make_store in stores.items():
                contenders = {"whole": saving(make_store, 0, row), "in parts": saving(make_store, 1, row)}
                report.compare(f"save 10,000 {title}, one of them changed, on {name}", contenders, steps=2)
