"""Sessions over a store that answers late and loses answers, among requests that die at any moment."""

import asyncio
import itertools
import random
from contextlib import suppress
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel import SessionGoneError, StoreError
from satchel.sessions import Sessions, web
from satchel.sessions.records import SessionRecord, record_of
from satchel.sessions.users import UserIndex
from tests.coordination.test_lock_schedules import SlowServer
from tests.coordination.test_queue_schedules import Connection
from tests.coordination.virtual import run, wall_clock
from tests.scripted import BatchStore

GRACE = 30
USERS = ("ada", "bob")


@pytest.fixture(autouse=True)
def no_log(caplog):
    """Spare the time of writing some thousand tracebacks."""
    caplog.set_level("CRITICAL", "satchel")


class Line:
    """One session on its way through its ids, from its login to its end.

    Attributes:
        required: The keys that were saved, and that it holds as long as it lives.
        begun: When the call that created it had returned; None if it never did.
        over: When the call that ended it had returned.
        ending: Whether anything tried to end it.
    """

    def __init__(self, number, user, required=()):
        self.number, self.user, self.required = number, user, set(required)
        self.begun = self.over = None
        self.ending = False


class World:
    """Requests that create, change, rotate, end and revoke sessions, and what is known about each session."""

    def __init__(self, seed):
        random.seed(seed)
        self.chance = random.Random(seed)
        self.server = SlowServer(delay=self._delay)
        self.server.loses_answer = lambda: self.chance.random() < 0.03
        self.ticks, self.keys, self.numbers = itertools.count(1), itertools.count(), itertools.count()
        self.lines, self.ids, self.revoking = {}, [], dict.fromkeys(USERS, 0)
        self.counts = dict.fromkeys(("killed", "rotated", "replaced", "ended", "revoked", "gone", "loaded"), 0)

    def _delay(self):
        return self.chance.choices([0, 0.1, 1, 5, 20], [60, 20, 10, 3, 1])[0]

    def process(self):
        connection = Connection(self.server)
        store = BatchStore(connection, clock=wall_clock)
        store._timeout = 10
        if self.chance.random() < 0.3:
            self.counts["killed"] += 1
            asyncio.get_running_loop().call_later(self.chance.uniform(0, 20), setattr, connection, "cut", True)
        return Sessions(store, clock=wall_clock)

    def new_line(self, user, required=()):
        line = Line(next(self.numbers), user, required)
        line.ending = self.revoking[user] > 0
        self.lines[line.number] = line
        return line

    def know(self, session):
        if session.id not in self.ids:
            self.ids.append(session.id)

    async def load(self, sessions, known):
        begun = next(self.ticks)
        session = await sessions.load(known)
        if session is not None:
            line = self.lines[session["line"]]
            assert line.over is None or line.over > begun, "a session lives that was ended or revoked"
            self.know(session)
            self.counts["loaded"] += 1
        return session

    async def create(self, sessions):
        line = self.new_line(self.chance.choice(USERS))
        session = await sessions.create({"line": line.number}, user=line.user)
        line.begun = next(self.ticks)
        self.know(session)

    async def save(self, sessions, session):
        key = f"key {next(self.keys)}"
        session[key] = True
        await sessions.save(session)
        self.lines[session["line"]].required.add(key)
        self.know(session)

    async def rotate(self, sessions, session):
        await sessions.rotate(session, grace=GRACE)
        self.counts["rotated"] += 1
        self.know(session)

    async def replace(self, sessions, session):
        old = self.lines[session["line"]]
        line = self.new_line(USERS[USERS[0] == old.user], old.required)
        old.ending = True
        session["line"], session["user"] = line.number, line.user
        await sessions.save(session)
        line.begun = old.over = next(self.ticks)
        self.counts["replaced"] += 1
        self.know(session)

    async def end(self, sessions, session):
        line = self.lines[session["line"]]
        line.ending = True
        if await sessions.delete(session.id):
            line.over = line.over or next(self.ticks)
            self.counts["ended"] += 1

    async def revoke(self, sessions, but):
        user = self.chance.choice(USERS)
        kept = None if but is None else but["line"]
        begun = next(self.ticks)
        lines = [line for line in self.lines.values() if line.user == user and line.number != kept]
        for line in self.lines.values():
            line.ending |= line.user == user
        self.revoking[user] += 1  # one that dies may have an effect later
        await sessions.revoke_user(user, but=None if but is None else but.id)
        self.revoking[user] -= 1
        for line in lines:
            if line.begun is not None and line.begun < begun:
                line.over = line.over or next(self.ticks)
        self.counts["revoked"] += 1

    async def request(self):
        sessions = self.process()
        try:
            session = await self.load(sessions, self.chance.choice(self.ids[-6:]))
            step = self.chance.choices(["save", "rotate", "replace", "end", "revoke", "create"], [4, 5, 1, 1, 1, 1])[0]
            await asyncio.sleep(self.chance.choice([0, 0, 0.1, 5]))
            if step == "create":
                await self.create(sessions)
            elif step == "revoke":
                await self.revoke(sessions, self.chance.choice([None, session]))
            elif session is not None:
                await getattr(self, step)(sessions, session)
        except SessionGoneError:
            self.counts["gone"] += 1
        except StoreError:
            pass

    async def visitor(self):
        for _ in range(4):
            with suppress(TimeoutError):
                async with asyncio.timeout(60):  # a request that was killed comes to no end
                    await self.request()
            await asyncio.sleep(self.chance.choice([0, 0.1, 1, GRACE]))

    async def live(self):
        quiet = Sessions(BatchStore(self.server, clock=wall_clock), clock=wall_clock)
        loses, self.server.loses_answer = self.server.loses_answer, lambda: False
        for _ in range(2):
            await self.create(quiet)
        self.server.loses_answer = loses
        await asyncio.gather(*(self.visitor() for _ in range(5)))
        self.server.loses_answer, self.server.delay = lambda: False, lambda: 0
        await asyncio.sleep(GRACE + 30)  # what is under way arrives
        await self.check(quiet)

    async def check(self, sessions):
        found = {}
        for known in self.ids:
            session = await self.load(sessions, known)
            if session is not None:
                found.setdefault(session["line"], set()).add(session.id)
                assert self.lines[session["line"]].required <= session.keys(), "a change was lost"
        assert all(len(ids) == 1 for ids in found.values()), "a session has two ids"
        stored = {}
        for (collection, _), record in self.server.data.items():
            if collection == "sessions" and (session := live_record(record)) is not None:
                stored.setdefault(session.data["line"], []).append(session.next is not None)
        for number, moving in stored.items():
            assert moving.count(False) <= 1, "a session is stored twice"
            line = self.lines[number]
            assert line.over is None or not moving.count(False), "a session is stored that was ended or revoked"
        for line in self.lines.values():
            assert line.begun is None or line.ending or line.number in stored, "a session was lost"


