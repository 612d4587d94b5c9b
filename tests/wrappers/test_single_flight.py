"""One call of a factory for all who miss, and what each of them gets."""

import asyncio
import contextvars
import copy
import random
import threading

import pytest

from satchel import Capability, ConfigurationError, MemoryStore, NullStore, ValueTooLargeError, open_store
from satchel.testing import FakeClock
from satchel.wrappers import LimitSizeWrapper, SingleFlightWrapper, TTLWrapper
from tests.scripted import BatchStore, Server, turns
from tests.wrappers.single_flight import Factory, other_tasks


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return SingleFlightWrapper(MemoryStore(clock=clock))


async def test_a_hundred_who_miss_at_once_share_one_call(store):
    factory = Factory({"a": [1]})
    values = await asyncio.gather(*[store.get_or_put("c", "k", factory) for _ in range(100)])
    assert factory.runs == 1
    assert values == [{"a": [1]}] * 100
    assert await store.get("c", "k") == {"a": [1]}
    assert await store.get_or_put("c", "k", factory) == {"a": [1]}
    assert factory.runs == 1
    assert other_tasks() == set()


async def test_what_callers_get_is_shared_with_nobody(store):
    value = {"a": [1]}
    values = await asyncio.gather(*[store.get_or_put("c", "k", Factory(value)) for _ in range(5)])
    for got in values:
        got["a"].append(2)
        assert got == {"a": [1, 2]}
    assert await store.get("c", "k") == {"a": [1]}


async def test_large_values_are_copied_in_a_worker_thread(store, monkeypatch):
    threads, deepcopy = [], copy.deepcopy
    monkeypatch.setattr(copy, "deepcopy", lambda value: threads.append(threading.current_thread()) or deepcopy(value))
    values = await asyncio.gather(*[store.get_or_put("c", "k", Factory([["x"] * 50_000, "y"])) for _ in "abc"])
    for got in values:
        got[0].append(2)
        assert len(got[0]) == 50_001
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("value", [None, b"", {}, 0, False, "", []])
async def test_every_value_is_kept_and_none_is_one(store, value):
    factory = Factory(value)
    assert [await store.get_or_put("c", "k", factory) for _ in "abc"] == [value] * 3
    assert factory.runs == 1
    assert await store.exists("c", "k") is True


async def test_keys_and_collections_have_calls_of_their_own(store):
    factories = {(collection, key): Factory([collection, key]) for collection in "ab" for key in "kl"}
    values = await asyncio.gather(
        *[store.get_or_put(*ref, factory) for ref, factory in factories.items() for _ in "xy"]
    )
    assert values == [list(ref) for ref in factories for _ in "xy"]
    assert [factory.runs for factory in factories.values()] == [1, 1, 1, 1]


async def test_the_ttl_is_that_of_the_entry(store, clock):
    factory = Factory(1, 2)
    await store.get_or_put("c", "k", factory, ttl=60)
    assert (await store.get_entry("c", "k")).ttl == 60
    clock.advance(59.9)
    assert await store.get_or_put("c", "k", factory, ttl=60) == 1
    clock.advance(0.2)
    assert await store.get_or_put("c", "k", factory, ttl=60) == 2
    await store.get_or_put("c", "for ever", factory)
    assert (await store.get_entry("c", "for ever")).ttl is None


async def test_the_factory_has_a_copy_of_the_first_callers_context(store):
    who = contextvars.ContextVar("who", default="nobody")
    seen = []

    async def factory():
        seen.append(who.get())
        who.set("the factory")
        await asyncio.sleep(0)
        return 1

    async def call(name):
        who.set(name)
        await store.get_or_put("c", "k", factory)
        return who.get()

    assert await asyncio.gather(call("first"), call("second")) == ["first", "second"]
    assert seen == ["first"]


async def test_who_read_too_early_to_see_the_result_does_not_run_the_factory_again(store):
    factory, arrives = Factory("made"), asyncio.Event()
    get = store.inner.get

    async def slow_get(*arguments):
        found = await get(*arguments)
        await arrives.wait()  # the answer is on its way for a long time
        return found

    store.inner.get = slow_get
    early = asyncio.create_task(store.get_or_put("c", "k", factory))
    await turns(20)
    store.inner.get = get
    assert await store.get_or_put("c", "k", factory) == "made"
    arrives.set()
    assert await early == "made"
    assert factory.runs == 1


