"""Scenarios of caches: what is invalidated, deleted or overwritten is never served again."""

import asyncio
from contextlib import suppress
from typing import Any

from satchel import MemoryStore, SatchelError, Tags, cached
from satchel.testing.simulation import Recorder, SimulatedEngine, SimulatedStore
from satchel.wrappers import BaseWrapper, RetryWrapper, SingleFlightWrapper, TieredStore
from tests.simulation.setting import Setting

PAUSES = (0, 0, 0.05, 0.2, 1.0)
LARGE = "x" * 70_000
"""What is so large that a thread encodes it."""


class Truth:
    """What results are made from: a number that grows, and the least one that may still be served.

    Attributes:
        number: What a function sees that looks now.
        floor: Who asks from now on must not get less.
    """

    def __init__(self):
        self.number = self.floor = 0

    async def change(self, client, tell):
        """Change it and tell the caches; once they have acknowledged that, nothing older may be served."""
        self.number += 1
        number = self.number
        await client.pause(*PAUSES)
        with suppress(SatchelError):
            await tell()
            self.floor = max(self.floor, number)

    async def read(self, ask):
        """Ask a cache, and check that it serves nothing too old."""
        floor = self.floor
        with suppress(SatchelError):
            assert await ask() >= floor, "something is served that was invalidated"

    async def look(self, client):
        """Work as a function does whose result is kept."""
        seen = self.number
        await client.pause(*PAUSES)
        return seen


async def tags(world):
    """No result is served whose tag was invalidated after what it was made from had changed."""
    setting, truth = Setting(world), Truth()

    async def reads(client):
        @cached(client.store, "profiles", ttl=1000, key=lambda: "k", tags=lambda: ["user", "all"], model=Any)
        async def profile():
            return await truth.look(client)

        async def some(name):
            for _ in client.steps(4, name):
                await truth.read(profile)
                await client.pause(*PAUSES)

        await asyncio.gather(some("a"), some("b"))

    async def changes(client):
        tags = Tags(client.store)
        for _ in client.steps(5):
            await truth.change(client, lambda: tags.invalidate(client.chance.choice(["user", "all"])))
            await client.pause(*PAUSES)

    await setting.work(reads, reads, changes)
    await setting.calm()
    async with setting.quiet() as quiet:
        truth.floor = truth.number = truth.number + 1
        await Tags(quiet.store).invalidate("user", "all")
        await reads(quiet)


async def flights(world):
    """Of the callers that miss a key one makes the value, and none gets one that was begun before a delete."""
    setting, truth = Setting(world, late=False), Truth()

    async def live(client):
        inner = client.store if client.chance.random() < 0.5 else RetryWrapper(client.store)
        store, deletes, running = SingleFlightWrapper(inner), 0, 0

        async def make():
            nonlocal running
            running += 1
            assert running == 1 or deletes, "a value is made twice at once"
            try:
                return [await truth.look(client), client.chance.choice(["", LARGE])]
            finally:
                running -= 1

        async def ask():
            return (await store.get_or_put("profiles", "k", make, ttl=1000))[0]

        async def delete():
            nonlocal deletes
            deletes += 1
            await store.delete("profiles", "k")

        async def reads(name):
            for _ in client.steps(5, name):
                with suppress(TimeoutError):
                    async with asyncio.timeout(client.chance.choice([0.1, 1, 10, None])):
                        await truth.read(ask)
                await client.pause(*PAUSES)

        async def changes(name):
            for _ in client.steps(4, name):
                await truth.change(client, delete)
                await client.pause(*PAUSES)

        await asyncio.gather(reads("a"), reads("b"), reads("c"), changes("d"), changes("e"))
        await store.aclose()

    await setting.work(live)
    await setting.calm()


TIERED_KINDS = ("get", *["get_many"] * 3, "put", "put", "put_many", "delete", "touch", "compare_and_put")
"""Verbs, most of which ask hot first."""


class SlowWrapper(BaseWrapper):
    """Wrapper that goes on for a while after each call, as one that logs or tells others."""

    def __init__(self, inner, pause):
        super().__init__(inner)
        self._pause = pause

    async def _around(self, operation, function, /, *args, **named):
        answer = await function(*args, **named)
        await self._pause()
        return answer


async def tiers(world):
    """Reads through two tiers are linearizable for each key, whichever way puts go; what expires is not read."""
    setting = Setting(world, skew=0.0, late=False, kinds=("freeze", "restart", "cut_off"))
    shape, hot_engine = world.random("tiers"), SimulatedEngine(world, "hot")
    write, kind = shape.choice(["through", "around", "back"]), shape.choice(["memory", "slow", "slow", "remote"])
    keys, ttls = shape.choice([["a"], ["a", "b"]]), shape.choice([(None,), (None, 0.5, 5.0)])
    recorder = Recorder(world, keys, ttls=ttls)
    count, workers = shape.randint(2, 7), shape.randint(2, 4)

    async def calls(client, store, name):
        for step in client.steps(count, name):
            await client.pause(0, 0.001, 0.01, 0.1)
            chance = client.chance
            kind, key = chance.choice(TIERED_KINDS), chance.choice(keys)
            limit = chance.choice([None, None, None, 0.01])
            options = {"ttl": chance.choice(ttls), "limit": limit, "chance": chance}
            await recorder.call(client.process, store, f"{name}.{step}", kind, [key], **options)

    async def live(client):
        hot = MemoryStore(clock=client.clock)
        if kind == "slow":
            hot = SlowWrapper(hot, lambda: client.pause(*PAUSES))
        elif kind == "remote":
            hot = RetryWrapper(SimulatedStore(client.process, hot_engine))
        async with TieredStore(hot, client.store, write=write, clock=client.clock) as store:
            await asyncio.gather(*(calls(client, store, f"w{number}") for number in range(workers)))
            await setting.calm()
            for key in keys:
                await recorder.call(client.process, store, "look", "get_many", [key])

    await setting.work(live)
    recorder.check()


SCENARIOS = (tags, flights, tiers)
