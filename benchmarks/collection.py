"""What a typed collection adds to a get, beside validating by hand what the store gives.

The table after each gives the difference. The first two, added up, are less than the third: a value that has just
been decoded is not in the processor's caches as one is that is validated again and again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import POST, PROFILE
from satchel import MemoryStore

STEPS = 5_000
GOAL = 0.5


class StructName(msgspec.Struct):
    first: str
    last: str


class StructProfile(msgspec.Struct):
    id: int
    username: str
    email: str
    name: StructName
    active: bool
    roles: list[str]
    score: float
    created_at: str
    address: dict[str, str]
    preferences: dict[str, Any]


class PydanticName(pydantic.BaseModel):
    first: str
    last: str


class PydanticProfile(pydantic.BaseModel):
    id: int
    username: str
    email: str
    name: PydanticName
    active: bool
    roles: list[str]
    score: float
    created_at: str
    address: dict[str, str]
    preferences: dict[str, Any]


@dataclass
class DataPost:
    id: int
    author: str
    title: str
    text: str
    tags: list[str]
    created_at: str
    published: bool


class PydanticPost(pydantic.BaseModel):
    id: int
    author: str
    title: str
    text: str
    tags: list[str]
    created_at: str
    published: bool


def by_msgspec(model: Any) -> Callable[[Any], Any]:
    return lambda value: msgspec.convert(value, model)


def by_pydantic(model: Any) -> Callable[[Any], Any]:
    validator: Callable[[Any], Any] = pydantic.TypeAdapter(model).validator.validate_python
    return validator


CASES: list[tuple[str, Any, Any, Callable[[Any], Any]]] = [
    ("get a post, a dataclass", POST, DataPost, by_msgspec(DataPost)),
    ("get a post, pydantic", POST, PydanticPost, by_pydantic(PydanticPost)),
    ("get a profile, a Struct", PROFILE, StructProfile, by_msgspec(StructProfile)),
    ("get a profile, pydantic", PROFILE, PydanticProfile, by_pydantic(PydanticProfile)),
]


def getting(value: Any, model: Any = None) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = MemoryStore()
        await store.put("c", "k", value)
        collection = store.collection("c", model=model)

        async def work(steps: range) -> None:
            get = store.get
            for _ in steps:
                await get("c", "k")

        async def typed_work(steps: range) -> None:
            get = collection.get
            for _ in steps:
                await get("k")

        yield work if model is None else typed_work

    return contender


def by_hand(value: Any, validate: Callable[[Any], Any]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = MemoryStore()
        await store.put("c", "k", value)

        async def work(steps: range) -> None:
            get = store.get
            for _ in steps:
                validate(await get("c", "k"))

        yield work

    return contender


def validating(value: Any, validate: Callable[[Any], Any]) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        decoded = msgspec.json.decode(msgspec.json.encode(value))

        async def work(steps: range) -> None:
            for _ in steps:
                validate(decoded)

        yield work

    return contender


def run(report: Report) -> None:
    for title, value, model, validate in CASES:
        contenders = {
            "store.get": getting(value),
            "validation alone": validating(value, validate),
            "both, by hand": by_hand(value, validate),
            "Collection.get": getting(value, model),
        }
        report.compare(title, contenders, steps=STEPS)
        rows = report.tables[-1]["rows"]
        added = {mode: rows["Collection.get"][mode] - rows["both, by hand"][mode] for mode in rows["store.get"]}
        microseconds = {mode: cost for mode, cost in added.items() if mode.endswith("µs")}
        report.table(f"{title}: beyond by hand, goal {GOAL}", {"Collection.get": microseconds})
