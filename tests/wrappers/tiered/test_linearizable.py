"""Through a tiered store each key's calls take effect one after the other, whatever hot, cold and callers do."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import Capability, SatchelError
from satchel.backend import coalescer as coalesce
from satchel.wrappers import TieredStore
from satchel.wrappers.tiered import hot as tiered_hot
from satchel.wrappers.tiered import queue as tiered_queue
from tests.scripted import BatchStore, Server, SingleStore, turns
from tests.test_linearizable import KEYS, Recorder, steps

MODES = ["through", "around", "back"]


class TieredRecorder(Recorder):
    """Reads values from hot as well as entries from cold."""

    def __init__(self, store, chance):
        self.chance = chance
        super().__init__(store)

    async def _one(self, key, call, version):
        if call.kind == "get" and self.chance.random() < 0.7:
            return {key: await self.store.get("c", key)}
        return await super()._one(key, call, version)


def make(mode, chance, *, trouble):
    def tier(kind):
        made = kind(Server(delay=lambda: chance.choice([0, 0, 1, 3, 8])))
        made.server.loses_answer = lambda: chance.random() < trouble
        return made

    hot, cold = tier(chance.choice([BatchStore, SingleStore])), tier(chance.choice([BatchStore, SingleStore]))
    if chance.random() < 0.5:
        hot._missing = Capability.CONDITIONAL
    return TieredStore(hot, cold, write=mode)


async def disturb(store, chance, ended):
    """Let hot forget, and be filled, at any time."""
    hot = store.inners[0]
    while not ended.is_set():
        await turns(chance.randrange(6))
        try:
            match chance.randrange(4):
                case 0:
                    await hot.delete("c", chance.choice(KEYS))
                case 1:
                    await store.warm("c", KEYS)
                case 2:
                    await store.demote(keep=1)
                case 3:
                    await store.flush()
        except SatchelError:
            await turns(1)  # the tiers lose answers


async def run(mode, workers, seed, *, trouble):
    chance = random.Random(seed)
    store = make(mode, chance, trouble=trouble)
    recorder = TieredRecorder(store, chance)
    ended = asyncio.Event()
    noise = asyncio.create_task(disturb(store, chance, ended))

    async def work(worker):
        for step in worker:
            await recorder.step(*step)

    await asyncio.wait_for(asyncio.gather(*map(work, workers)), 20)
    await turns(50)  # what could still land, lands before the last look
    ended.set()
    await noise
    for key in KEYS * 2:
        while not await recorder.step("get", [key]):
            pass
    for inner in store.inners:
        inner.server.loses_answer = lambda: False
    await store.flush()
    assert not store.snapshot().queued
    for key in KEYS * 2:
        await recorder.step("get", [key])
    await store.aclose()
    return recorder


@pytest.mark.parametrize("mode", MODES)
@given(workers=st.lists(st.lists(steps, max_size=6), min_size=2, max_size=5), seed=st.integers(0, 1 << 32))
def test_any_schedule_is_linearizable(mode, workers, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coalesce, "_FIRST_PAUSE", 0.0)
        patch.setattr(tiered_hot, "_TRY_AGAIN", 0.0)
        patch.setattr(tiered_queue, "_TRY_AGAIN", 0.0)
        asyncio.run(run(mode, workers, seed, trouble=0.05)).check()


@pytest.mark.parametrize("mode", MODES)
@given(workers=st.lists(st.lists(steps, max_size=6), min_size=3, max_size=5), seed=st.integers(0, 1 << 32))
def test_any_schedule_is_linearizable_while_all_goes_well(mode, workers, seed):
    asyncio.run(run(mode, [[step[:2] for step in worker] for worker in workers], seed, trouble=0)).check()
