"""Scenarios of what is kept in one entry: updates of collections, and sessions under keys that the caller chose."""

import itertools
from contextlib import suppress

from satchel import Collection, LockLostError, SessionLockedError, StoreError
from satchel.sessions import SessionStore
from tests.simulation.setting import Setting

PAUSES = (0, 0, 0.05, 1.0)
LOCK = 2.0
LIFETIME = 0.5


class Changes:
    """Numbers that were added to a list, each once.

    Attributes:
        acknowledged: Those that are in the list from then on.
        tried: Those that may be in it.
    """

    def __init__(self):
        self.acknowledged, self.tried = set(), set()
        self._numbers = itertools.count()

    def new(self):
        """Return another number, which is tried from now on."""
        number = next(self._numbers)
        self.tried.add(number)
        return number

    def check(self, found):
        """Check the list as it is in the end."""
        assert self.acknowledged <= set(found), "an acknowledged change is lost"
        assert set(found) <= self.tried
        assert len(found) == len(set(found)), "a change happened twice"


async def updates(world):
    """No acknowledged change of a collection's entry is lost, and none happens twice."""
    setting, changes = Setting(world), Changes()

    async def update(client):
        collection = Collection(client.store, "c")
        for _ in client.steps(5):
            number = changes.new()
            with suppress(StoreError):
                value = await collection.update("k", lambda value, number=number: [*value, number], initial=[])
                assert value.count(number) == 1, "a change happened twice"
                changes.acknowledged.add(number)
            await client.pause(*PAUSES)

    await setting.work(update, update, update)
    await setting.calm()
    async with setting.quiet() as quiet:
        changes.check(await quiet.store.get("c", "k", []))


async def locked_sessions(world):
    """No acknowledged change of a session is lost, not even of one who locks it, reads it, and writes it back."""
    setting, changes = Setting(world), Changes()

    async def lock(sessions, client, number):
        async with sessions.lock("k", LOCK) as lock:
            value = await sessions.get("k", owner=lock.owner)
            await client.pause(0, 0.1, LOCK / 2, 2 * LOCK)
            await sessions.put("k", [*value, number], owner=lock.owner)

    async def update(client):
        sessions = SessionStore(client.store, max_lock=LOCK, clock=client.clock)
        for _ in client.steps(5):
            number = changes.new()
            with suppress(StoreError, SessionLockedError, LockLostError):
                if client.chance.random() < 0.5:
                    await lock(sessions, client, number)
                else:
                    await sessions.update("k", lambda value, number=number: [*value, number])
                changes.acknowledged.add(number)
            await client.pause(*PAUSES)

    async with setting.quiet() as quiet:
        await SessionStore(quiet.store, clock=setting.right_clock).put("k", [])
    await setting.work(update, update, update)
    await setting.calm()
    async with setting.quiet() as quiet:
        changes.check(await SessionStore(quiet.store, clock=setting.right_clock).get("k"))


async def expiry(world):
    """No entry is read after its deadline, in whatever way it is read."""
    setting, numbers, gone_at = Setting(world, skew=0.0), itertools.count(), {}

    async def live(client):
        store = client.store
        for _ in client.steps(10):
            with suppress(StoreError):
                if client.chance.random() < 0.4:
                    number = next(numbers)
                    try:
                        await store.put("c", "k", number, ttl=LIFETIME)
                    finally:
                        gone_at[number] = setting.now + LIFETIME
                else:
                    begun = setting.now
                    found = await client.chance.choice([read_one, read_many, read_entry])(store)
                    assert begun < gone_at.get(found, begun + 1), "an entry is read after its deadline"
            await client.pause(0, 0.1, LIFETIME / 2, LIFETIME)

    await setting.work(live, live)


async def read_one(store):
    return await store.get("c", "k")


async def read_many(store):
    return (await store.get_many("c", ["k"])).get("k")


async def read_entry(store):
    entry = await store.get_entry("c", "k")
    return None if entry is None else entry.value


SCENARIOS = (expiry, updates, locked_sessions)
