"""Conformance suite of recorded calls: promises of `Calls` and `memoize`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ...content import ANY, Calls, ContentStore, FunctionCall, memoize
from ...errors import KeyMissingError
from ..clock import FakeClock
from .suite import NewStore, Suite

Pair = tuple[Calls, Calls]

_HOUR = 3600.0
_CONCURRENT = 10


class CallsConformance(Suite):
    """Suite for a store with `Capability.CONDITIONAL` and `ENUMERATE_KEYS` that is to carry recorded calls.

    A subclass says how to make a store, as for `StoreConformance`.
    """

    @pytest.fixture
    def pair(self, new_store: NewStore, clock: FakeClock) -> Pair:
        """Return recorded calls as two processes have them; over one store twice if it keeps to itself."""
        one: Any = new_store()
        other = new_store() if self.persistent else one
        return _calls(one, clock), _calls(other, clock)

    @pytest.fixture
    def calls(self, pair: Pair) -> Calls:
        """Return the test's recorded calls."""
        return pair[0]

    async def test_a_call_is_read_back_with_its_values(self, pair: Pair) -> None:
        one, other = pair
        values = {"x": [1, None, {"deep": [2.5, "é"]}], "flag": True}
        digest = await one.record(FunctionCall("f", values, result=None, version=2, tags={"project": "alpha", "n": 1}))
        call = await other.load(digest)
        assert (call.name, call.version, dict(call.tags)) == ("f", 2, {"project": "alpha", "n": 1})
        assert await call.arguments() == values
        assert await call.result() is None
        assert await one.record(FunctionCall("f", values, result="newer", version=2)) == digest
        assert await (await other.load(digest)).result() == "newer"
        assert await other.query().count() == 1

    async def test_what_was_not_recorded_is_absent(self, pair: Pair) -> None:
        one, other = pair
        digest = await one.record(FunctionCall("f", {"x": 1}, result=1))
        absent = await one.record(FunctionCall("f", {"x": 2}, result=2))
        assert await one.delete(absent)
        assert not await other.delete(absent)
        assert await other.get(absent) is None
        assert not await other.contains(absent)
        assert await other.contains(digest)
        with pytest.raises(KeyMissingError):
            await other.load(absent)

    async def test_a_query_finds_calls_by_each_condition(self, calls: Calls, clock: FakeClock) -> None:
        for number in range(4):
            tags = {"parity": number % 2, "late": None} if number > 1 else {"parity": number % 2}
            await calls.record(FunctionCall("pkg.f", {"x": number, "mode": "fast"}, result=number // 2, tags=tags))
            await calls.record(FunctionCall("pkg.f.g", {"x": number}, result=[number]))
            clock.advance(60)
        assert await numbers(calls.query(fn="pkg.f")) == [0, 1, 2, 3]
        assert await numbers(calls.query(fn="pkg")) == []
        assert await numbers(calls.query(args={"x": 2})) == [2, 2]
        assert await numbers(calls.query(fn="pkg.f", args={"x": 2})) == [2]
        assert await numbers(calls.query(args={"mode": ANY})) == [0, 1, 2, 3]
        assert await numbers(calls.query(fn="pkg.f", args={"mode": "fast", "x": 3})) == [3]
        assert await numbers(calls.query(args={"x": 2.0})) == []
        assert await numbers(calls.query(result=0)) == [0, 1]
        assert await numbers(calls.query(result=[3])) == [3]
        assert await numbers(calls.query(tags={"parity": 1})) == [1, 3]
        assert await numbers(calls.query(tags={"parity": True})) == []
        assert await numbers(calls.query(tags={"late": ANY})) == [2, 3]
        assert await numbers(calls.query(tags={"late": None, "parity": 0})) == [2]
        assert await numbers(calls.query(fn="pkg.f", since=clock() - 130)) == [2, 3]

    async def test_names_of_every_kind_are_found(self, calls: Calls) -> None:
        names = ["f", "f\0g", "f%00g", "#f", "a" * 500, "a" * 501, "日本", "F", "f/../g", " "]
        for name in names:
            await calls.record(FunctionCall(name, {name: name}, result=name, tags={name: name}))
        for name in names:
            for query in (
                calls.query(fn=name),
                calls.query(args={name: ANY}),
                calls.query(args={name: name}),
                calls.query(tags={name: name}),
                calls.query(tags={name: ANY}),
            ):
                assert (await query.only()).name == name

    async def test_keys_without_a_record_are_passed_over_and_tidied_up(self, pair: Pair, clock: FakeClock) -> None:
        one, other = pair
        digest = await one.record(FunctionCall("f", {"x": 1}, result=1))
        await one.record(FunctionCall("f", {"x": 2}, result=2))
        await one.content.store.delete("calls", digest)
        assert await other.query(fn="f").count() == 1
        assert await self._keys(one, "fn\0f\0") == 2
        clock.advance(2 * _HOUR)
        assert await other.query(fn="f").count() == 1
        assert await self._keys(one, "fn\0f\0") == 1

    async def test_a_call_recorded_again_is_found_once(self, calls: Calls, clock: FakeClock) -> None:
        for result in range(3):
            await calls.record(FunctionCall("f", {"x": 1}, result=result, tags={"run": result}))
            clock.advance(2 * _HOUR)
        assert await (await calls.query(fn="f").only()).result() == 2
        assert await calls.query(tags={"run": 1}).count() == 0
        assert await calls.query(result=0).count() == 0
        assert await self._keys(calls, "fn\0f\0") == 1

    async def test_calls_are_transformed(self, pair: Pair) -> None:
        one, other = pair
        for number in range(3):
            await one.record(FunctionCall("old.f", {"x": number}, result=number))
        await one.record(FunctionCall("g", {"x": 7}, result=7))

        def renamed(call: Any) -> FunctionCall | None:
            if call.name != "old.f":
                return None
            changed: FunctionCall = call.replace(name="new.f", arguments={**call.argument_digests, "scale": 1.0})
            return changed

        assert await other.transform(renamed) == 3
        assert await other.transform(renamed) == 0
        assert await one.query(fn="old.f").count() == 0
        assert await numbers(one.query(fn="new.f", args={"scale": 1.0})) == [0, 1, 2]
        assert await (await one.query(args={"x": 2}).only()).result() == 2
        assert await one.query(fn="g").count() == 1

    async def test_a_collection_keeps_the_values_of_recorded_calls(self, pair: Pair, clock: FakeClock) -> None:
        one, other = pair
        kept = await one.record(FunctionCall("f", {"x": ["kept"]}, result={"y": "kept"}))
        gone = await one.record(FunctionCall("f", {"x": ["gone"]}, result={"y": "gone"}))
        clock.advance(2 * _HOUR)
        await other.delete(gone)
        report = await other.content.gc()
        assert report.removed > 0
        call = await one.load(kept)
        assert (await call.arguments(), await call.result()) == ({"x": ["kept"]}, {"y": "kept"})

    async def test_a_function_runs_once_for_equal_arguments(self, pair: Pair) -> None:
        one, other = pair
        ran: list[object] = []

        async def f(x: Any, *, scale: int = 1) -> list[object]:
            ran.append(x)
            await asyncio.sleep(0)
            return [x, scale]

        here, there = memoize(one, name="f")(f), memoize(other, name="f")(f)
        results = await asyncio.gather(*(here({"n": 1}) for _ in range(_CONCURRENT)))
        assert results == [[{"n": 1}, 1]] * _CONCURRENT
        assert len(ran) == 1
        results[0].append("changed")
        assert await there(x={"n": 1}, scale=1) == [{"n": 1}, 1]
        assert len(ran) == 1
        assert await there({"n": 1}, scale=2) == [{"n": 1}, 2]
        assert len(ran) == 2

    async def test_a_call_whose_result_is_gone_runs_again(self, pair: Pair) -> None:
        one, other = pair
        ran: list[object] = []

        async def f(x: int) -> str:
            ran.append(x)
            return "result"

        here, there = memoize(one, name="f")(f), memoize(other, name="f")(f)
        await here(1)
        await one.content.evict((await one.query(fn="f").only()).result_digest)
        assert not await there.contains(1)
        assert await there(1) == "result"
        assert await here(1) == "result"
        assert len(ran) == 2

    async def test_processes_run_a_function_once_if_they_are_to(self, pair: Pair) -> None:
        ran: list[object] = []

        async def f(x: int) -> None:
            ran.append(x)
            await asyncio.sleep(0.01)

        both = [memoize(calls, name="f", across_processes=True)(f) for calls in pair]
        await asyncio.gather(*(memoized(1) for memoized in both * 3))
        assert len(ran) == 1

    async def _keys(self, calls: Calls, prefix: str) -> int:
        store: Any = calls.content.store
        return len([key async for key in store.keys("calls/index", prefix=prefix)])


def _calls(store: Any, clock: FakeClock) -> Calls:
    return Calls(ContentStore(store, clock=clock), clock=clock)


async def numbers(query: Any) -> list[Any]:
    """Return the arguments `x` of the calls that match, sorted."""
    return sorted([await call.argument("x") async for call in query])
