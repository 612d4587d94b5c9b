"""What `StoreBlobs` makes of a store: entries, requests, sweeps, and what it does when something is wrong."""

import asyncio
import random
import secrets

import pytest

from satchel import (
    BlobChangedError,
    BlobMissingError,
    Capability,
    ConfigurationError,
    DiskStore,
    IntegrityError,
    MemoryStore,
    SyncStore,
    UnsupportedOperationError,
    UploadLostError,
)
from satchel.blobs import StoreBlobs
from satchel.sync import in_sync
from satchel.testing import FakeClock
from satchel.testing.conformance.suite import listed
from satchel.wrappers import (
    CompressionWrapper,
    EncryptionWrapper,
    LimitSizeWrapper,
    PrefixKeysWrapper,
    SigningWrapper,
    TieredStore,
)
from tests.scripted import BatchStore, turns

CHUNK = 1000
LONG = random.Random(1).randbytes(40_500)
OTHER = random.Random(2).randbytes(40_500)
HOUR = 3600


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def blobs(store, clock):
    return StoreBlobs(store, chunk_size=CHUNK, clock=clock)


async def count(store):
    return await store.count("blobs"), await store.count("blobs/chunks"), await store.count("blobs/uploads")


@pytest.mark.parametrize(("length", "chunks"), [(0, 0), (16_384, 0), (16_385, 17), (20_000, 20), (20_001, 21)])
async def test_a_short_blob_is_one_entry_and_a_longer_one_has_chunks(blobs, store, length, chunks):
    await blobs.put("k", bytes(length))
    assert await count(store) == (1, chunks, 0)


async def test_a_short_blob_under_a_new_key_is_one_request():
    store = BatchStore()
    await StoreBlobs(store).put("k", b"x" * 4096)
    assert store.server.calls == [("put_if", [("blobs", "k")])]
    await StoreBlobs(store).get("k")
    assert [kind for kind, _ in store.server.calls] == ["put_if", "read"]


async def test_chunks_are_written_eight_at_a_time():
    store = BatchStore()
    store.server.gate = asyncio.Event()
    blobs = StoreBlobs(store, chunk_size=CHUNK)
    task = asyncio.create_task(blobs.put("k", LONG))
    await turns(50)
    store.server.gate.set()  # of the intent
    store.server.gate = asyncio.Event()
    for _ in range(200):
        await asyncio.sleep(0)
    waiting = store.server.gate
    store.server.gate = None
    waiting.set()
    await task
    assert await blobs.get("k") == LONG
    assert max(store.server.sizes("write")) <= 8


async def test_a_replaced_blob_can_be_read_to_its_end_for_an_hour(blobs, store, clock):
    await blobs.put("k", LONG)
    async with blobs.open("k") as file:
        first = await file.read(100)
        await blobs.put("k", OTHER)
        clock.advance(HOUR - 1)
        assert await blobs.sweep() == 0
        assert first + await file.read() == LONG
    async with blobs.open("k") as file:
        await file.read(100)
        await blobs.put("k", b"short")
        clock.advance(HOUR)
        assert await blobs.sweep() == 2
        with pytest.raises(BlobChangedError):
            await file.read()
    assert await blobs.get("k") == b"short"
    assert await count(store) == (1, 0, 0)


async def test_a_deleted_blob_leaves_nothing_after_an_hour(blobs, store, clock):
    await blobs.put("k", LONG)
    await blobs.delete("k")
    assert await count(store) == (0, 41, 1)
    clock.advance(HOUR)
    await blobs.sweep()
    assert await count(store) == (0, 0, 0)


async def test_a_write_sweeps_two_records(blobs, store, clock):
    for number in range(5):
        await blobs.put(str(number), LONG)
        await blobs.delete(str(number))
    clock.advance(HOUR)
    left = []
    for _ in range(3):
        await blobs.put("k", LONG, if_absent=True)
        left.append((await count(store))[2])
        await store.delete("blobs", "k")
    assert left == [3, 1, 0]


