import logging
from datetime import timedelta

import pytest

from satchel import Capability, ConfigurationError, InvalidTTLError, MemoryStore, StoreUnavailableError
from satchel.clock import Until
from satchel.testing import FakeClock
from satchel.wrappers import TTLWrapper


async def left(store, key="k"):
    return (await store.get_entry("c", key)).ttl


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def inner(clock):
    return MemoryStore(clock=clock)


@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ({}, None, None),
        ({}, 5, 5),
        ({"default": 60}, None, 60),
        ({"default": timedelta(minutes=1)}, None, 60),
        ({"default": 60}, 5, 5),
        ({"minimum": 10}, 5, 10),
        ({"minimum": 10}, None, None),
        ({"maximum": 10}, 50, 10),
        ({"maximum": 10}, timedelta(seconds=50), 10),
        ({"maximum": 10}, None, 10),
        ({"default": 5, "minimum": 1, "maximum": 10}, None, 5),
    ],
)
async def test_every_way_to_set_a_deadline_is_decided_alike(inner, options, given, expected):
    store = TTLWrapper(inner, **options)
    await store.put("c", "a", 1, ttl=given)
    await store.put_many("c", {"b": 1}, ttl=given)
    version = await store.put_if_absent("c", "d", 1, ttl=given)
    await inner.put("c", "e", 1, ttl=12_345)
    assert await store.compare_and_put("c", "d", 2, version=version, ttl=given)
    assert await store.touch("c", "e", ttl=given)
    for key in "abde":
        found = await left(store, key)
        assert found is None if expected is None else found == pytest.approx(expected)


async def test_an_illegal_ttl_is_refused_though_there_is_a_default(inner):
    for ttl in (0, -1, float("nan"), "5", True):
        with pytest.raises(InvalidTTLError):
            await TTLWrapper(inner, default=60, minimum=1).put("c", "k", 1, ttl=ttl)


async def test_jitter_shortens_within_its_share_and_is_seedable(inner):
    async def drawn(seed):
        store = TTLWrapper(inner, default=100, jitter=0.1, seed=seed, minimum=91)
        found = []
        for _ in range(50):
            await store.put("c", "k", 1)
            found.append(await left(store))
        return found

    first = await drawn(7)
    assert first == await drawn(7) != await drawn(8)
    assert all(91 <= ttl <= 100 for ttl in first)
    assert len(set(first)) > 30
    assert min(first) == 91  # some draws fall below the minimum


async def test_a_read_renews_when_less_than_half_is_left(inner, clock):
    store = TTLWrapper(inner, default=100, sliding=True)
    reads = {
        "get": lambda: store.get("c", "k"),
        "get_entry": lambda: store.get_entry("c", "k"),
        "get_many": lambda: store.get_many("c", ["k"]),
        "get_entries": lambda: store.get_entries("c", ["k"]),
    }
    for read in reads.values():
        await store.put("c", "k", "value")
        version = (await inner.get_entry("c", "k")).version
        clock.advance(49)
        assert await read()
        assert await left(inner) == pytest.approx(51)
        clock.advance(2)
        assert await read()
        assert await left(inner) == pytest.approx(100)
        assert (await inner.get_entry("c", "k")).version == version


async def test_sliding_never_shortens_and_never_adds_a_deadline(inner, clock):
    store = TTLWrapper(inner, default=100, sliding=True, jitter=0.5, seed=1)
    await inner.put("c", "long", 1, ttl=1000)
    await inner.put("c", "for ever", 1)
    for _ in range(30):
        await store.put("c", "k", 1)
        clock.advance(30)
        before = await left(inner)
        assert await store.get("c", "k") == 1
        assert await left(inner) >= before
        assert len(await store.get_many("c", ["long", "for ever"])) == 2 - (await inner.get("c", "long") is None)
        assert await left(inner, "for ever") is None
    await inner.put("c", "long", 1, ttl=1000)
    assert await store.get("c", "long") == 1
    assert await left(inner, "long") == pytest.approx(1000)


async def test_other_calls_do_not_renew_and_a_miss_stays_one(inner, clock):
    store = TTLWrapper(inner, default=100, sliding=True)
    await store.put("c", "k", None)
    clock.advance(60)
    assert await store.exists("c", "k")
    assert [key async for key in store.keys("c")] == ["k"]
    assert await left(inner) == pytest.approx(40)
    assert await store.get("c", "k", 5) is None
    assert await store.get("c", "none", 5) == 5
    clock.advance(101)
    assert await store.get("c", "k", 5) == 5


