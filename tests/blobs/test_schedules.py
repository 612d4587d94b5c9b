"""Blobs over a store that answers late and loses answers, among processes that die at any moment."""

import asyncio
import math
import random
from contextlib import aclosing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    BlobChangedError,
    BlobExistsError,
    BlobMissingError,
    IntegrityError,
    StoreError,
    UploadLostError,
)
from satchel.blobs import StoreBlobs
from satchel.blobs.records import NEW, OLD, Manifest
from satchel.blobs.uploads import KEPT_SECONDS, Change, Sweeper
from tests.coordination.test_lock_schedules import SlowServer
from tests.coordination.test_queue_schedules import Connection
from tests.coordination.virtual import run, wall_clock
from tests.scripted import BatchStore

CHUNK = 8
INLINE = 16
KEYS = ("a", "b", "expiring")
SHORT_TTL = 30
LONG_TTL = 10**6
EXPECTED = (StoreError, BlobChangedError, BlobExistsError, BlobMissingError, UploadLostError)


@pytest.fixture(autouse=True)
def no_log(caplog):
    """Spare the time of writing some thousand warnings."""
    caplog.set_level("CRITICAL", "satchel")


class Operation:
    """Change of a key that was asked for: what it leaves there, when it began, and when it was acknowledged."""

    def __init__(self, key, result, begun):
        self.key, self.result, self.begun, self.ended = key, result, begun, math.inf


class StoppableConnection(Connection):
    """Way of one process to the server. One that is stopped sends nothing for a while, one that is killed no more.

    The request after which it is killed is carried out, or not even sent.
    """

    resumes, left, last_is_sent = 0.0, math.inf, True

    def stop(self, seconds):
        self.resumes = wall_clock() + seconds

    async def request(self, *arguments):
        await asyncio.sleep(max(0, self.resumes - wall_clock()))
        self.left -= 1
        if self.left <= 0:
            if self.last_is_sent and not self.cut:
                self.cut = True
                await self.server.request(*arguments)
            self.cut = True
        return await super().request(*arguments)


class World:
    """Writers, readers and sweepers, some of which are killed, and what is known about each key."""

    def __init__(self, seed):
        random.seed(seed)
        self.chance = random.Random(seed)
        self.server = SlowServer(delay=self._delay)
        self.server.loses_answer = lambda: self.chance.random() < 0.03
        self.operations = [Operation(key, None, -1) for key in KEYS]
        for operation in self.operations:
            operation.ended = -1
        self.contents = set()
        self.killed = self.acknowledged = self.changed = self.lost = 0

    def _delay(self):
        return self.chance.choices([0, 0.1, 1, 5, 600], [70, 10, 4, 1, 0.3])[0]

    def process(self, *, killed=False):
        connection = StoppableConnection(self.server)
        store = BatchStore(connection, clock=wall_clock)
        store._timeout = 10 * KEPT_SECONDS  # requests of a stopped process do not end in an error
        if killed:
            self.killed += 1
            connection.left, connection.last_is_sent = self.chance.randrange(1, 60), self.chance.random() < 0.5
        blobs = StoreBlobs(store, chunk_size=CHUNK, clock=wall_clock)
        blobs._inline = INLINE
        blobs.connection = connection
        return blobs

    def content(self):
        """Return new content, each eight bytes of which are its own."""
        number = len(self.contents)
        length = self.chance.choice([0, 5, INLINE, INLINE + 1, 3 * CHUNK, 3 * CHUNK + 1, 12 * CHUNK])
        made = (b"%07d." % number * 20)[:length]
        self.contents.add(made)
        return made

    async def pieces(self, content, connection):
        for start in range(0, len(content), 10):
            pause = self.chance.choices([0, 1, 100, 1.5 * KEPT_SECONDS], [90, 7, 1, 1])[0]
            if self.chance.random() < 0.5:
                connection.stop(pause)
            await asyncio.sleep(pause)
            yield content[start : start + 10]

    async def write(self, *, killed):
        blobs = self.process(killed=killed)
        for _ in range(4):
            await asyncio.sleep(self.chance.choice([0, 0, 1, 10]))
            with suppress(*EXPECTED):
                await self.change(blobs, self.chance.choice(KEYS))

    async def change(self, blobs, key):
        kind = self.chance.choices(["put", "delete", "touch", "copy", "move", "pop"], [6, 2, 2, 1, 1, 1])[0]
        ttl = self.chance.choice([SHORT_TTL, LONG_TTL, None]) if key == "expiring" else None
        if kind == "touch":
            await blobs.touch(key, ttl=self.chance.choice([None, LONG_TTL]) if key != "expiring" else ttl)
            self.acknowledged += 1
            return
        if kind in ("copy", "move"):
            await self.copy(blobs, kind, key)
            return
        content = self.content() if kind == "put" else None
        operation = self.begin(key, content)
        if kind == "put":
            condition = self.chance.random() < 0.1
            async with aclosing(self.pieces(content, blobs.connection)) as pieces:
                try:
                    await blobs.put(key, pieces, ttl=ttl, if_absent=condition)
                except (BlobExistsError, UploadLostError) as error:
                    self.lost += isinstance(error, UploadLostError)
                    self.operations.remove(operation)
                    raise
        elif kind == "delete":
            await blobs.delete(key)
        else:
            found = await blobs.pop(key)
            assert found is None or found in self.contents
        self.end(operation)

    async def copy(self, blobs, kind, key):
        other = self.chance.choice([name for name in KEYS if name not in (key, "expiring")])
        if key == "expiring":
            return
        with suppress(BlobMissingError, BlobChangedError):
            copied = self.begin(other, ANY)
            removed = self.begin(key, None) if kind == "move" else None
            await getattr(blobs, kind)(key, other)
            self.end(copied)
            if removed is not None:
                self.end(removed)

    def begin(self, key, result):
        operation = Operation(key, result, wall_clock())
        self.operations.append(operation)
        return operation

    def end(self, operation):
        operation.ended = wall_clock()
        self.acknowledged += 1

    async def read(self):
        blobs = self.process()
        for _ in range(6):
            await asyncio.sleep(self.chance.choice([0, 1, 10]))
            key = self.chance.choice(KEYS)
            with suppress(StoreError, BlobMissingError):
                try:
                    async with blobs.open(key) as file:
                        parts = []
                        while part := await file.read(self.chance.choice([7, 100])):
                            parts.append(part)
                            await asyncio.sleep(self.chance.choices([0, 1, 300, 3 * KEPT_SECONDS], [70, 10, 5, 5])[0])
                        assert b"".join(parts) in self.contents, "a torn blob was read"
                except BlobChangedError:
                    self.changed += 1

    async def sweep(self):
        blobs = self.process(killed=self.chance.random() < 0.3)
        for _ in range(5):
            await asyncio.sleep(self.chance.choice([1, 60, KEPT_SECONDS / 2, KEPT_SECONDS]))
            with suppress(StoreError):
                await blobs.sweep()

    async def live(self):
        work = [self.write(killed=self.chance.random() < 0.5) for _ in range(4)]
        work += [self.read(), self.read(), self.sweep(), self.sweep()]
        tasks = [asyncio.create_task(one) for one in work]
        await asyncio.wait(tasks, timeout=10 * KEPT_SECONDS)
        for task in tasks:
            task.cancel()  # those that were killed wait for ever
        self.server.loses_answer, self.server.delay = lambda: False, lambda: 0
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()
        await self.check()

    async def check(self):
        blobs = self.process()
        await self.settle(blobs)
        for key in KEYS:
            found = await blobs.get(key)
            assert found is None or found in self.contents, "a torn blob is left"
            assert key == "expiring" or {found, ANY} & self.possible(key), "a blob is lost"
        assert self.present("blobs/chunks") == self.expected_chunks()
        for key in KEYS:
            await blobs.delete(key)
        await self.settle(blobs)
        assert self.present("blobs/chunks") == set()
        assert self.present("blobs/uploads") == set()

    async def settle(self, blobs):
        for _ in range(3):
            await asyncio.sleep(KEPT_SECONDS + SHORT_TTL)
            await blobs.sweep()

    def possible(self, key):
        """Return what may be under a key: the result of an operation after which no other one began and ended."""
        own = [operation for operation in self.operations if operation.key == key]
        ended = [operation for operation in own if operation.ended < math.inf]
        return {one.result for one in own if not any(other.begun > one.ended for other in ended)}

    def present(self, collection):
        now = wall_clock()
        return {key for (name, key), record in self.server.data.items() if name == collection and record.deadline > now}

    def expected_chunks(self):
        found = set()
        for (name, key), record in self.server.data.items():
            if name == "blobs" and key in self.present("blobs"):
                manifest, _ = Manifest.unpack(record.payload)
                found |= {f"{manifest.version}/{number:08x}" for number in range(manifest.chunks)}
        return found


