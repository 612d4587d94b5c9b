"""Each key's calls take effect one after the other, also when callers are cancelled and answers are lost."""

import asyncio
import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import StoreError
from satchel.backend import coalescer as coalesce
from satchel.testing.simulation import UNKNOWN, History
from tests.scripted import BatchStore, Server, SingleStore, turns

KINDS = [
    "put",
    "get",
    "delete",
    "put_if_absent",
    "compare_and_put",
    "compare_and_delete",
    "touch",
    "put_many",
    "get_many",
]
KEYS = ["a", "b", "c"]

STORES = {
    "batches, one at once, engine reorders": (BatchStore, {"max_inflight": 1}, False),
    "batches, four at once, engine reorders": (BatchStore, {"max_inflight": 4, "max_items": 2}, False),
    "batches, one at once, engine in order": (BatchStore, {"max_inflight": 1, "shield_writes": False}, True),
    "batches, four at once, engine in order": (
        BatchStore,
        {"max_inflight": 4, "max_items": 2, "shield_writes": False},
        True,
    ),
    "single items, engine reorders": (SingleStore, {}, False),
    "single items, two at once, engine in order": (SingleStore, {"max_inflight": 2, "shield_writes": False}, True),
}


def make(name, delay):
    kind, settings_, in_order = STORES[name]
    return kind(Server(in_order=in_order, delay=delay), **settings_)


class Recorder:
    """Calls a store and writes down what happened to each key."""

    def __init__(self, store):
        self.store = store
        self.histories = defaultdict(History)
        self.tokens = iter(range(1, 1 << 30))
        self.versions = {}

    async def step(self, kind, keys, cancel_after=None):
        calls, work = self._prepare(kind, keys)
        task = asyncio.create_task(work)
        if cancel_after is not None:
            await turns(cancel_after)
            task.cancel()
        try:
            answers = await task
        except (asyncio.CancelledError, StoreError):
            answers = dict.fromkeys(keys, UNKNOWN)
        for key, call in calls.items():
            self.histories[key].end(call, answers[key])
        return answers is not None and UNKNOWN not in answers.values()

    def _prepare(self, kind, keys):
        if kind in ("put_many", "get_many"):
            single = kind.removesuffix("_many")
            tokens = {key: next(self.tokens) for key in keys} if single == "put" else dict.fromkeys(keys)
            calls = {key: self.histories[key].begin(single, token=tokens[key]) for key in keys}
            return calls, self._many(single, tokens)
        key = keys[0]
        version, expected = self.versions.get(key, ("none", -1))
        details = {
            "put": {"token": next(self.tokens)},
            "put_if_absent": {"token": next(self.tokens)},
            "compare_and_put": {"token": next(self.tokens), "expected": expected},
            "compare_and_delete": {"expected": expected},
        }.get(kind, {})
        call = self.histories[key].begin(kind, **details)
        return {key: call}, self._one(key, call, version)

    async def _many(self, kind, tokens):
        if kind == "put":
            await self.store.put_many("c", tokens)
            return dict.fromkeys(tokens)
        found = await self.store.get_many("c", tokens)
        return {key: found.get(key) for key in tokens}

    async def _one(self, key, call, version):
        store = self.store
        match call.kind:
            case "get":
                entry = await store.get_entry("c", key)
                if entry is not None:
                    self.versions[key] = (entry.version, entry.value)
                answer = None if entry is None else entry.value
            case "put":
                answer = await store.put("c", key, call.token)
            case "delete":
                answer = await store.delete("c", key)
            case "touch":
                answer = await store.touch("c", key, ttl=1000)
            case "put_if_absent":
                answer = await store.put_if_absent("c", key, call.token) is not None
            case "compare_and_put":
                answer = await store.compare_and_put("c", key, call.token, version=version) is not None
            case "compare_and_delete":
                answer = await store.compare_and_delete("c", key, version=version)
        return {key: answer}

    def check(self):
        for key, history in self.histories.items():
            assert history.is_linearizable(), f"{key}: {history.calls}"


steps = st.tuples(
    st.sampled_from(KINDS),
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True),
    st.one_of(st.none(), st.none(), st.integers(0, 12)),
)


