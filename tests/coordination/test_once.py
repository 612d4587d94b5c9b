"""Idempotency keys, by the tasks of one process."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import TypedDict

import pytest
from pydantic import BaseModel

from satchel import (
    ConfigurationError,
    IntegrityError,
    InvalidKeyError,
    InvalidTTLError,
    JsonCodec,
    LockLostError,
    MemoryStore,
    ModelMismatchError,
    ResultUnknownError,
    SerializationError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from satchel.coordination import Busy, Claimed, Once, Recorded
from satchel.testing import FlakyStore
from tests.coordination.test_counter import Another
from tests.coordination.test_lock import background_ends, wrapped
from tests.coordination.virtual import run, wall_clock


class Work:
    """Counts how often it is done, and waits at a gate if there is one."""

    def __init__(self, *results, gate=None):
        self.results = list(results)
        self.gate = gate
        self.calls = 0
        self.begun = asyncio.Event()

    async def __call__(self):
        self.calls += 1
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        else:
            await asyncio.sleep(0)
        result = self.results[min(self.calls, len(self.results)) - 1]
        if isinstance(result, BaseException):
            raise result
        return result


RESULTS = [None, False, 0, 1.5, "", "text", b"", b"\x00bytes", [], {"owner": "x", "result": 1}, {"until": 0.0}]


@pytest.mark.parametrize("result", RESULTS, ids=repr)
async def test_a_result_is_recorded_and_given_back_as_it_is(store, result):
    work = Work(result)
    answers = [await Once(Another(store)).run("key", work) for _ in range(3)]
    assert answers == [result] * 3
    assert [type(answer) for answer in answers] == [type(result)] * 3
    assert work.calls == 1


async def test_what_looks_like_a_claim_is_a_result_too(store):
    result = {"fencing_token": 1, "owner": "x", "until": 0.0}
    work = Work(result)
    assert [await Once(store).run("key", work) for _ in range(2)] == [result] * 2
    assert work.calls == 1


async def test_different_keys_and_collections_are_different(store):
    work = Work(1, 2, 3)
    once, other = Once(store), Once(store, collection="other")
    assert [await once.run("a", work), await once.run("b", work), await other.run("a", work)] == [1, 2, 3]
    assert await once.run("b", work) == 2


@pytest.mark.parametrize("objects", ["one store object", "an object each"])
async def test_of_fifty_at_once_one_runs(store, objects):
    work = Work("done")
    shared = Once(store)
    racers = [shared if objects == "one store object" else Once(Another(store)) for _ in range(50)]
    async with asyncio.timeout(50):
        assert await asyncio.gather(*[once.run("key", work) for once in racers]) == ["done"] * 50
    assert work.calls == 1


async def test_a_result_is_kept_for_its_time(store, clock):
    once, work = Once(store, ttl=60), Work(1, 2)
    assert await once.run("key", work) == 1
    clock.advance(59)
    assert await once.run("key", work) == 1
    clock.advance(1)
    assert await once.run("key", work) == 2


async def test_a_failed_run_goes_to_its_caller_and_is_done_again(store):
    once, work = Once(store), Work(ZeroDivisionError(), "done")
    with pytest.raises(ZeroDivisionError):
        await once.run("key", work)
    assert not await store.exists("once", "key")
    assert await once.run("key", work) == "done"


async def test_of_those_who_wait_the_next_one_tries_after_a_failure(store):
    once, work = Once(store), Work(ZeroDivisionError(), ZeroDivisionError(), "done")
    answers = await asyncio.gather(*[once.run("key", work) for _ in range(5)], return_exceptions=True)
    assert [type(answer) for answer in answers] == [ZeroDivisionError] * 2 + [str] * 3
    assert work.calls == 3


async def test_a_cancelled_run_is_done_again(store):
    once, work = Once(store), Work("done", gate=asyncio.Event())
    task = asyncio.create_task(once.run("key", work))
    await work.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    work.gate.set()
    assert await once.run("key", work) == "done"
    assert work.calls == 2


async def test_a_function_that_runs_its_own_key_is_refused_rather_than_waiting_for_itself(store):
    once = Once(store)

    async def work():
        assert await Once(store).run("another", Work("done")) == "done"
        return await Once(store).run("key", Work("never"))

    async with asyncio.timeout(50):
        with pytest.raises(RuntimeError, match="key 'key' of collection 'once': it would wait for itself"):
            await once.run("key", work)
        assert await once.run("key", Work("done")) == "done"


async def test_who_waits_can_be_cancelled_and_the_run_goes_on(store):
    once, work = Once(store), Work("done", gate=asyncio.Event())
    running, waiting = (asyncio.create_task(once.run("key", work)) for _ in range(2))
    await work.begun.wait()
    waiting.cancel()
    work.gate.set()
    assert await running == "done"
    assert work.calls == 1


async def test_a_run_whose_caller_is_cancelled_when_it_is_done_is_recorded():
    class Recording(MemoryStore):
        recording, answers = asyncio.Event(), asyncio.Event()

        async def compare_and_put(self, *arguments, **named):
            self.recording.set()
            await self.answers.wait()
            return await super().compare_and_put(*arguments, **named)

    store, work = Recording(), Work("done")
    task = asyncio.create_task(Once(store).run("key", work))
    await store.recording.wait()
    task.cancel()
    store.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await Once(store).run("key", work) == "done"
    assert work.calls == 1


async def test_a_result_that_is_not_recorded_after_its_caller_was_cancelled_is_told(caplog):
    class Failing(MemoryStore):
        recording, answers = asyncio.Event(), asyncio.Event()

        async def compare_and_put(self, *arguments, **named):
            self.recording.set()
            await self.answers.wait()
            raise StoreError("gone")

    unheard = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    store = Failing()
    task = asyncio.create_task(Once(store).run("key", Work("done")))
    await store.recording.wait()
    task.cancel()
    store.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await background_ends()
    assert "key 'key' of collection 'once' has run, but its result was not recorded: gone" in caplog.text
    assert "done" not in caplog.text
    assert unheard == []


def test_a_claim_that_lapsed_is_taken_by_another_and_its_holder_records_nothing():
    async def scenario():
        store, slow, quick = MemoryStore(clock=wall_clock), Work("slow", gate=asyncio.Event()), Work("quick")
        stopped = asyncio.create_task(Once(Another(store), claim_ttl=1000).run("key", slow))
        other = asyncio.create_task(Once(Another(store)).run("key", quick))
        await slow.begun.wait()
        await asyncio.sleep(1)
        asyncio.get_running_loop().pass_time(1000)
        assert await other == "quick"
        slow.gate.set()
        with pytest.raises(LockLostError):
            await stopped
        assert await Once(store).run("key", slow) == "quick"

    run(scenario())


def test_a_claim_is_renewed_while_the_function_runs():
    async def scenario():
        store, work, ready = MemoryStore(clock=wall_clock), Work("done"), asyncio.Event()
        work.gate = ready
        racers = [asyncio.create_task(Once(Another(store), claim_ttl=10).run("key", work)) for _ in range(3)]
        await asyncio.sleep(100)
        ready.set()
        assert await asyncio.gather(*racers) == ["done"] * 3
        assert work.calls == 1

    run(scenario())


def test_the_function_is_cancelled_when_its_claim_cannot_be_renewed():
    async def scenario():
        store, work = FlakyStore(clock=wall_clock), Work("done")
        work.gate = asyncio.Event()
        once = Once(store, claim_ttl=10)
        task = asyncio.create_task(once.run("key", work))
        await work.begun.wait()
        store.fail_next(1000)
        with pytest.raises(LockLostError):
            await task
        store._failures.clear()
        work.gate.set()
        return await Once(store).run("key", work), work.calls

    assert run(scenario()) == ("done", 2)


async def test_a_result_is_recorded_though_the_store_fails_for_a_while():
    store = FlakyStore()

    async def work():
        store.fail_next(3, operation="put_if")
        return "done"

    assert await Once(store).run("key", work) == "done"
    assert await Once(store).run("key", Work()) == "done"


async def test_a_record_whose_answer_was_lost_is_one():
    class Losing(MemoryStore):
        lose = True

        async def compare_and_put(self, *arguments, **named):
            version = await super().compare_and_put(*arguments, **named)
            if self.lose:
                self.lose = False
                raise StoreTimeoutError("lost")
            return version

    store, work = Losing(), Work(b"done")
    assert await Once(store).run("key", work) == b"done"
    assert await Once(store).run("key", work) == b"done"
    assert work.calls == 1


def test_a_result_that_cannot_be_recorded_while_the_claim_holds_is_an_error_of_the_store():
    async def scenario():
        store = FlakyStore(clock=wall_clock)

        async def work():
            store.fail_next(1000)

        with pytest.raises(StoreUnavailableError):
            await Once(store, claim_ttl=10).run("key", work)
        store._failures.clear()
        return await Once(store).run("key", Work("again"))

    assert run(scenario()) == "again"


async def test_a_claim_whose_answer_was_lost_is_given_back():
    class Losing(MemoryStore):
        lose = True

        async def put_if_absent(self, *arguments, **named):
            version = await super().put_if_absent(*arguments, **named)
            if self.lose:
                self.lose = False
                raise StoreTimeoutError("lost")
            return version

    store, work = Losing(), Work("done")
    with pytest.raises(StoreTimeoutError):
        await Once(store).run("key", work)
    async with asyncio.timeout(50):
        assert await Once(store, claim_ttl=1000).run("key", work) == "done"
    assert work.calls == 1


async def test_a_function_whose_result_no_store_takes_is_not_run_again(store):
    work = Work((1, 2), "done")
    with pytest.raises(SerializationError, match=r"has run, but its result cannot be recorded.*model="):
        await Once(store).run("key", work)
    for _ in range(2):
        with pytest.raises(ResultUnknownError, match=r"key 'key' of collection 'once' has run.*SerializationError"):
            await Once(Another(store)).run("key", work)
    assert work.calls == 1


async def test_that_a_function_has_run_is_kept_for_the_time_of_a_result(store, clock):
    work = Work((1, 2), "done")
    with pytest.raises(SerializationError):
        await Once(store, ttl=60).run("key", work)
    clock.advance(60)
    assert await Once(store).run("key", work) == "done"


async def test_a_function_whose_result_is_too_large_is_not_run_again():
    store, work = MemoryStore(max_bytes=1000), Work("x" * 2000, "done")
    with pytest.raises(ValueTooLargeError):
        await Once(store).run("key", work)
    with pytest.raises(ResultUnknownError):
        await Once(store).run("key", work)
    assert work.calls == 1


class FailingCodec(JsonCodec):
    number = 200

    def encode(self, value):
        if "secret" in repr(value):
            raise KeyError("no such encoding")
        return super().encode(value)

    def encode_if_small(self, value):
        return self.encode(value)


async def test_a_function_whose_result_a_codec_fails_at_is_not_run_again():
    store, work = MemoryStore(codec=FailingCodec()), Work("secret", "done")
    with pytest.raises(KeyError, match="no such encoding"):
        await Once(store).run("key", work)
    with pytest.raises(ResultUnknownError, match="KeyError"):
        await Once(store).run("key", work)
    assert work.calls == 1


@dataclass
class Receipt:
    total: int
    at: datetime


class Invoice(BaseModel):
    total: int


class Amount(TypedDict):
    total: int


RECEIPT = Receipt(3, datetime(2026, 1, 2, tzinfo=UTC))


async def receipt() -> Receipt:
    return RECEIPT


async def invoice() -> Invoice | None:
    return Invoice(total=3)


async def amount() -> Amount:
    return {"total": 3}


async def amounts() -> list[tuple[int, int]]:
    return [(1, 2)]


def not_async() -> Awaitable[Receipt]:
    return receipt()


class Charging:
    async def __call__(self) -> Receipt:
        return RECEIPT

    async def method(self) -> Receipt:
        return RECEIPT


FUNCTIONS = [
    receipt,
    invoice,
    amount,
    amounts,
    not_async,
    partial(receipt),
    Charging(),
    Charging().method,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: type(function).__name__)
async def test_a_result_comes_back_as_its_annotation_says(store, function):
    expected = await function()
    results = [await Once(Another(store)).run("key", function) for _ in range(2)]
    assert results == [expected] * 2
    assert [type(result) for result in results] == [type(expected)] * 2


async def test_a_result_comes_back_as_the_model_says(store):
    work = Work(RECEIPT)
    assert [await Once(store).run("key", work, model=Receipt) for _ in range(2)] == [RECEIPT] * 2
    assert work.calls == 1
    with pytest.raises(ModelMismatchError, match="key 'key' of collection 'once'"):
        await Once(store).run("key", work, model=int)
    assert work.calls == 1


async def test_a_result_that_is_not_what_the_model_says_is_not_made_again(store):
    work = Work("text")
    with pytest.raises(ModelMismatchError, match="has run"):
        await Once(store).run("key", work, model=Receipt)
    with pytest.raises(ResultUnknownError):
        await Once(store).run("key", work, model=Receipt)
    assert work.calls == 1


class Connection:
    pass


async def test_a_function_whose_result_can_never_be_recorded_is_refused_before_it_runs(store):
    calls = []

    async def connect() -> Connection:
        calls.append("connect")
        return Connection()

    for named in ({}, {"model": Connection}):
        with pytest.raises(ConfigurationError, match="Connection"):
            await Once(store).run("key", connect, **named)
    assert calls == []
    assert not await store.exists("once", "key")


async def test_a_function_that_is_not_async_is_refused_and_the_claim_is_released(store):
    with pytest.raises(TypeError):
        await Once(store).run("key", lambda: 1)
    assert not await store.exists("once", "key")


async def test_what_is_no_function_is_refused_before_anything_is_read():
    store = FlakyStore()
    store.fail_next(1)
    work = Work("done")()
    with pytest.raises(TypeError, match="takes an async function, got coroutine"):
        await Once(store).run("key", work)
    work.close()


async def test_a_failure_of_the_store_before_the_run_is_raised():
    store, work = FlakyStore(), Work("done")
    store.fail_next(1)
    with pytest.raises(StoreUnavailableError):
        await Once(store).run("key", work)
    assert work.calls == 0


async def test_an_entry_that_no_once_wrote_is_refused_and_left(store):
    for value in ({"user": "data"}, b"short", 7):
        await store.put("once", "key", value)
        with pytest.raises(IntegrityError, match="something that no Once wrote"):
            await Once(store).run("key", Work("done"))
        assert await store.get("once", "key") == value


async def test_once_works_through_wrappers(store):
    work = Work(b"bytes")
    answers = await asyncio.gather(*[Once(wrapped(store)).run("key", work) for _ in range(5)])
    assert answers == [b"bytes"] * 5
    assert work.calls == 1


async def test_bad_arguments_are_refused(store):
    for options, error in [({"ttl": 0}, InvalidTTLError), ({"claim_ttl": -1}, InvalidTTLError)]:
        with pytest.raises(error):
            Once(store, **options)
    with pytest.raises(InvalidKeyError):
        await Once(store).run("", Work("done"))
    assert repr(Once(store)) == "Once(MemoryStore(), collection='once')"


async def test_a_claim_is_given_to_one_caller_and_its_record_to_all_others(store):
    once = Once(store)
    claim = await once.claim("key")
    assert await Once(Another(store)).claim("key") == await once.claim("key") == Busy()
    async with claim:
        await claim.record({"charged": 100})
    assert await once.claim("key") == Recorded({"charged": 100})
    assert await once.run("key", Work()) == {"charged": 100}


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, None])
async def test_a_block_that_records_nothing_gives_its_claim_back(store, error):
    once = Once(store)
    with suppress(ZeroDivisionError, asyncio.CancelledError):
        async with await once.claim("key"):
            if error is not None:
                raise error
    assert isinstance(await Once(Another(store)).claim("key"), Claimed)


async def test_a_result_is_recorded_by_a_claim_once(store):
    async with await Once(store).claim("key") as claim:
        await claim.record(None)
        with pytest.raises(RuntimeError, match="has already been recorded"):
            await claim.record(None)
    assert await Once(store).claim("key") == Recorded(None)


async def test_a_claim_takes_results_of_a_model(store):
    once = Once(store)
    async with await once.claim("key", model=date) as claim:
        await claim.record(date(2026, 1, 2))
    assert await once.claim("key", model=date) == Recorded(date(2026, 1, 2))


def test_a_claim_is_renewed_in_its_block_and_lost_without_the_store():
    async def scenario():
        store = FlakyStore(clock=wall_clock)
        once, other = Once(store, claim_ttl=10), Once(Another(store), claim_ttl=10)

        async def work():
            async with await once.claim("key"):
                await asyncio.sleep(100)
                assert await other.claim("key") == Busy()
                store.fail_next(1000)
                await asyncio.sleep(100)

        with pytest.raises(LockLostError):
            await work()
        store._failures.clear()
        assert await other.claim("key") == Busy()  # seen for the first time since its last renewal
        await asyncio.sleep(10)
        assert isinstance(await other.claim("key"), Claimed)

    run(scenario())