@pytest.mark.parametrize("seed", range(30))
async def test_under_load_with_cancellations_no_two_calls_overlap_and_nothing_hangs(seed):
    chance = random.Random(seed)
    server = Server(delay=lambda: chance.randrange(4))
    async with SingleFlightWrapper(BatchStore(server)) as store:
        factories = {key: Factory({"key": key}) for key in "abc"}
        calls = [0]

        async def caller():
            for _ in range(8):
                key = chance.choice("abc")
                await turns(chance.randrange(4))
                if chance.random() < 0.2:
                    await store.delete("c", key)
                calls[0] += 1
                assert await store.get_or_put("c", key, factories[key]) == {"key": key}

        callers = [asyncio.create_task(caller()) for _ in range(12)]
        for victim in chance.sample(callers, 4):
            await turns(chance.randrange(10))
            victim.cancel()
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}
        assert sum(factory.runs for factory in factories.values()) < calls[0]
    assert other_tasks() == set()


async def test_without_deletes_one_call_makes_each_key_whatever_the_delays():
    for seed in range(40):
        chance = random.Random(seed)
        async with SingleFlightWrapper(BatchStore(Server(delay=lambda chance=chance: chance.randrange(4)))) as store:
            factories = {key: Factory(key) for key in "abc"}

            async def caller(store=store, factories=factories, chance=chance):
                for _ in range(5):
                    await turns(chance.randrange(6))
                    key = chance.choice("abc")
                    assert await store.get_or_put("c", key, factories[key]) == key

            await asyncio.gather(*[caller() for _ in range(10)])
            assert {factory.runs for factory in factories.values()} <= {0, 1}


@pytest.mark.parametrize("conditional", [True, False])
async def test_what_was_put_meanwhile_is_not_overwritten_where_the_store_can_tell(conditional):
    inner = MemoryStore()
    if not conditional:
        inner._missing = Capability.CONDITIONAL
    store = SingleFlightWrapper(inner)
    factory = Factory("old", held=True)
    caller = asyncio.create_task(store.get_or_put("c", "k", factory))
    await turns(20)
    await inner.put("c", "k", "new")
    factory.gate.set()
    assert await caller == "old"
    assert await store.get("c", "k") == ("new" if conditional else "old")


@pytest.mark.parametrize(
    "remove",
    [
        lambda store: store.delete("c", "k"),
        lambda store: store.delete_many("c", iter(["x", "k"])),
        lambda store: store.destroy_collection("c"),
        lambda store: store.destroy(),
        lambda store: store.compare_and_delete("c", "k", version="none"),
    ],
    ids=["delete", "delete_many", "destroy_collection", "destroy", "compare_and_delete"],
)
async def test_what_is_removed_while_it_is_made_is_given_but_not_put(store, remove):
    factory = Factory("old", "new", held=True)
    before = asyncio.create_task(store.get_or_put("c", "k", factory))
    elsewhere = asyncio.create_task(store.get_or_put("elsewhere", "k", Factory("kept")))
    await turns(20)
    await remove(store)
    after = asyncio.create_task(store.get_or_put("c", "k", factory))
    await turns(20)
    factory.gate.set()
    assert await asyncio.gather(before, after) == ["old", "new"]
    assert await store.get("c", "k") == "new"
    assert await elsewhere == "kept"


@pytest.mark.parametrize(
    "remove",
    [
        lambda store: store.delete("c", "other"),
        lambda store: store.delete("other", "k"),
        lambda store: store.delete_many("c", ["other"]),
        lambda store: store.destroy_collection("other"),
    ],
)
async def test_what_is_removed_elsewhere_has_no_part_in_it(store, remove):
    factory = Factory("made", held=True)
    caller = asyncio.create_task(store.get_or_put("c", "k", factory))
    await turns(20)
    await remove(store)
    factory.gate.set()
    assert await caller == "made"
    assert await store.get("c", "k") == "made"


