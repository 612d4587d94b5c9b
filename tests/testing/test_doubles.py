"""The doubles do what a test tells them, and need nothing but satchel."""

import asyncio
import subprocess
import sys

import pytest

import satchel.testing
from satchel import BatchError, ConfigurationError, StoreError, StoreTimeoutError, StoreUnavailableError
from satchel.testing import FakeClock, FlakyStore, StoreConformance


@pytest.mark.long
class TestFlakyStoreInGoodTimes(StoreConformance):
    def make_store(self, clock, place):
        return FlakyStore(clock=clock)


@pytest.mark.long
class TestFlakyStoreWithLatency(StoreConformance):
    def make_store(self, clock, place):
        return FlakyStore(clock=clock, latency=1, sleep=lambda seconds: asyncio.sleep(0))


async def test_it_fails_as_often_as_it_is_told():
    store = FlakyStore()
    await store.put("c", "k", 1)
    store.fail_next(2)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError) as failure:
            await store.get("c", "k")
    assert (failure.value.operation, failure.value.collection, failure.value.key) == ("get", "c", "k")
    assert failure.value.store == repr(store)
    assert failure.value.retryable
    assert await store.get("c", "k") == 1


async def test_it_fails_the_operation_that_it_is_told():
    store = FlakyStore()
    store.fail_next(operation="write", error=StoreTimeoutError("too slow"))
    assert await store.get("c", "k") is None
    with pytest.raises(StoreTimeoutError):
        await store.put("c", "k", 1)
    assert await store.exists("c", "k") is False
    await store.put("c", "k", 1)
    assert await store.exists("c", "k") is True


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("open", FlakyStore.ping),
        ("read", lambda store: store.exists("c", "k")),
        ("write", lambda store: store.put("c", "k", 1)),
        ("delete", lambda store: store.delete("c", "k")),
        ("put_if", lambda store: store.put_if_absent("c", "k", 1)),
        ("delete_if", lambda store: store.compare_and_delete("c", "k", version="v")),
        ("touch", lambda store: store.touch("c", "k", ttl=1)),
        ("keys", lambda store: anext(store.keys("c"), None)),
        ("collections", lambda store: anext(store.collections(), None)),
        ("destroy_collection", lambda store: store.destroy_collection("c")),
        ("destroy", lambda store: store.destroy()),
        ("cull", lambda store: store.cull()),
        ("ping", lambda store: store.ping()),
    ],
)
async def test_every_operation_can_fail_once(operation, call):
    store = FlakyStore()
    store.fail_next(operation=operation)
    with pytest.raises(StoreUnavailableError):
        await call(store)
    await call(store)
    await store.aclose()


async def test_a_failed_batch_names_every_key_and_changes_nothing():
    store = FlakyStore()
    store.fail_next(operation="write", error=StoreError("broken"))
    with pytest.raises(BatchError) as failure:
        await store.put_many("c", {"a": 1, "b": 2})
    assert set(failure.value.failed) == {"a", "b"}
    assert await store.get_many("c", ["a", "b"]) == {}


async def outcomes_of(seed):
    store = FlakyStore(failure_rate=0.3, random_seed=seed)
    outcomes = []
    for _ in range(200):
        try:
            await store.get("c", "k")
        except StoreUnavailableError:
            outcomes.append(False)
        else:
            outcomes.append(True)
    return outcomes


async def test_a_failure_rate_is_kept_and_the_seed_repeats_it():
    first = await outcomes_of(7)
    assert 30 <= first.count(False) <= 90
    assert await outcomes_of(7) == first
    assert await outcomes_of(8) != first


async def test_each_request_takes_the_latency():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    store = FlakyStore(latency=1.5, sleep=sleep)
    await store.put("c", "k", 1)
    before = len(slept)
    assert await store.get("c", "k") == 1
    assert slept[before:] == [1.5]


@pytest.mark.parametrize("options", [{"failure_rate": 1.1}, {"failure_rate": -0.1}, {"latency": -1}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigurationError, match="failure_rate"):
        FlakyStore(**options)


def test_an_unknown_operation_is_refused_by_name():
    with pytest.raises(ConfigurationError, match="read"):
        FlakyStore().fail_next(operation="fetch")


def test_a_fake_clock_stands_still_until_advanced():
    clock = FakeClock()
    assert clock() == clock()
    assert "2026-01-01" in repr(clock)
    start = clock()
    clock.advance(0.5)
    assert clock() == start + 0.5
    assert FakeClock(5.0)() == 5.0


def test_the_doubles_need_neither_pytest_nor_hypothesis():
    code = (
        "import sys; from satchel.testing import FakeClock, FlakyStore; "
        "print([name for name in ('pytest', 'hypothesis', 'blockbuster') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_without_pytest_the_suite_says_what_to_install():
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from satchel import MissingExtraError\n"
        "try:\n    from satchel.testing import StoreConformance\n"
        "except MissingExtraError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "satchel[testing]"' in run.stdout


def test_every_public_name_is_there_and_no_other():
    for name in satchel.testing.__all__:
        assert getattr(satchel.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="Nothing"):
        _ = satchel.testing.Nothing