async def test_a_renewal_that_fails_is_logged_and_the_read_succeeds(clock, caplog):
    class Failing(MemoryStore):
        async def _touch(self, items, now):
            raise StoreUnavailableError("down")

    store = TTLWrapper(Failing(clock=clock), default=100, sliding=True)
    await store.put("c", "k", "the value")
    clock.advance(60)
    with caplog.at_level(logging.WARNING, "satchel"):
        assert await store.get("c", "k") == "the value"
        assert await store.get_many("c", ["k"]) == {"k": "the value"}
    (message, other) = caplog.messages
    assert message == other
    assert message.startswith(f"{store!r} could not renew an entry: down")
    assert "the value" not in message


async def test_a_fault_in_a_renewal_that_is_no_failure_of_the_store_is_raised(clock):
    class Faulty(MemoryStore):
        async def touch(self, *_, **__):
            raise ZeroDivisionError

    store = TTLWrapper(Faulty(clock=clock), default=100, sliding=True)
    await store.put("c", "k", 1)
    clock.advance(60)
    with pytest.raises(ZeroDivisionError):
        await store.get("c", "k")


@pytest.mark.parametrize(("passed", "expected"), [(49, 51), (50, 50), (51, 100)])
async def test_half_of_the_default_is_enough(inner, clock, passed, expected):
    store = TTLWrapper(inner, default=100, sliding=True)
    await store.put("c", "k", 1)
    clock.advance(passed)
    assert await store.get("c", "k") == 1
    assert await left(inner) == expected


async def test_a_deadline_that_an_entry_keeps_is_kept(inner, clock):
    store = TTLWrapper(inner, default=100, maximum=200, jitter=0.5)
    await store.put("c", "k", 1, ttl=Until(300.0, clock() + 300))
    assert await left(inner) == 300


@pytest.mark.parametrize("options", [{"default": 5, "minimum": 5, "maximum": 5}, {"jitter": 0}, {"jitter": 0.99}])
async def test_options_at_their_bounds_are_taken(inner, options):
    await TTLWrapper(inner, **options).put("c", "k", 1, ttl=5)
    assert await inner.get("c", "k") == 1


async def test_half_may_be_shaken_off_with_sliding(inner):
    store = TTLWrapper(inner, default=100, jitter=0.5, sliding=True, seed=1)
    await store.put_many("c", {"a": 1, "b": 1})
    assert 50 <= await left(inner, "a") == await left(inner, "b") < 100


async def test_without_sliding_reads_are_the_inner_stores_own(inner):
    assert TTLWrapper(inner, default=5).get == inner.get


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"default": 0}, "default must be above 0"),
        ({"minimum": float("nan")}, "minimum must be above 0"),
        ({"maximum": "5"}, "maximum must be seconds"),
        (
            {"minimum": 5, "maximum": 4},
            "^minimum, default and maximum must be in this order, from the shortest on$",
        ),
        ({"default": 3, "minimum": 5}, "minimum, default and maximum must be in this order"),
        ({"jitter": 1}, "jitter must be a number from 0 to below 1, got 1"),
        ({"jitter": True}, "jitter must be a number"),
        ({"jitter": "0.1"}, "jitter must be a number"),
        ({"jitter": 0.1, "seed": [1]}, "seed must be an int or None, got list"),
        ({"jitter": 0.1, "seed": True}, "seed must be an int or None, got bool"),
        ({"default": 5, "sliding": "false"}, "sliding must be a bool, got str"),
        ({"default": 5, "sliding": None}, "sliding must be a bool, got NoneType"),
        ({"sliding": True}, "^sliding renews entries to the default, so it needs one: give default=$"),
        (
            {"default": 5, "sliding": True, "jitter": 0.6},
            "^jitter must be at most 0.5 with sliding, or a renewal could shorten a deadline$",
        ),
    ],
)
def test_bad_options_are_refused(inner, options, message):
    with pytest.raises(ConfigurationError, match=message):
        TTLWrapper(inner, **options)


def test_sliding_needs_touch(inner):
    inner._missing = Capability.CONDITIONAL
    with pytest.raises(ConfigurationError, match=r"by touch, which MemoryStore\(\) does not have"):
        TTLWrapper(inner, default=5, sliding=True)