async def test_a_delete_waits_for_what_is_just_being_put():
    server = Server()
    async with SingleFlightWrapper(BatchStore(server)) as store:
        gate = asyncio.Event()
        put, putting = store.inner.put_if_absent, asyncio.Event()

        async def slow_put(*arguments, **named):
            putting.set()
            await gate.wait()  # a wrapper encrypts it in a worker thread
            return await put(*arguments, **named)

        store.inner.put_if_absent = slow_put
        caller = asyncio.create_task(store.get_or_put("c", "k", Factory("old")))
        await putting.wait()
        deleting = [asyncio.create_task(store.delete("c", "k")) for _ in "ab"]
        await turns(30)
        assert not any(task.done() for task in deleting)
        gate.set()
        assert await caller == "old"
        assert sorted(await asyncio.gather(*deleting)) == [False, True]
        assert await store.get("c", "k") is None


async def test_two_wrappers_of_one_store_each_call_their_own(store):
    other = SingleFlightWrapper(store.inner)
    factory = Factory("made")
    await asyncio.gather(*[each.get_or_put("c", "k", factory) for each in (store, other) for _ in "abc"])
    assert factory.runs == 2


async def test_a_store_that_keeps_nothing_makes_it_each_time():
    store, factory = SingleFlightWrapper(NullStore()), Factory(1)
    assert await asyncio.gather(*[store.get_or_put("c", "k", factory) for _ in "abc"]) == [1] * 3
    assert factory.runs == 1
    assert await store.get_or_put("c", "k", factory) == 1
    assert factory.runs == 2


async def test_factories_may_use_others(store):
    async def fibonacci(number):
        if number < 2:
            return number
        parts = [
            store.get_or_put("c", str(number - less), lambda less=less: fibonacci(number - less)) for less in (1, 2)
        ]
        return sum(await asyncio.gather(*parts))

    assert await fibonacci(30) == 832_040


@pytest.mark.parametrize("tasks", {None, getattr(asyncio, "eager_task_factory", None)})  # new in Python 3.12
async def test_tasks_may_begin_at_once(store, tasks):
    asyncio.get_running_loop().set_task_factory(tasks)

    async def at_once():
        return "made"

    async def of_itself():
        return await store.get_or_put("c", "itself", of_itself)

    assert await asyncio.gather(*[store.get_or_put("c", "k", at_once) for _ in "abc"]) == ["made"] * 3
    with pytest.raises(ConfigurationError, match="waits for its own result"):
        await store.get_or_put("c", "itself", of_itself)
    asyncio.get_running_loop().set_task_factory(None)


async def test_it_has_a_form_as_a_url():
    async with open_store("memory://?wrap=single_flight(seed=5)") as store:
        assert type(store) is SingleFlightWrapper
        assert str(store.describe()) == "memory://?wrap=single_flight(seed=5)"
        assert await store.get_or_put("c", "k", Factory(1)) == 1


async def test_reads_and_writes_are_the_inner_stores_own():
    inner = MemoryStore()
    store = SingleFlightWrapper(inner)
    assert (store.get, store.put, store.get_many, store.put_if_absent) == (
        inner.get,
        inner.put,
        inner.get_many,
        inner.put_if_absent,
    )


@pytest.mark.parametrize(("policy", "outcome"), [("skip", "x" * 100), ("refuse", ValueTooLargeError)])
async def test_a_result_that_is_too_large_is_skipped_or_refused_as_the_limit_says(policy, outcome):
    store = SingleFlightWrapper(LimitSizeWrapper(MemoryStore(), max_bytes=50, policy=policy))
    (made,) = await asyncio.gather(store.get_or_put("c", "k", Factory("x" * 100)), return_exceptions=True)
    assert made == outcome or type(made) is outcome
    assert await store.exists("c", "k") is False


async def test_wrappers_inside_see_what_factories_give():
    store = SingleFlightWrapper(TTLWrapper(MemoryStore(), default=60))
    await store.get_or_put("c", "k", Factory(1))
    assert (await store.get_entry("c", "k")).ttl > 50