async def test_a_write_of_another_process_sweeps_what_a_dead_one_left(blobs, store, clock):
    for number in range(3):
        await blobs.put(str(number), LONG)
        await blobs.delete(str(number))
    clock.advance(HOUR)
    other = StoreBlobs(store, chunk_size=CHUNK, clock=clock)
    for _ in range(2):
        await other.put(secrets.token_hex(4), LONG)
    assert await count(store) == (2, 82, 0)


async def test_short_blobs_never_pay_for_a_sweep(clock):
    store = BatchStore(clock=clock)
    blobs = StoreBlobs(store, clock=clock)
    for _ in range(3):
        clock.advance(2 * HOUR)
        await blobs.put("k", b"x")
    assert "keys" not in store.events


async def test_an_upload_that_was_given_up_is_lost_and_changes_nothing(blobs, store, clock):
    await blobs.put("k", b"before")

    async def stalling():
        yield LONG
        clock.advance(2 * HOUR)
        await StoreBlobs(store, clock=clock).sweep()
        yield LONG

    with pytest.raises(UploadLostError, match="put it again"):
        await blobs.put("k", stalling())
    assert await blobs.get("k") == b"before"
    clock.advance(2 * HOUR)
    await blobs.sweep()
    assert await count(store) == (1, 0, 0)


async def test_an_upload_that_goes_on_for_hours_is_not_given_up(blobs, store, clock):
    async def slow():
        for _ in range(10):
            yield LONG
            clock.advance(HOUR / 2)
            await StoreBlobs(store, clock=clock).sweep()

    await blobs.put("k", slow(), ttl=100)
    assert await blobs.get("k") == LONG * 10
    assert await blobs.touch("k", ttl=None)
    clock.advance(HOUR * 10)
    assert await blobs.get("k") == LONG * 10


async def test_what_a_failed_write_has_written_is_deleted_at_once(blobs, store, clock):
    async def failing():
        yield LONG
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await blobs.put("k", failing())
    assert await count(store) == (0, 0, 1)  # the intent stays for what may still arrive
    clock.advance(HOUR)
    await blobs.sweep()
    clock.advance(HOUR)
    await blobs.sweep()
    assert await count(store) == (0, 0, 0)


async def test_chunks_outlast_their_blob_and_expire_by_themselves(blobs, store, clock):
    await blobs.put("k", LONG, ttl=100)
    async with blobs.open("k") as file:
        clock.advance(101)
        assert not await blobs.exists("k")
        assert await file.read() == LONG
    clock.advance(HOUR)
    assert await count(store) == (0, 0, 0)


async def test_a_touch_lengthens_chunks_before_the_manifest_and_frees_them_after(clock):
    store = BatchStore(clock=clock)
    blobs = StoreBlobs(store, chunk_size=20_000, clock=clock)
    await blobs.put("k", LONG, ttl=100)
    del store.server.calls[:]
    assert await blobs.touch("k", ttl=1000)
    kinds = [(kind, refs[0][0]) for kind, refs in store.server.calls]
    assert list(dict.fromkeys(kinds)) == [
        ("read", "blobs"),
        ("write", "blobs/uploads"),
        ("touch", "blobs/chunks"),
        ("put_if", "blobs"),
    ]
    assert await blobs.touch("k", ttl=10)
    assert await blobs.get("k") == LONG
    clock.advance(11)
    assert await blobs.get("k") is None
    clock.advance(HOUR)
    assert await blobs.sweep() == 1
    assert (await count(store))[1:] == (0, 0)


async def test_a_touch_neither_changes_the_version_nor_the_times(blobs, clock):
    for data in (b"x", LONG):
        before = await blobs.put("k", data, metadata={"a": "b"})
        clock.advance(5)
        await blobs.touch("k", ttl=100)
        after = await blobs.info("k")
        assert (after.version, after.updated_at, after.metadata) == (before.version, before.updated_at, {"a": "b"})
        assert after.expires_at is not None


