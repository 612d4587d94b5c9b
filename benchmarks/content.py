"""What a digest costs beside the least that gives one: SHA-256 of the bytes, or of the value as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import POST, PROFILE
from satchel.content import digest

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


def run(report: Report) -> None:
    for title, value, steps in (("a profile", PROFILE, 1000), ("a post", POST, 1000), ("1,000 profiles", ROWS, 2)):
        contenders = {"digest": digesting(digest, value), "SHA-256 of sorted JSON": digesting(of_json, value)}
        report.compare(f"digest of {title}", contenders, steps=steps)
    array = np.frombuffer(MEGABYTE, "<f8")
    for title, value in (("1 MB of bytes", MEGABYTE), ("1 MB of an array", array)):
        contenders = {"SHA-256": digesting(of_bytes, value), "digest": digesting(digest, value)}
        report.compare(f"digest of {title}", contenders, steps=20)
