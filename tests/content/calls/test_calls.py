"""Recorded calls: queries, what they read, transforming, and what is refused."""

import asyncio
import math
import threading
from datetime import UTC, datetime

import pytest

from satchel import DiskStore, MemoryStore, open_store
from satchel.content import ANY, Calls, ContentStore, FunctionCall, memoize
from satchel.content.calls.index import index_keys
from satchel.content.calls.record import CallDigests, CallRecord
from satchel.content.digest import digest_bytes
from satchel.errors import (
    ConfigurationError,
    DigestError,
    IntegrityError,
    InvalidKeyError,
    KeyMissingError,
    SerializationError,
    UnsupportedOperationError,
)
from satchel.stores.null import NullStore
from satchel.testing import FakeClock
from satchel.testing.conformance.suite import listed
from tests.content.calls.functions import double


async def record_some(calls, number, name="f"):
    for x in range(number):
        await calls.record(FunctionCall(name, {"x": x}, result=x * 10, metadata={"runtime": {"seconds": x}}))


async def xs(query):
    return sorted([await call.argument("x") async for call in query])


async def test_iterator_helpers(calls, clock):
    await record_some(calls, 25)
    query = calls.query(fn="f")
    assert await query.count() == 25
    assert await query.exists()
    assert await query.take(3).count() == 3
    assert await query.take(0).count() == 0
    assert await query.skip(20).count() == 5
    assert await query.skip(3).take(30).count() == 22
    assert len({call.digest async for call in query.take(30)}) == 25
    assert await xs(query.filter(lambda call: call.metadata["runtime"]["seconds"] > 22)) == [23, 24]
    assert await query.unique(lambda call: call.metadata["runtime"]["seconds"] // 10).count() == 3
    first = await query.first()
    assert first == await calls.load(first.digest)
    ordered = await query.sorted(lambda call: call.metadata["runtime"]["seconds"], reverse=True)
    assert await ordered[0].result() == 240
    groups = await query.group_by(lambda call: call.metadata["runtime"]["seconds"] % 2)
    assert {key: len(group) for key, group in groups.items()} == {0: 13, 1: 12}
    assert sorted([result async for result in query.results()]) == list(range(0, 250, 10))
    assert await (await calls.query(args={"x": 3}).only()).result() == 30


async def test_latest_and_oldest(calls, clock):
    for x in (3, 1, 2):
        await calls.record(FunctionCall("f", {"x": x}, result=x))
        clock.advance(1)
    assert await (await calls.query().latest()).result() == 2
    assert await (await calls.query().oldest()).result() == 3


async def test_helpers_of_an_empty_query(calls):
    query = calls.query(fn="f")
    assert await query.first() is await query.latest() is await query.oldest() is None
    assert not await query.exists()
    assert await query.rows() == []
    with pytest.raises(KeyMissingError, match="no recorded call matches"):
        await query.only()
    await record_some(calls, 2)
    with pytest.raises(ValueError, match="more than one"):
        await query.only()
    for refused in (-1, True, "1"):
        with pytest.raises(ConfigurationError, match="take takes the number of calls"):
            query.take(refused)


async def test_rows_are_flat_and_have_none_for_what_is_gone(calls, clock):
    await calls.record(
        FunctionCall("f", {"x": [1]}, result="r", version=2, tags={"a": 1}, metadata={"runtime": {"seconds": 0.5}})
    )
    call = await calls.query().only()
    row = {
        "digest": call.digest,
        "name": "f",
        "version": 2,
        "recorded_at": clock(),
        "arguments.x": [1],
        "result": "r",
        "tags.a": 1,
        "runtime.seconds": 0.5,
    }
    assert await calls.query().rows() == [row]
    await calls.content.evict(call.result_digest)
    assert await calls.query().rows() == [row | {"result": None}]
    assert [result async for result in calls.query().results()] == []


async def test_calls_are_copied_with_their_values(calls, clock):
    await record_some(calls, 3)
    target = Calls(ContentStore(MemoryStore(clock=clock), clock=clock), "copies", clock=clock)
    assert await calls.query(args={"x": 1}).copy_to(target) == 1
    await target.delete((await target.query().only()).digest)
    await calls.content.evict((await calls.query(args={"x": 2}).only()).result_digest)
    assert await calls.query().copy_to(target) == 2
    assert await calls.query().copy_to(target) == 0
    assert await calls.query().copy_to(target, overwrite=True) == 2
    assert await xs(target.query()) == [0, 1]
    assert (await target.query(args={"x": 0}).only()).recorded_at == clock()


async def test_calls_are_deleted_by_a_query(calls, store, clock):
    await record_some(calls, 5)
    assert await calls.query(result=20).delete() == 1
    assert await xs(calls.query()) == [0, 1, 3, 4]
    assert await calls.query().delete() == 4
    assert [key async for key in store.keys("calls/index")] == [key async for key in store.keys("calls")] == []
    clock.advance(7201)
    await calls.content.gc()
    assert [key async for key in store.keys("content")] == []


async def test_the_time_is_a_condition(calls, clock):
    await record_some(calls, 1)
    clock.advance(0.5)
    now = clock()
    await record_some(calls, 1, name="g")
    for since in (now, datetime.fromtimestamp(now, UTC)):
        assert [call.name async for call in calls.query(since=since)] == ["g"]
    assert await calls.query(since=now - 1).count() == 2
    assert await calls.query(since=now + 1).count() == 0
    for refused in (datetime.fromtimestamp(now), "2026", True, float("nan"), float("inf"), 1e300):  # noqa: DTZ006  # the time zone is what is missing
        with pytest.raises(ConfigurationError, match="since takes a datetime"):
            calls.query(since=refused)


def test_conditions_are_checked(calls):
    for refused, message in (
        ({"fn": 3}, "fn takes a memoized function"),
        ({"fn": double}, "fn takes a memoized function"),
        ({"args": ["x"]}, "args takes a dict"),
        ({"tags": ["x"]}, "tags must be a dict"),
        ({"tags": {"x": [1]}}, "a tag has a str"),
        ({"args": {1: 1}}, "args takes a dict"),
        ({"since": math.nan}, "since takes a datetime or seconds"),
        ({"since": -math.inf}, "since takes a datetime or seconds"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            calls.query(**refused)
    with pytest.raises(DigestError):
        calls.query(result=threading.Lock())


async def test_a_helper_takes_a_plain_function(calls):
    async def is_old(call):
        return False

    await record_some(calls, 2)
    query = calls.query()
    for name in ("filter", "unique"):
        for refused in (is_old, "name"):
            with pytest.raises(ConfigurationError, match=f"{name} takes a plain function of a recorded call"):
                getattr(query, name)(refused)
    for name in ("sorted", "group_by"):
        for refused in (is_old, "name"):
            with pytest.raises(ConfigurationError, match=f"{name} takes a plain function of a recorded call"):
                await getattr(query, name)(refused)
    assert await query.count() == 2


async def test_a_change_that_is_no_function_is_refused_though_nothing_is_recorded(calls):
    with pytest.raises(ConfigurationError, match="transform takes a function, got an object of type str"):
        await calls.transform("renamed")


async def test_a_call_is_asked_for_by_a_whole_digest(calls):
    await record_some(calls, 1)
    short = (await calls.query().only()).digest[:8]
    for ask in (calls.load, calls.get, calls.contains, calls.delete):
        with pytest.raises(DigestError, match="64 hexadecimal digits"):
            await ask(short)


@pytest.mark.parametrize("collection", ["content", "content/pins", "content/roots", "content/settings"])
async def test_calls_are_not_recorded_among_the_content(calls, collection):
    with pytest.raises(ConfigurationError, match=f"{collection} holds content"):
        Calls(calls.content, collection)
    with pytest.raises(ConfigurationError, match=f"{collection} holds content"):
        await calls.content.register_roots(collection)
    assert (await calls.content.gc()).examined == 0


def test_the_clock_is_checked(calls):
    with pytest.raises(ConfigurationError, match="clock must be a function"):
        Calls(calls.content, clock=5)


class Watched(MemoryStore):
    """Store that remembers how much was listed and read."""

    def __init__(self):
        super().__init__()
        self.listed, self.read = [], []

    async def keys(self, collection, **options):
        async for key in super().keys(collection, **options):
            self.listed.append((collection, key))
            yield key

    async def get_many(self, collection, keys):
        self.read.append((collection, list(keys)))
        return await super().get_many(collection, keys)


async def check_that_a_query_touches_its_own_range(number):
    store = Watched()
    calls = Calls(ContentStore(store))
    for start in range(0, number, 1000):
        await fill(store, start, min(1000, number - start))
    memoized = memoize(calls)(double)
    for x in range(150):
        await memoized(x)
    store.listed.clear(), store.read.clear()
    assert await calls.query(fn=memoized).count() == 150
    assert {collection for collection, _ in store.listed} == {"calls/index"}
    assert len(store.listed) == 150
    assert all(key.startswith(f"fn\0{memoized.call_name}\0") for _, key in store.listed)
    assert sum(len(keys) for _, keys in store.read) == 150
    assert {collection for collection, _ in store.read} == {"calls"}  # and no value is loaded
    assert max(len(keys) for _, keys in store.read) <= 100
    store.listed.clear(), store.read.clear()
    assert await calls.query(fn=memoized, args={"x": 7}).count() == 1
    assert len(store.listed) == sum(len(keys) for _, keys in store.read) == 1


async def fill(store, start, number):
    """Record calls of another function as quickly as a store takes them."""
    digests, records, keys = CallDigests("other.f", None, ["x"]), {}, {}
    for x in range(start, start + number):
        raw = digest_bytes(x)
        record = CallRecord("other.f", None, {"x": raw.hex()}, raw.hex(), {}, {}, float(x))
        key = digests.digest({"x": raw})
        records[key] = record.as_json()
        keys.update({index_key: {"format": 1} for index_key in index_keys(key, record)})
    await store.put_many("calls", records)
    await store.put_many("calls/index", keys)


async def test_a_query_for_one_function_touches_only_its_range_of_the_index():
    await check_that_a_query_touches_its_own_range(1000)


@pytest.mark.night
@pytest.mark.timeout(900)
async def test_a_query_for_one_function_among_100_000_calls_touches_only_its_range():
    await check_that_a_query_touches_its_own_range(100_000)


async def test_a_first_call_is_found_without_reading_all():
    store = Watched()
    await fill(store, 0, 1000)
    store.listed.clear(), store.read.clear()
    assert (await Calls(ContentStore(store)).query(fn="other.f").first()).name == "other.f"
    assert sum(len(keys) for _, keys in store.read) <= 10


async def test_a_change_of_recorded_calls_may_be_async_and_make_new_values(calls):
    await record_some(calls, 3)

    async def in_metres(call):
        if call.version == 2:
            return None
        return call.replace(version=2, result=await call.result() / 100, tags={"unit": "m"})

    assert await calls.transform(in_metres) == 3
    assert sorted([result async for result in calls.query(tags={"unit": "m"}).results()]) == [0.0, 0.1, 0.2]
    assert await calls.query().count() == 3
    with pytest.raises(ConfigurationError, match="must return a FunctionCall or None, got int"):
        await calls.transform(lambda call: 1)


async def test_a_change_of_tags_alone_keeps_the_call(calls, store):
    await record_some(calls, 1)
    before = await calls.query().only()
    assert await calls.transform(lambda call: call.replace(tags={"seen": True})) == 1
    after = await calls.query(tags={"seen": True}).only()
    assert (after.digest, after.recorded_at) == (before.digest, before.recorded_at)
    assert await calls.transform(lambda call: call.replace(tags={})) == 1
    assert await calls.query(tags={"seen": True}).count() == 0
    assert await calls.query().count() == 1


async def test_a_change_of_a_call_whose_values_are_gone_is_refused(calls):
    await record_some(calls, 1)
    await calls.content.evict((await calls.query().only()).result_digest)
    with pytest.raises(KeyMissingError):
        await calls.transform(lambda call: call.replace(name="g"))
    assert await calls.query(fn="f").count() == 1


async def test_what_is_recorded_is_checked(calls):
    for call, message in (
        (FunctionCall("", {}, 1), "the name of a call"),
        (FunctionCall(3, {}, 1), "the name of a call"),
        (FunctionCall("f", ["x"], 1), "must be a dict of values by name"),
        (FunctionCall("f", {1: 1}, 1), "must be a dict of values by name"),
        (FunctionCall("f", {}, 1, version=1.5), "version must be"),
        (FunctionCall("f", {}, 1, metadata={"runtime": 1}), "metadata must be a dict of dicts"),
        (FunctionCall("f", {}, 1, metadata=[]), "metadata must be a dict of dicts"),
        (FunctionCall("f", {}, 1, recorded_at=1e300), "recorded_at must be"),
        (FunctionCall("f", {}, 1, recorded_at=math.nan), "recorded_at must be"),
        (FunctionCall("f", {}, 1, recorded_at=math.inf), "recorded_at must be"),
        (FunctionCall("f", {}, 1, recorded_at="today"), "recorded_at must be"),
        (FunctionCall("f", {}, 1, recorded_at=datetime.now(UTC)), "recorded_at must be"),
        (FunctionCall("f", {}, 1, metadata=5), "metadata must be"),
        (FunctionCall("f", {}, 1, metadata={"host": 5}), "metadata must be"),
        (FunctionCall("f", {}, 1, tags={"n": 2**64}), "beyond 64 bits"),
        (FunctionCall("f", {}, 1, tags={"t": "\ud800"}), "lone surrogate"),
        ({"name": "f"}, "record takes a FunctionCall, got an object of type dict"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            await calls.record(call)
    with pytest.raises(SerializationError, match=r"\$\.metadata\.host\.since: a datetime"):
        await calls.record(FunctionCall("f", {}, 1, metadata={"host": {"since": datetime.now(UTC)}}))
    assert [key async for key in calls.content.store.keys("calls/index")] == []
    with pytest.raises(ConfigurationError, match="Calls takes a ContentStore"):
        Calls(MemoryStore())
    with pytest.raises(KeyMissingError):
        await calls.record(FunctionCall("f", {"x": memoize(calls)(double).digest(1)}, 1))
    assert await calls.query().count() == 0


async def test_short_digests_of_calls_are_expanded(calls):
    await record_some(calls, 1)
    call = await calls.query().only()
    assert await calls.expand(call.digest[:4]) == await calls.expand(call.digest) == call.digest
    with pytest.raises(KeyMissingError, match="nothing whose digest begins with 0000"):
        await calls.expand("0000")
    for refused in ("abc", "ABCD", 3):
        with pytest.raises(InvalidKeyError):
            await calls.expand(refused)


def test_a_store_that_cannot_list_is_refused_at_once(tmp_path):
    with pytest.raises(UnsupportedOperationError):
        Calls(ContentStore(open_store("memcached://127.0.0.1")))


async def test_a_damaged_record_is_no_call(calls, store):
    await record_some(calls, 1)
    digest = (await calls.query().only()).digest
    good = await store.get("calls", digest)
    for damaged in ("text", {}, good | {"roots": ["x"]}, good | {"arguments": []}, good | {"roots": []}):
        await store.put("calls", digest, damaged)
        with pytest.raises(IntegrityError, match="is no record of a call"):
            await calls.load(digest)
    await store.put("calls", digest, good | {"format": 2})
    with pytest.raises(IntegrityError, match="recorded in format 2"):
        await calls.load(digest)


@pytest.mark.parametrize(
    "change",
    [
        *({"name": 1}, {"name": ""}, {"version": 1.5}, {"version": []}, {"arguments": "x"}, {"arguments": [1]}),
        *({"tags": []}, {"tags": {"a": []}}, {"metadata": []}, {"metadata": {"x": 1}}, {"at": "x"}, {"at": True}),
        *({"at": 1e300}, {"at": None}, {"roots": "ab"}, {"roots": [None, None]}),
    ],
)
async def test_a_record_with_a_damaged_field_is_no_call(calls, store, change):
    await record_some(calls, 1)
    digest = (await calls.query().only()).digest
    await store.put("calls", digest, await store.get("calls", digest) | change)
    for use in (calls.load, calls.contains, calls.delete, lambda _: calls.query().rows()):
        with pytest.raises(IntegrityError, match="is no record of a call"):
            await use(digest)


async def test_a_damaged_result_of_a_memoized_function_is_told(calls, store, ran):
    remembered = memoize(calls)(double)
    await remembered(1)
    for roots in (["x"], [1], [None]):
        await store.put("calls", remembered.digest(1), {"format": 1, "roots": roots})
        with pytest.raises(IntegrityError, match="is no record of a call"):
            await remembered(1)


async def test_a_record_under_a_key_that_is_no_digest_is_told(calls, store):
    await record_some(calls, 1)
    record = await store.get("calls", (await calls.query().only()).digest)
    await store.put("calls", "abcdefab", record)
    with pytest.raises(IntegrityError, match="a key that is not a digest"):
        await calls.expand("abcdefab")
    for use in (calls.load, calls.get, calls.contains, calls.delete):
        with pytest.raises(DigestError, match="64 hexadecimal digits"):
            await use("abcdefab")
    with pytest.raises(IntegrityError, match="a key that is not a digest"):
        await calls.transform(lambda call: None)


@pytest.mark.parametrize("end", ["", "x", "\0", "\0x\0y", "\0\0", "\0" + "0" * 16 + "\0abcdefgh", "\0" * 9])
async def test_a_damaged_key_of_the_index_is_passed_over_and_goes(calls, store, clock, end):
    await record_some(calls, 1)
    await store.put("calls", "abcdefgh", {"format": 1})
    keys = [f"fn\0{end}", f"fn\0f{end}", f"arg\0x{end}", f"result\0{end}"]
    await store.put_many("calls/index", {key: {"format": 1} for key in keys})
    clock.advance(7200)
    for query in (calls.query(), calls.query(fn="f"), calls.query(args={"x": 0}), calls.query(result=0)):
        assert await query.count() == 1
    assert f"fn\0{end}" not in await listed(store.keys("calls/index"))


async def test_a_null_store_keeps_no_call(ran):
    memoized = memoize(Calls(ContentStore(NullStore())))(double)
    assert [await memoized(1), await memoized(1)] == [2, 2]
    assert len(ran) == 2


async def test_calls_outlive_their_process(tmp_path, ran):
    for _ in range(2):
        async with DiskStore(tmp_path) as store:
            assert await memoize(Calls(ContentStore(store)))(double)([1]) == [1, 1]
    assert len(ran) == 1


class Interrupted(MemoryStore):
    """Store in which something happens before the record of a call is written, and after one is deleted."""

    async def before(self):
        pass

    after = before

    async def put(self, collection, *args, **options):
        if collection == "calls":
            await self.before()
        await super().put(collection, *args, **options)

    async def delete(self, collection, key):
        deleted = await super().delete(collection, key)
        if collection == "calls":
            await self.after()
        return deleted


@pytest.fixture
def interrupted(clock):
    store = Interrupted(clock=clock)
    return Calls(ContentStore(store, clock=clock), clock=clock)


async def test_a_recording_that_took_longer_than_the_index_waits_is_found(interrupted, clock):
    """A query that met the keys of a call before its record has deleted them as some that lead to nothing."""

    async def before():
        clock.advance(7201)
        assert await interrupted.query().count() == 0
        assert [key async for key in interrupted.content.store.keys("calls/index", prefix="fn\0")] == []

    interrupted.content.store.before = before
    await interrupted.record(FunctionCall("f", {"x": 1}, result=1))
    assert await interrupted.query(fn="f", args={"x": ANY}).count() == 1


async def test_a_call_of_long_ago_is_not_taken_for_one_that_never_came(interrupted, clock):
    async def before():
        assert await interrupted.query().count() == 0

    interrupted.content.store.before = before
    await interrupted.record(FunctionCall("f", {"x": 1}, result=1, recorded_at=clock() - 10**6))
    assert await interrupted.query(fn="f").count() == 1


async def test_a_call_that_is_recorded_while_it_is_deleted_is_found(interrupted, clock):
    call = FunctionCall("f", {"x": 1}, result=1, recorded_at=clock())
    digest = await interrupted.record(call)

    async def after():
        await interrupted.record(call)

    interrupted.content.store.after = after
    assert await interrupted.delete(digest)
    assert await interrupted.contains(digest)
    assert await interrupted.query(fn="f").count() == 1


async def test_a_query_that_is_stopped_between_its_reads_takes_no_key(interrupted, clock):
    store, queries, has_read, goes_on = interrupted.content.store, [], asyncio.Event(), asyncio.Event()
    get_many = store.get_many

    async def stopped(collection, keys):
        store.get_many = get_many
        found = await get_many(collection, keys)
        has_read.set()
        await goes_on.wait()
        return found

    async def before():
        store.get_many = stopped
        queries.append(asyncio.create_task(interrupted.query().count()))
        await has_read.wait()

    store.before = before
    await interrupted.record(FunctionCall("f", {"x": 1}, result=1))
    clock.advance(7201)
    goes_on.set()
    assert await queries[0] == 0
    assert await interrupted.query(fn="f").count() == 1


async def test_keys_that_are_written_anew_while_they_are_tidied_up_stay(calls, store, clock):
    await record_some(calls, 1)
    call = await calls.query().only()
    await store.delete("calls", call.digest)
    clock.advance(7201)
    entries = store.get_entries

    async def get_entries(collection, keys):
        found = await entries(collection, keys)
        if collection == "calls/index":
            store.get_entries = entries
            await calls.record(FunctionCall("f", {"x": 0}, result=0, recorded_at=call.recorded_at))
        return found

    store.get_entries = get_entries
    await calls.query(fn="f").count()
    assert await calls.query(fn="f").count() == 1


def test_the_clock_of_a_call_is_that_of_its_calls():
    clock = FakeClock(1_767_225_600.1234567)
    assert Calls(ContentStore(MemoryStore()), clock=clock).collection == "calls"