async def test_the_record_of_a_touched_blob_follows_its_deadline(blobs, store, clock):
    await blobs.put("k", LONG, ttl=100)
    await blobs.touch("k", ttl=10 * HOUR)
    clock.advance(HOUR)
    assert await blobs.sweep() == 0
    await blobs.touch("k", ttl=None)
    clock.advance(20 * HOUR)
    assert await blobs.sweep() == 0
    assert await blobs.get("k") == LONG
    assert await count(store) == (1, 41, 0)


async def swap(store, one, other):
    first, second = await store.get("blobs/chunks", one), await store.get("blobs/chunks", other)
    await store.put("blobs/chunks", one, second)
    await store.put("blobs/chunks", other, first)


async def test_missing_short_and_swapped_chunks_are_noticed(blobs, store):
    await blobs.put("k", LONG)
    keys = await listed(store.keys("blobs/chunks"))
    whole = {key: await store.get("blobs/chunks", key) for key in keys}
    await blobs.put("l", OTHER)
    twin = [key for key in await listed(store.keys("blobs/chunks")) if key not in keys]

    async def check():
        with pytest.raises(IntegrityError):
            await blobs.get("k")
        for key, value in whole.items():
            await store.put("blobs/chunks", key, value)
        assert await blobs.get("k") == LONG

    await swap(store, keys[3], keys[4])
    await check()
    await swap(store, keys[3], twin[3])
    await check()
    await store.put("blobs/chunks", keys[-1], whole[keys[-1]][:-1])
    await check()
    await store.put("blobs/chunks", keys[5], {"not": "a chunk"})
    await check()
    await store.delete("blobs/chunks", keys[40])
    await check()


@pytest.mark.parametrize("value", [b"", b"SBM1", b"SBM1\x00\x00\x00\x02{}", {"a": 1}, b"SBM1\xff\xff\xff\xff{}", None])
async def test_a_foreign_entry_is_reported_and_can_be_deleted(blobs, store, value):
    await store.put("blobs", "k", value)
    for call in (blobs.get("k"), blobs.put("k", b"x"), blobs.info("k"), blobs.pop("k"), blobs.touch("k", ttl=1)):
        with pytest.raises(IntegrityError, match="blobs"):
            await call
    assert await blobs.delete("k")
    assert not await blobs.exists("k")


async def test_foreign_records_end_no_write(blobs, store, clock, caplog):
    await store.put("blobs/uploads", "other", {"format": 9})
    await blobs.put("k", LONG)
    assert "left to a later write" in caplog.text
    with pytest.raises(IntegrityError, match="uploads"):
        await blobs.sweep()


async def test_a_store_without_conditional_writes_is_refused():
    with pytest.raises(UnsupportedOperationError, match="CONDITIONAL"):
        StoreBlobs(type("Plain", (MemoryStore,), {"capabilities": Capability(0)})())


class Unlisted(MemoryStore):
    """Store that cannot list keys."""

    capabilities = Capability.CONDITIONAL


async def test_a_store_that_cannot_list_carries_blobs():
    blobs = StoreBlobs(Unlisted(), chunk_size=CHUNK)
    await blobs.put("k", LONG)
    await blobs.put("k", OTHER)
    assert await blobs.pop("k") == OTHER
    for call in (blobs.keys, blobs.prefixes):
        with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
            call()
    with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
        await blobs.sweep()


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_size": 0}, {"chunk_size": "1"}, {"ids": "uuid1"}, {"template": "x"}, {"template": "{}{}"},
        {"max_size": 0}, {"clock": 1}, {"chunk_size": 10**6},
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options):
    with pytest.raises(ConfigurationError):
        StoreBlobs(LimitSizeWrapper(MemoryStore(), max_bytes=100_000), **options)


async def test_chunks_fit_into_what_the_store_takes(clock):
    limited = LimitSizeWrapper(MemoryStore(), max_bytes=10_000)
    blobs = StoreBlobs(limited)
    for data in (bytes(5000), bytes(9000), bytes(50_000)):
        await blobs.put("k", data)
        assert await blobs.get("k") == data


async def test_places_with_other_collections_are_apart(store):
    one, other = StoreBlobs(store, "one"), StoreBlobs(store, "other")
    await one.put("k", LONG)
    assert not await other.exists("k")
    assert (await one.info("k")).uri == "satchel://one/k"


