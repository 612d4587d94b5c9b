"""What memcached cannot keep is refused before it is sent, so that nothing is lost; times past its own are not."""

import time
from datetime import timedelta

import pytest

from satchel import BatchError, ValueTooLargeError
from satchel.clock import NEVER
from satchel.stores.memcached import MemcachedStore
from satchel.stores.memcached.store import GRACE, expiry
from satchel.testing import FakeClock
from tests.stores.memcached.wire import memcached_with, raw, shared_port

pytestmark = pytest.mark.server("memcached")

LIMIT = 1024 * 1024 - 64
HEADER = 46


async def test_a_value_past_the_limit_is_refused_and_what_was_there_stays() -> None:
    async with MemcachedStore(port=shared_port(), prefix="limits") as store:
        most = LIMIT - HEADER - len("limits|a|k")
        await store.put("a", "k", b"x" * most)
        assert await store.get("a", "k") == b"x" * most
        for call in (
            store.put("a", "k", b"y" * (most + 1)),
            store.put("a", "k", ["y" * 2_000_000]),
            store.put_if_absent("a", "new", b"y" * (most + 1)),
        ):
            with pytest.raises(ValueTooLargeError, match=f"takes at most {LIMIT}.*larger -I"):
                await call
        assert await store.get("a", "k") == b"x" * most


async def test_a_value_past_the_limit_fails_alone() -> None:
    async with MemcachedStore(port=shared_port(), prefix="alone") as store:
        with pytest.raises(BatchError) as failure:
            await store.put_many("a", {"small": 1, "large": b"y" * 2_000_000, "other": 2})
        assert set(failure.value.failed) == {"large"}
        assert await store.get_many("a", ["small", "large", "other"]) == {"small": 1, "other": 2}


async def test_the_limit_is_the_servers_own() -> None:
    with memcached_with("-I", "4m", "-m", "64") as port:
        async with MemcachedStore(port=port) as store:
            await store.put("a", "k", b"x" * 3_500_000)
            assert await store.get("a", "k") == b"x" * 3_500_000
            with pytest.raises(ValueTooLargeError, match=f"takes at most {4 * 1024 * 1024 - 64}"):
                await store.put("a", "k", b"x" * 5_000_000)
    with memcached_with("-I", "512k", "-m", "64") as port:
        async with MemcachedStore(port=port) as store:
            with pytest.raises(ValueTooLargeError, match=f"takes at most {512 * 1024 - 64}"):
                await store.put("a", "k", b"x" * 600_000)


async def test_a_full_memcached_forgets_and_a_forgotten_entry_is_absent() -> None:
    with memcached_with("-m", "2") as port:
        async with MemcachedStore(port=port) as store:
            for number in range(1000):
                await store.put("a", str(number), b"%d" % number * 2500)
            found = await store.get_many("a", map(str, range(1000)))
            assert 0 < len(found) < 1000
            assert all(value == key.encode() * 2500 for key, value in found.items())
            assert await store.get("a", "999") is not None


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [
        (0.2, 1),
        (2, 2),
        (3600, 3600),
        (timedelta(days=29, hours=23, minutes=59, seconds=30), 30 * 86_400 - 30),
        (timedelta(days=30), 30 * 86_400),
        (timedelta(days=31), 31 * 86_400),
        (timedelta(days=1000), 1000 * 86_400),
    ],
    ids=str,
)
@pytest.mark.parametrize("skew", [-(10**9), 0, 10**6])
async def test_memcached_keeps_an_entry_a_little_longer_than_its_ttl(ttl: float, seconds: int, skew: int) -> None:
    clock = FakeClock(time.time() + skew)
    async with MemcachedStore(port=shared_port(), prefix="expiry", clock=clock) as store:
        await store.put("a", "k", 1, ttl=ttl)
        # By memcached's own clock, which is late by some seconds on a busy machine.
        kept = int(raw(shared_port(), b"mg expiry|a|k t\r\n").split()[1].removeprefix(b"t"))
        assert seconds <= kept <= seconds + 2 * GRACE
        assert await store.touch("a", "k", ttl=timedelta(days=60))
        kept = int(raw(shared_port(), b"mg expiry|a|k t\r\n").split()[1].removeprefix(b"t"))
        assert 60 * 86_400 <= kept <= 60 * 86_400 + 2 * GRACE
        clock.advance(60 * 86_400 + 1)
        assert await store.get("a", "k") is None


async def test_what_memcached_cannot_say_is_kept_until_the_header_says_so() -> None:
    assert expiry(NEVER, 0) == 0
    clock = FakeClock(time.time())
    async with MemcachedStore(port=shared_port(), prefix="far", clock=clock) as store:
        await store.put("a", "k", 1, ttl=timedelta(days=36_000))
        assert raw(shared_port(), b"mg far|a|k t\r\n") == b"HD t-1\r\n"
        assert await store.get("a", "k") == 1
        clock.advance(36_000 * 86_400 + 1)
        assert await store.get("a", "k") is None


async def test_the_moment_that_is_said_is_past_none_that_memcached_takes() -> None:
    now = time.time()
    latest = 2**31 - 1
    assert expiry(latest - GRACE - 10, now) <= latest
    assert expiry(latest + 10, now) == 0
    assert expiry(now - 1000, now) >= now + GRACE
