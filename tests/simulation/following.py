"""Scenarios of what follows changes: watchers, copies that are kept by their reports, and near caches."""

import asyncio
import itertools
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from satchel import MemoryStore, StoreError
from satchel.clock import NEVER
from satchel.testing.simulation import SimulatedEngine, SimulatedStore
from satchel.testing.simulation.stores import CHECKED
from satchel.testing.simulation.world import EPOCH
from satchel.wrappers import NearCacheWrapper, PrefixCollectionsWrapper, PrefixKeysWrapper, RetryWrapper, TieredStore
from tests.simulation.caching import SlowWrapper
from tests.simulation.setting import Setting

KEYS = ("a", "ab", "z")
COLLECTION, OTHER = "c", "d"
TTLS = (None, None, 0.5, 5.0)
LIMITS = (None, None, None, 0.01)
CHANGES = ("put", "put_many", "delete", "touch", "put_if_absent", "destroy_collection", "destroy")
PAUSES = (0, 0, 0.05, 0.3, 1.0)
KINDS = ("crash", "freeze", "freeze", "restart", "restart", "restart", "cut_off", "cut_off", "cut_off")
LATE = 3.0
"""Seconds after which a report has arrived, if none is lost."""
SLACK = 0.5
SETTLED = 70.0
"""Seconds after which a near cache takes it that a change without an answer will not happen any more."""
OWN = "own"


@dataclass
class State:
    """What was stored under a key from a moment on."""

    since: float
    value: Any = None
    deadline: float = NEVER


