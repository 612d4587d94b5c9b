"""What type checkers make of memoized functions. This file is checked, not run."""

from collections.abc import AsyncIterator
from typing import Any, assert_type

from satchel import MemoryStore
from satchel.content import (
    Calls,
    ContentStore,
    Digest,
    FunctionCall,
    Query,
    RecordedCall,
    environment,
    memoize,
)
from satchel.sync import SyncStore

sync = SyncStore(MemoryStore())
calls = Calls(ContentStore(sync.inner))


@memoize(calls, version=1, ignore=["verbose"], metadata=[environment], tags={"project": "alpha"})
async def area(width: int, height: int = 1, *, verbose: bool = False) -> float:
    return width * height


@memoize(calls)
def length(text: str) -> int:
    return len(text)


@memoize(lambda: calls, sync=sync)
def plain(text: str) -> list[str]:
    return [text]


class Model:
    @memoize(calls)
    async def predict(self, x: float) -> float:
        return x

    @memoize(calls, sync=sync, ignore=["self"])
    def fit(self, x: float) -> str:
        return str(x)


async def uses() -> None:
    assert_type(await area(1, 2, verbose=True), float)
    assert_type(await area.load(1), float)
    assert_type(await area.rerun(width=1), float)
    assert_type(await area.contains(1), bool)
    assert_type(area.digest(1), Digest)
    assert_type(area.call(1), FunctionCall)
    await area("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await area.load(1, depth=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    assert_type(await length("a"), int)
    await length(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert_type(plain("a"), list[str])
    assert_type(plain.load("a"), list[str])
    plain(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert_type(await Model().predict(1.0), float)
    assert_type(Model().fit(1.0), str)
    Model().fit("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    query = area.query({"width": 1}, since=1.0)
    assert_type(query, Query)
    assert_type(await query.latest(), RecordedCall | None)
    assert_type(await query.only(), RecordedCall)
    async for call in query.take(3):
        assert_type(call, RecordedCall)
    results: AsyncIterator[Any] = query.results()
    assert_type(await anext(results), Any)