def live_record(record):
    """Return the session in a record of the server; None for a mark."""
    session = record_of(SimpleNamespace(value=msgspec.json.decode(record.payload)))
    return session if isinstance(session, SessionRecord) else None


def explore(seed):
    world = World(seed)
    run(world.live())
    return world


def explore_many(count):
    for seed in range(count):
        explore(seed)


@settings(max_examples=3 * settings().max_examples)
@given(st.integers(min_value=0, max_value=2**32))
def test_nothing_that_was_ended_lives_and_nothing_is_lost(seed):
    explore(seed)


@pytest.mark.night
@pytest.mark.timeout(7200)
def test_nothing_that_was_ended_lives_in_20_000_schedules():
    explore_many(20_000)


@pytest.mark.long
def test_the_schedules_have_in_them_what_they_are_about():
    worlds = [explore(seed) for seed in range(40)]
    for count in worlds[0].counts:
        assert sum(world.counts[count] for world in worlds) >= 5, count


@pytest.mark.long
def test_successors_of_one_session_that_differ_are_caught(monkeypatch):
    monkeypatch.setattr(web, "successor", lambda present, nonce: web.new_id())
    with pytest.raises(AssertionError):
        explore_many(300)


@pytest.mark.long
def test_a_revocation_without_epochs_is_caught(monkeypatch):
    add = UserIndex.add

    async def careless(self, user, key, epoch):
        present = await add(self, user, key, None)
        return present if epoch is None else epoch

    async def unchanged(self, key, epoch):
        return None

    monkeypatch.setattr(UserIndex, "add", careless)
    monkeypatch.setattr(Sessions, "_withdraw", unchanged)
    with pytest.raises(AssertionError):
        explore_many(1000)


@pytest.mark.long
def test_an_end_that_leaves_no_mark_is_caught(monkeypatch):
    async def removing(self, ended, *, expected):
        key = web.key_of(ended)
        entry = await self._store.get_entry(self._collection, key)
        if entry is None:
            return True, False, None
        live = isinstance(record_of(entry), SessionRecord)
        return await self._store.compare_and_delete(self._collection, key, version=entry.version), live, None

    monkeypatch.setattr(Sessions, "_end", removing)
    with pytest.raises(AssertionError):
        explore_many(1000)