KEY = bytes(range(32))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda store: EncryptionWrapper(store, key=KEY),
        lambda store: SigningWrapper(store, key=KEY),
        CompressionWrapper,
        lambda store: PrefixKeysWrapper(store, prefix="x"),
        lambda store: EncryptionWrapper(CompressionWrapper(store), key=KEY),
    ],
    ids=["encryption", "signing", "compression", "prefix", "both"],
)
async def test_wrappers_apply_to_each_chunk(clock, wrap):
    inner = MemoryStore(clock=clock)
    blobs = StoreBlobs(wrap(inner), clock=clock)
    data = b"0123456789" * 100_000
    for content in (b"short", data):
        await blobs.put("k", content)
        await blobs.touch("k", ttl=100)
        assert await blobs.get("k") == content
        assert await blobs.get("k", start=300_000, end=300_010) == content[300_000:300_010]
    await blobs.move("k", "l")
    assert await listed(blobs.keys()) == ["l"]
    clock.advance(2 * HOUR)
    await blobs.sweep()
    assert [await inner.count(name) for name in ("blobs", "blobs/chunks", "blobs/uploads")] == [0, 0, 0]


async def test_an_encrypted_blob_is_bound_to_its_place():
    inner = MemoryStore()
    blobs = StoreBlobs(EncryptionWrapper(inner, key=KEY), chunk_size=CHUNK)
    await blobs.put("k", LONG)
    keys = await listed(inner.keys("blobs/chunks"))
    assert not [key for key, chunk in (await inner.get_many("blobs/chunks", keys)).items() if b"SBC1" in chunk]
    await swap(inner, keys[0], keys[1])
    with pytest.raises(IntegrityError):
        await blobs.get("k")


async def test_a_near_cache_never_gives_an_old_blob(clock):
    cold = MemoryStore(clock=clock)
    near = StoreBlobs(TieredStore(MemoryStore(clock=clock), cold), chunk_size=CHUNK, clock=clock)
    far = StoreBlobs(cold, chunk_size=CHUNK, clock=clock)
    await near.put("k", LONG)
    assert await near.get("k") == LONG
    await far.put("k", OTHER)
    assert await near.get("k") == OTHER
    await far.delete("k")
    assert not await near.exists("k")


async def test_a_blob_that_shrinks_while_it_is_moved_is_not_lost(blobs):
    await blobs.put("a", LONG)
    copy = blobs._copy

    async def replaced_meanwhile(source, target, if_absent):
        copied = await copy(source, target, if_absent)
        await blobs.put("a", OTHER)
        return copied

    blobs._copy = replaced_meanwhile
    with pytest.raises(BlobChangedError, match="both keys"):
        await blobs.move("a", "b")
    assert (await blobs.get("a"), await blobs.get("b")) == (OTHER, LONG)


def test_blobs_are_used_in_plain_functions(tmp_path):
    (tmp_path / "source").write_bytes(LONG)
    with SyncStore(DiskStore(tmp_path / "store")) as store:
        blobs = in_sync(StoreBlobs(store.inner, chunk_size=CHUNK), store)
        assert blobs.put("k", LONG).size == len(LONG)
        assert blobs.get("k", start=-5) == LONG[-5:]
        assert b"".join(blobs.stream("k")) == LONG
        with blobs.open("lines", "w") as file:
            file.write("one\n")
            file.write("two\n")
        assert list(blobs.lines("lines")) == ["one", "two"]
        with blobs.open("k") as file:
            file.seek(10)
            assert file.read(5) == LONG[10:15]
        with blobs.open("lines", "r") as file:
            assert list(file) == ["one\n", "two\n"]
        blobs.put_file("file", tmp_path / "source")
        blobs.get_file("file", tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == LONG
        assert sorted(blobs.keys()) == ["file", "k", "lines"]
        with pytest.raises(ZeroDivisionError), blobs.open("k", "wb") as file:
            file.write(bytes(1 // 0))
        assert blobs.pop("k") == LONG
        with pytest.raises(BlobMissingError):
            blobs.checksum("k")