ANY = object()


def explore(seed):
    world = World(seed)
    run(world.live())
    return world


def explore_many(count):
    for seed in range(count):
        explore(seed)


@given(st.integers(min_value=0, max_value=2**32))
def test_no_blob_is_torn_or_lost_and_nothing_is_left(seed):
    explore(seed)


@pytest.mark.night
@pytest.mark.timeout(7200)
def test_no_blob_is_torn_or_lost_in_20_000_schedules():
    explore_many(20_000)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_no_blob_is_torn_or_lost_in_200_schedules():
    explore_many(200)


@pytest.mark.long
def test_the_schedules_have_in_them_what_they_are_about():
    worlds = [explore(seed) for seed in range(200, 260)]
    assert sum(world.killed for world in worlds) > 50
    assert sum(world.acknowledged for world in worlds) > 300
    assert any(world.changed for world in worlds)
    assert any(world.lost for world in worlds)


def is_caught():
    """Check that one of some schedules shows what was made wrong."""
    with pytest.raises((AssertionError, IntegrityError)):
        explore_many(400)


@pytest.mark.long
def test_an_intent_that_goes_before_what_it_replaces_is_retired_is_caught(monkeypatch):
    async def hasty(self, retired):
        await self._places.store.delete(self._places.uploads, NEW + self.id)
        return None if retired is None else await self._places.retire(self._key, retired)

    monkeypatch.setattr(Change, "end", hasty)
    is_caught()


@pytest.mark.long
def test_a_sweep_that_does_not_look_at_the_blob_is_caught(monkeypatch):
    async def careless(self, upload, record, entry):
        await self._places.delete_chunks(upload, record.chunks)
        return await self._places.store.compare_and_delete(self._places.uploads, OLD + upload, version=entry.version)

    monkeypatch.setattr(Sweeper, "_reclaim", careless)
    is_caught()


@pytest.mark.long
def test_a_failed_write_that_takes_its_chunks_along_although_it_may_be_published_is_caught(monkeypatch):
    async def always(self):
        await self._places.delete_chunks(self.id, self._intent.chunks)

    monkeypatch.setattr(Change, "abandon", always)
    is_caught()


@pytest.mark.night
def test_an_intent_that_does_not_name_what_it_replaces_is_caught(monkeypatch):
    async def nameless(self, replaces):
        await self.renew_if_late()

    monkeypatch.setattr(Change, "name", nameless)
    is_caught()
