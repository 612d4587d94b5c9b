"""What is on the server: golden keys and values, expiry of the server's own, and what other tools see."""

import json
import math
from pathlib import Path

import pytest

from satchel import ConfigurationError
from satchel.backend.record import Record, pack
from satchel.clock import NEVER
from satchel.stores._redislike.layout import Layout
from satchel.stores.redis import RedisStore
from satchel.testing import FakeClock
from tests.servers import private_server
from tests.stores.redis.servers import tell

pytestmark = pytest.mark.server("redis")
GOLDEN = Path(__file__).parents[2] / "golden" / "redis" / "entries.json"
WRITTEN = 1_767_268_800.25
VERSION = "00112233445566778899aabbccddeeff"
ENTRIES = {
    ("users", "ada"): (Record(b'{"name":"Ada Lovelace"}', 1, VERSION, WRITTEN), {"name": "Ada Lovelace"}),
    ("sessions", "for an hour"): (Record(b"[1,2.5,null]", 1, VERSION, WRITTEN, WRITTEN + 3600), [1, 2.5, None]),
    ("a:b%c", "x:y é\0*"): (Record(b"\0\1\xff", 0, VERSION, WRITTEN, NEVER), b"\0\1\xff"),
}


def make_golden():
    """Wrote `tests/golden/redis/entries.json`, with the release that brought this format."""
    layout = Layout("satchel")
    GOLDEN.write_text(
        json.dumps({layout.key(ref).hex(): pack(record).hex() for ref, (record, _) in ENTRIES.items()}, indent=2) + "\n"
    )


def golden():
    return {bytes.fromhex(key): bytes.fromhex(value) for key, value in json.loads(GOLDEN.read_text()).items()}


@pytest.fixture(scope="module")
def server():
    with private_server("redis") as server:
        yield server


@pytest.fixture
async def store(server):
    async with RedisStore(server.url, clock=FakeClock(WRITTEN + 1)) as store:
        yield store
        await store.destroy()


def test_golden_entries_are_what_is_written():
    layout = Layout("satchel")
    assert golden() == {layout.key(ref): pack(record) for ref, (record, _) in ENTRIES.items()}


async def test_golden_entries_read(server, store):
    for key, value in golden().items():
        await tell(server, "SET", key, value)
    for (collection, key), (record, value) in ENTRIES.items():
        entry = await store.get_entry(collection, key)
        assert (entry.value, entry.version, entry.updated_at.timestamp()) == (value, VERSION, WRITTEN)
        assert entry.ttl == (None if record.deadline == NEVER else 3599)
        assert [name async for name in store.keys(collection)] == [key]
    assert sorted([name async for name in store.collections()]) == sorted(collection for collection, _ in ENTRIES)


async def test_a_value_is_readable_with_the_servers_own_tools(server, store):
    await store.put("users", "ada", {"name": "Ada"})
    assert (await tell(server, "GETRANGE", "satchel:users:ada", "46", "-1")) == b'{"name":"Ada"}'


async def put_in_every_way(store, ttl):
    await store.put("c", "soon", 1, ttl=ttl)
    await store.put_many("c", {"a": 1, "b": 2}, ttl=ttl)
    await store.put_if_absent("c", "new", 1, ttl=ttl)
    await store.put("c", "touched", 1)
    await store.touch("c", "touched", ttl=ttl)
    return ["soon", "a", "b", "new", "touched"]


@pytest.mark.parametrize(
    ("ttl", "options", "most"),
    [
        (10, {}, 20),  # twice its ttl
        (600, {}, 660),  # a minute at most
        (0.5, {"clock_skew": 30}, 30.5),  # by what clocks may differ
        (10, {"clock_skew": 30}, 40),
        (600, {"clock_skew": 90}, 690),
    ],
    ids=str,
)
async def test_the_server_keeps_an_expired_entry_in_proportion_to_its_ttl(server, ttl, options, most):
    async with RedisStore(server.url, **options) as store:
        await store.put("c", "never", 1)
        keys = await put_in_every_way(store, ttl)
        left = {key: await tell(server, "PTTL", f"satchel:c:{key}") for key in keys}
        assert await tell(server, "PTTL", "satchel:c:never") == -1
        assert all(most - 15 < milliseconds / 1000 <= most for milliseconds in left.values()), left
        await store.destroy()


@pytest.mark.parametrize("skew", [0, -1, "1", math.nan, math.inf, True])
def test_a_clock_skew_that_is_no_number_of_seconds_is_refused(skew):
    with pytest.raises(ConfigurationError, match="clock_skew must be a number of seconds"):
        RedisStore(clock_skew=skew)


async def test_what_has_no_deadline_any_more_is_kept(server, store):
    await store.put("c", "put", 1, ttl=10)
    await store.put("c", "put", 2)
    await store.put("c", "touched", 1, ttl=10)
    await store.touch("c", "touched", ttl=None)
    assert [await tell(server, "PTTL", f"satchel:c:{key}") for key in ("put", "touched")] == [-1, -1]


async def test_destroy_leaves_what_other_programs_wrote(server, store):
    for name in ("other", "satchel", "satchel:", "satchel:c", "satchelx:c:k", "satchel2:c:k"):
        await tell(server, "SET", name, "theirs")
    await store.put_many("c", {str(number): number for number in range(1500)})
    assert await store.destroy() is True
    assert await tell(server, "DBSIZE") == 6
    await tell(server, "FLUSHDB")


async def test_the_server_holds_six_scripts_whatever_is_written(server, store):
    await tell(server, "SCRIPT", "FLUSH")
    for number in range(30):
        await store.put_many("c", {f"{number}{name}": 1 for name in "abc"})
        await store.put_if_absent("c", f"new {number}", 1)
        await store.delete("c", f"{number}a")
    assert int((await tell(server, "INFO", "memory"))["number_of_cached_scripts"]) <= 6


async def test_many_keys_that_are_shifted_while_listing_come_once(server, store):
    keep = [f"keep {number}" for number in range(200)]
    await store.put_many("c", dict.fromkeys(keep, 1))
    await store.put_many("d", {str(number): 1 for number in range(20_000)})
    found = []
    async for key in store.keys("c"):
        if not found:  # the server's table shrinks under the cursor
            await store.destroy_collection("d")
        found.append(key)
    assert sorted(found) == sorted(keep)