class RememberingEngine(SimulatedEngine):
    """Engine that remembers what was stored when."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.states = defaultdict(lambda: [State(0.0)])

    def changed(self, ref):
        record = self.data.get(ref)
        state = State(self.world.now)
        if record is not None:
            state = State(self.world.now, msgspec.json.decode(record.payload), record.deadline - EPOCH)
        self.states[ref].append(state)
        super().changed(ref)

    def clear(self, now):
        for ref in self.data:
            self.states[ref].append(State(self.world.now))
        return super().clear(now)

    def could_be_read(self, ref, value, begun, ended, earliest):
        """Return whether a read may give a value that was replaced no earlier than at a moment."""
        states = self.states[ref]
        for state, following in itertools.zip_longest(states, states[1:]):
            until = ended if following is None else min(ended, following.since)
            if state.since > ended:
                break
            if value is None and until >= begun and (state.value is None or ended >= state.deadline):
                return True  # no store keeps that there is nothing, and what is read expires even on its way
            if value is not None and value == state.value and until >= earliest and begun <= state.deadline:
                return True
        return False

    def position(self, ref, value):
        """Return how many changes a key had had when a value was stored last."""
        return max(number for number, state in enumerate(self.states[ref]) if state.value == value)


class Followed(Setting):
    """Setting whose processes change and follow collections, all through the same wrapper.

    Args:
        world: The world.
        collections: What is changed.
        options: As for `Setting`.
    """

    def __init__(self, world, *collections, **options):
        super().__init__(world, skew=0.0, kinds=KINDS, engine=RememberingEngine, **options)
        self._collections = collections
        shape = world.random("following")
        self.store_options = {"watches_apart": shape.random() < 0.5}
        self.timeout = shape.choice([1.0, 1.0, 1.0, 3.0])
        self.renames = shape.choice(["", "", "keys", "collections"])
        self.changes = ["put", *shape.sample(CHANGES, 4)]
        self._numbers = itertools.count(1)

    @property
    def bound(self):
        """Seconds after which a process that was not stopped has heard of a change, or of a gap."""
        # A connection that is broken without a word is asked every few seconds, and then does not answer.
        return max(LATE, CHECKED + 2 * self.timeout) + SLACK

    def ref(self, key, collection=COLLECTION):
        """Return the name that an entry has in the engine."""
        return (
            f"p-:{collection}" if self.renames == "collections" else collection,
            f"p-:{key}" if self.renames == "keys" else key,
        )

    def around(self, store):
        """Return a store in the wrapper."""
        if self.renames == "keys":
            return PrefixKeysWrapper(store, prefix="p-")
        return PrefixCollectionsWrapper(store, prefix="p-") if self.renames == "collections" else store

    def stored(self):
        """Return what the engine has, by the names of the callers."""
        found = {key: self.engine.states[self.ref(key)][-1] for key in (*KEYS, OWN)}
        return {key: state.value for key, state in found.items() if state.value is not None}

    async def change(self, client, store, name, note=lambda keys, since: None):
        """Make some changes; `note` is called with the keys of each that is acknowledged, and when it was begun."""
        for _ in client.steps(5, name):
            begun, keys, chance = self.now, KEYS, client.chance
            collection = chance.choice(self._collections)
            kind, ttl = chance.choice(self.changes), chance.choice(TTLS)
            values = {key: next(self._numbers) for key in keys}
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(chance.choice(LIMITS)):
                    if kind == "put_many":
                        await store.put_many(collection, values, ttl=ttl)
                    elif kind.startswith("destroy"):
                        await getattr(store, kind)(*[collection][: kind != "destroy"])
                    else:
                        keys = (chance.choice(KEYS),)
                        value = [values[keys[0]]] if kind.startswith("put") else []
                        options = {} if kind == "delete" else {"ttl": ttl}
                        await getattr(store, kind)(collection, *keys, *value, **options)
                note(keys, begun)
            await client.pause(*PAUSES, 3.0)


@dataclass
class Session:
    """What a watcher was told, and when."""

    collection: str
    prefix: str
    told: list = field(default_factory=list)
    ended: float = NEVER

    def hears_at(self, moment):
        """Return whether the watcher could rely on being told of what changed at a moment."""
        kinds = [change.kind for time, change in self.told if time <= moment and change.kind != "changed"]
        return bool(kinds) and kinds[-1] == "ready"

    def check(self, setting, bound):
        """Check that each change was reported, or that something was missed was said, within a number of seconds."""
        for key in KEYS:
            for state in setting.engine.states[setting.ref(key, self.collection)][1:]:
                due = state.since + bound
                if key.startswith(self.prefix) and due < self.ended and self.hears_at(state.since):
                    assert any(
                        state.since <= time <= due and (change.kind == "lost" or change.key == key)
                        for time, change in self.told
                    ), f"a change of {key} is not reported"


class Copy:
    """Copy of what a store has, kept in step by its reports as the documentation has it."""

    def __init__(self, setting, client, store, prefix):
        self.values = {}
        self._setting, self._client, self._store, self._prefix = setting, client, store, prefix
        self._positions = defaultdict(int)

    async def follow(self):
        """Follow the store until cancelled."""
        self.values.clear()
        async with self._store.watch(COLLECTION, prefix=self._prefix) as changes:
            async for change in changes:
                if change.kind == "lost":
                    self.values.clear()
                elif change.kind == "ready":
                    for key in await self._answer(self._list):
                        await self._read(key)
                else:
                    await self._read(change.key)

    async def _list(self):
        return [key async for key in self._store.keys(COLLECTION, prefix=self._prefix)]

    async def _read(self, key):
        value = await self._answer(lambda: self._store.get(COLLECTION, key))
        if value is None:
            self.values.pop(key, None)
            return
        position = self._setting.engine.position(self._setting.ref(key), value)
        assert position >= self._positions[key], "a copy goes back to an earlier value"
        self.values[key], self._positions[key] = value, position

    async def _answer(self, ask):
        while True:
            with suppress(StoreError):
                return await ask()
            await asyncio.sleep(0.1)


async def watchers(world):
    """Whoever watches hears of each change or of a gap; a copy that is kept so equals the store; nothing is left."""
    shape = world.random("watchers")
    setting = Followed(world, *[COLLECTION, OTHER][: shape.randint(1, 2)])
    if shape.random() < 0.3:
        setting.make_slow()

    async def watch_now_and_then(client, follow, name):
        for _ in client.steps(4, name):
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(client.chance.choice([0.1, 2, 20, 40]) * client.chance.random() ** 2):
                    await follow()
            await client.pause(*PAUSES)

    async def watch(follow):
        while True:
            with suppress(StoreError):
                await follow()
            await asyncio.sleep(0.1)

    async def live(client):
        store = setting.around(client.store)
        if client.chance.random() < 0.3:
            store = RetryWrapper(store)
        elif client.chance.random() < 0.5:
            hot, follow = MemoryStore(clock=client.clock), client.chance.random() < 0.5
            store = TieredStore(hot, store, follow=follow, clock=client.clock)
        sessions, prefix = [], client.chance.choice(["", "a"])
        copies = [Copy(setting, client, store, prefix) for _ in range(2)]

        async def listen():
            collection = client.chance.choice([COLLECTION, OTHER])
            async with store.watch(collection, prefix=prefix) as changes:
                sessions.append(session := Session(collection, prefix))
                try:
                    async for change in changes:
                        session.told.append((setting.now, change))
                finally:
                    session.ended = setting.now

        lasting = [asyncio.ensure_future(watch(each)) for each in (copies[0].follow, listen)]
        await asyncio.gather(
            watch_now_and_then(client, copies[1].follow, "c"),
            watch_now_and_then(client, listen, "l"),
            setting.change(client, store, "d"),
        )
        await setting.calm()
        await store.put(COLLECTION, OWN, client.name)
        for _ in range(20):
            await asyncio.sleep(SLACK)
            expected = {key: value for key, value in setting.stored().items() if key.startswith(prefix)}
            if copies[0].values == expected:
                break
        assert copies[0].values == expected, "a copy is not as the store"
        for task in lasting:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for session in sessions:
            session.check(setting, setting.bound * (10 if client.was_stopped else 1))
        if isinstance(store, TieredStore):
            await store.aclose()  # ends the watch of its own
        assert not client.store._engine.watching._feeds, "a feed is left"
        assert all(each.process is not client.process for each in setting.engine.subscriptions), "one is still told"

    await setting.work(live, live, live)


async def near_caches(world):
    """A near cache gives nothing that was replaced before its bound or by its own process, and nothing expired."""
    setting = Followed(world, COLLECTION, late=False)
    shape = world.random("near")
    kinds = shape.choices(["near", "memory", "slow", "remote"], k=2)
    write = shape.choice(["through", "around"])

    def cached(client):
        kind, cold, clock = kinds[int(client.name[1:])], setting.around(client.store), client.clock
        if kind == "near":
            return NearCacheWrapper(cold, hot_ttl=2.0, clock=clock)
        hot = MemoryStore(clock=clock)
        if kind == "slow":
            hot = SlowWrapper(hot, lambda: client.pause(*PAUSES))
        elif kind == "remote":
            hot = RetryWrapper(SimulatedStore(client.process, SimulatedEngine(world, f"hot of {client.name}")))
        return TieredStore(hot, cold, write=write, follow=True, clock=clock)

    async def reads(client):
        store, own = cached(client), defaultdict(float)
        bound, is_calm = setting.bound, False

        def note(keys, since):
            for key in keys:
                own[key] = max(own[key], since)

        async def read(kind):
            begun, least = setting.now, dict(own)
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(client.chance.choice(LIMITS)):
                    if kind == "get_many":
                        found = await store.get_many(COLLECTION, KEYS)
                        found = {key: found.get(key) for key in KEYS}
                    else:
                        key = client.chance.choice(KEYS)
                        found = {key: await store.get(COLLECTION, key)}
                within = NEVER if client.was_stopped and not is_calm else bound
                for key, value in found.items():
                    earliest = max(begun - within, least.get(key, 0.0))
                    assert setting.engine.could_be_read(setting.ref(key), value, begun, setting.now, earliest), (
                        f"{key} is read as it may not be any more: {value}"
                    )

        async def is_used_again():
            own = f"own of {client.name}"
            await asyncio.sleep(SETTLED)
            await store.put(COLLECTION, own, 1)
            for _ in range(3):
                await asyncio.sleep(5)
                assert await store.get(COLLECTION, own) == 1
            hits = store.snapshot().hot.hits
            assert await store.get(COLLECTION, own) == 1
            return store.snapshot().hot.hits > hits

        async def some(name):
            for _ in client.steps(8, name):
                await read(client.chance.choice(["get", "get_many"]))
                await client.pause(0, 0.001, *PAUSES, 3.0)

        async with store:
            await asyncio.gather(some("a"), some("b"), setting.change(client, store, "c", note))
            await setting.calm()
            await asyncio.sleep(SETTLED)
            bound, is_calm = SLACK, True
            await asyncio.gather(some("d"), setting.change(client, store, "e", note))
            assert kinds[int(client.name[1:])] == "near" or await is_used_again(), "hot is not used any more"

    async def changes(client):
        store = setting.around(client.store)
        await setting.change(client, store, "a")
        await setting.change(client, store, "b")
        await setting.calm()
        await asyncio.sleep(SETTLED)
        await setting.change(client, store, "c")

    await setting.work(reads, reads, changes)


SCENARIOS = (watchers, near_caches)