@pytest.mark.parametrize("name", STORES)
@given(workers=st.lists(st.lists(steps, max_size=6), min_size=2, max_size=5), seed=st.integers(0, 1 << 32))
def test_any_schedule_is_linearizable(name, workers, seed):
    async def scenario():
        chance = random.Random(seed)
        store = make(name, lambda: chance.choice([0, 0, 1, 3, 8]))
        store.server.loses_answer = lambda: chance.random() < 0.05
        for key in KEYS:
            store.server.unprocessed[key] = chance.choice([0, 0, 2])
        recorder = Recorder(store)

        async def work(worker):
            for step in worker:
                await recorder.step(*step)

        await asyncio.wait_for(asyncio.gather(*map(work, workers)), 20)
        await turns(50)  # what could still land, lands before the last look
        for key in KEYS:
            while not await recorder.step("get", [key]):
                pass
        recorder.check()
        await store.aclose()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coalesce, "_FIRST_PAUSE", 0.0)
        asyncio.run(scenario())


def slow_first(answers):
    """Delays, of which the first are long, so that a reordering engine lets a later request pass."""
    delays = iter(answers)
    return lambda: next(delays, 0)


async def cancel_at(name, kind, after):
    """Cancel a write after so many turns; write again; say whether the first had still to answer, and the history."""
    store = make(name, slow_first([0, 0, 6, 6]))
    recorder = Recorder(store)
    await recorder.step("put", ["a"])
    victim = asyncio.create_task(recorder.step(kind, ["a"], cancel_after=after))
    others = [asyncio.create_task(recorder.step("get", [key])) for key in ("a", "a", "b")]
    completed = await victim
    await recorder.step("put", ["a"])
    await recorder.step("get", ["a"])
    await asyncio.gather(*others)
    await turns(40)
    await recorder.step("get", ["a"])
    await store.aclose()
    return completed, recorder


@pytest.mark.parametrize("kind", ["put", "delete", "put_if_absent", "compare_and_put", "compare_and_delete", "touch"])
@pytest.mark.parametrize("name", STORES)
async def test_a_write_cancelled_at_any_await_point_never_lands_over_a_later_one(name, kind):
    for after in range(200):
        completed, recorder = await cancel_at(name, kind, after)
        recorder.check()
        if completed:
            break
    assert completed
    assert after > 5


@pytest.mark.parametrize("name", STORES)
async def test_a_cancelled_member_of_a_batch_leaves_the_others_alone(name):
    for after in range(200):
        store = make(name, lambda: 2)
        recorder = Recorder(store)
        first = asyncio.create_task(recorder.step("put", ["a"]))
        await turns(1)
        victim = asyncio.create_task(recorder.step("put", ["b"], cancel_after=after))
        others = [asyncio.create_task(recorder.step("put", [key])) for key in ("b", "c", "b", "a")]
        assert await first
        assert await asyncio.gather(*others) == [True] * 4
        completed = await victim
        for key in KEYS:
            await recorder.step("get", [key])
        recorder.check()
        await store.aclose()
        if completed:
            break
    assert completed
    assert after > 3


async def test_the_checker_finds_writes_that_land_late():
    # The engine reorders, and the store does not shield what it sent: this must be seen.
    STORES["wrong"] = (BatchStore, {"max_inflight": 1, "shield_writes": False}, False)
    try:
        verdicts = [(await cancel_at("wrong", "put", after))[1] for after in range(30)]
    finally:
        del STORES["wrong"]
    assert not all(recorder.histories["a"].is_linearizable() for recorder in verdicts)


def test_the_checker_knows_right_from_wrong():
    def history(*calls):
        made = History()
        for kind, answer, details in calls:
            made.end(made.begin(kind, **details), answer)
        return made

    put = lambda token, answer=None: ("put", answer, {"token": token})  # noqa: E731  # a shorthand of this test
    get = lambda answer: ("get", answer, {})  # noqa: E731  # a shorthand of this test
    assert history(put(1), get(1)).is_linearizable()
    assert not history(put(1), get(None)).is_linearizable()
    assert history(put(1, UNKNOWN), get(None), get(1)).is_linearizable()
    assert not history(put(1, UNKNOWN), get(1), get(None)).is_linearizable()
    assert history(put(1, UNKNOWN), put(2), get(2)).is_linearizable()
    assert not history(put(1, UNKNOWN), put(2), get(1)).is_linearizable()
    assert not history(put(1), ("delete", False, {})).is_linearizable()
    assert not history(put(1), ("put_if_absent", True, {"token": 2})).is_linearizable()
    concurrent = History()
    first, second = concurrent.begin("put", token=1), concurrent.begin("put", token=2)
    concurrent.end(first, None)
    concurrent.end(second, None)
    concurrent.end(concurrent.begin("get"), 1)
    assert concurrent.is_linearizable()
