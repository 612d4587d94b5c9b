"""After a put or a delete has completed nothing gives the old value, step by step."""

import asyncio

import pytest

from satchel import Capability, MemoryStore, StoreUnavailableError
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import TieredStore
from satchel.wrappers.tiered.hot import HotTier
from tests.scripted import BatchStore, held, turns


class AnswersLate(MemoryStore):
    """Reads entries at once, and gives the answer when it is let."""

    def __init__(self):
        super().__init__()
        self.read = asyncio.Event()
        self.gates = []

    async def get_entry(self, collection, key):
        return await self._later(await super().get_entry(collection, key))

    async def get_entries(self, collection, keys):
        return await self._later(await super().get_entries(collection, keys))

    async def _later(self, answer):
        if self.gates:
            gate = self.gates.pop()
            self.read.set()
            await gate.wait()
        return answer


def changes(store):
    return {
        "put": lambda: store.put("c", "k", "new"),
        "put_many": lambda: store.put_many("c", {"k": "new"}),
        "delete": lambda: store.delete("c", "k"),
        "delete_many": lambda: store.delete_many("c", ["k"]),
        "put_if_absent": lambda: store.put_if_absent("c", "k", "new"),
        "destroy_collection": lambda: store.destroy_collection("c"),
        "destroy": lambda: store.destroy(),  # noqa: PLW0108  # there is no store where only the names are wanted
    }


KINDS = [kind for kind in changes(None) if kind != "put_if_absent"]


async def values(store, key="k"):
    entry = await store.get_entry("c", key)
    return [
        await store.get("c", key),
        (await store.get_many("c", [key])).get(key),
        None if entry is None else entry.value,
        key if await store.exists("c", key) else None,
    ]


def expected(kind):
    return ["new"] * 3 + ["k"] if kind.startswith("put") else [None] * 4


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("write", ["through", "around", "back"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_read_of_the_old_value_in_cold_is_not_promoted_after_a_change(kind, write, conditional):
    hot, cold = MemoryStore(), AnswersLate()
    if not conditional:
        hot._missing = Capability.CONDITIONAL
    store = TieredStore(hot, cold, write=write)
    reads = [lambda: store.get("c", "k"), lambda: store.warm("c", ["k"]), lambda: store.get_many("c", ["k", "l"])]
    for read in reads:
        await cold.put("c", "k", "old")
        await hot.delete("c", "k")
        gate = asyncio.Event()
        cold.gates, cold.read = [gate], asyncio.Event()
        reader = asyncio.create_task(read())
        await cold.read.wait()
        await changes(store)[kind]()
        assert await values(store) == expected(kind)
        gate.set()
        assert await reader in ("old", 0, {"k": "old"})
        assert await values(store) == expected(kind)
        assert not store._hot.states


@pytest.mark.parametrize("write", ["through", "around", "back"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_promotion_on_its_way_to_hot_is_undone_by_a_change(kind, write):
    hot, cold = BatchStore(max_inflight=8), MemoryStore()
    store = TieredStore(hot, cold, write=write)
    await cold.put("c", "k", "old")
    reader = asyncio.create_task(store.get("c", "k"))
    while ("put_if", [("c", "k")]) not in hot.server.calls:
        await turns(1)
    gate = held(hot)
    change = asyncio.create_task(changes(store)[kind]())
    await turns(20)
    gate.set()
    await asyncio.gather(change, reader)
    assert await values(store) == expected(kind)
    assert await values(store) == expected(kind)


async def test_of_puts_that_overlap_hot_keeps_none_but_the_last():
    hot, cold = BatchStore(max_inflight=8), MemoryStore()
    store = TieredStore(hot, cold)
    await store.put("c", "k", "before")
    gate = held(hot)
    puts = [asyncio.create_task(store.put("c", "k", number)) for number in range(3)]
    await turns(20)
    assert await store.get("c", "k") == 2
    gate.set()
    await asyncio.gather(*puts)
    assert await store.get("c", "k") == 2
    assert await hot.get("c", "k") in (None, 2)


@pytest.mark.parametrize("kind", [*KINDS, "put_if_absent"])
async def test_an_entry_that_hot_could_not_remove_is_not_read_there_until_it_has_been(kind):
    clock = FakeClock()
    hot, cold = FlakyStore(clock=clock), MemoryStore(clock=clock)
    store = TieredStore(hot, cold, write="around", clock=clock)
    await cold.put("c", "k", "old")
    assert await store.get("c", "k") == "old"
    if kind == "put_if_absent":
        await cold.delete("c", "k")
    failing = {"delete_many": "delete", "put": "delete", "put_many": "delete", "put_if_absent": "delete"}.get(
        kind, kind
    )
    hot.fail_next(2, operation=failing)
    await changes(store)[kind]()
    assert await hot.get("c", "k") == "old"
    wanted = expected(kind)
    assert await values(store) == wanted
    clock.advance(1.1)
    assert await values(store) == wanted  # the second attempt fails
    assert await hot.get("c", "k") == "old"
    clock.advance(1.1)
    assert await values(store) == wanted
    assert await hot.get("c", "k") == wanted[0]
    assert not store._hot.states
    assert store.snapshot().hot.errors == 2


async def test_a_change_that_may_still_land_keeps_the_entry_out_of_hot():
    clock = FakeClock()
    hot, cold = MemoryStore(clock=clock), BatchStore(clock=clock)
    store = TieredStore(hot, cold, clock=clock)
    await store.put("c", "k", "old")
    gate = held(cold)
    lost = asyncio.create_task(store.put("c", "k", "lost"))
    await turns(5)
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    cold.server.gate = None
    assert await store.get("c", "k") == "old"
    gate.set()
    await turns(10)
    assert await values(store) == ["lost"] * 3 + ["k"]
    assert await store.get_many("c", ["k"]) == {"k": "lost"}
    assert await hot.get("c", "k") == "old"
    clock.advance(61)
    assert await values(store) == ["lost"] * 3 + ["k"]
    assert await hot.get("c", "k") == "lost"


async def test_a_later_change_ends_the_uncertainty_of_one_that_failed():
    hot, cold = MemoryStore(), FlakyStore()
    store = TieredStore(hot, cold)
    await store.put("c", "k", "old")
    cold.fail_next(operation="write")
    with pytest.raises(StoreUnavailableError):
        await store.put("c", "k", "lost")
    assert store._hot.states
    await store.put("c", "k", "new")
    assert not store._hot.states
    assert await hot.get("c", "k") == "new"


async def test_a_put_that_is_refused_leaves_hot_as_it_was():
    store = TieredStore(hot := MemoryStore(), MemoryStore())
    await store.put("c", "k", "old")
    with pytest.raises(Exception, match=r"\$"):
        await store.put("c", "k", {"a": (1,)})
    assert not store._hot.states
    assert await hot.get("c", "k") == "old"


async def test_a_put_during_a_destroy_is_there_or_not_but_not_only_in_hot():
    hot, cold = MemoryStore(), BatchStore(max_inflight=8)
    store = TieredStore(hot, cold)
    await store.put("c", "k", "old")
    gate = held(cold)
    put = asyncio.create_task(store.put("c", "k", "new"))
    await turns(3)
    destroy = asyncio.create_task(store.destroy_collection("c"))
    await turns(3)
    gate.set()
    await asyncio.gather(put, destroy)
    seen = await cold.get("c", "k")
    assert await values(store) == [seen] * 3 + ["k" if seen else None]


async def test_two_over_one_hot_never_promote_over_a_newer_value():
    hot, cold = MemoryStore(), AnswersLate()
    one, other = TieredStore(hot, cold), TieredStore(hot, cold)
    await cold.put("c", "k", "old")
    gate = asyncio.Event()
    cold.gates = [gate]
    reader = asyncio.create_task(one.get("c", "k"))
    await cold.read.wait()
    await other.put("c", "k", "new")
    gate.set()
    assert await reader == "old"
    assert await one.get("c", "k") == "new"


async def test_readers_that_were_cancelled_leave_nothing_behind():
    hot, cold = BatchStore(max_inflight=8), MemoryStore()
    store = TieredStore(hot, cold)
    await cold.put_many("c", {"k": 1, "l": 2})
    for after in range(30):
        readers = [asyncio.create_task(read) for read in (store.get_many("c", ["k", "l"]), store.get("c", "k"))]
        await turns(after)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await turns(20)
        assert not store._hot.states
        await hot.destroy()
    assert await store.get_many("c", ["k", "l"]) == {"k": 1, "l": 2}


async def test_a_hit_is_answered_by_hot_while_other_keys_change():
    hot, cold = MemoryStore(), BatchStore()
    store = TieredStore(hot, cold)
    await store.put_many("c", {"k": 1, "l": 2})
    gate = held(cold)
    putting = asyncio.create_task(store.put("c", "l", 3))
    await turns(5)
    assert await store.get("c", "k") == 1
    assert not cold.server.sizes("read")
    gate.set()
    await putting


async def test_what_changes_left_behind_is_cleared_by_later_ones_though_nobody_reads_it():
    clock = FakeClock()
    hot, cold = MemoryStore(clock=clock), FlakyStore(clock=clock)
    store = TieredStore(hot, cold, clock=clock)
    names = [str(number) for number in range(50)]
    await store.put_many("c", dict.fromkeys(names, "old"))
    cold.fail_next(len(names), operation="write")
    for name in names:
        with pytest.raises(StoreUnavailableError):
            await store.put("c", name, "lost")
    assert len(store._hot.states) == len(names)
    await store.put("c", "other", 1)
    assert len(store._hot.states) == len(names)
    clock.advance(61)
    for number in range(len(names)):
        await store.put("c", "other", number)
    assert not store._hot.states
    assert await hot.get_many("c", names) == {}


async def test_a_removal_that_comes_late_leaves_who_reads_meanwhile_to_hear_of_changes():
    clock, ref = FakeClock(), ("c", "k")
    cold, tier = MemoryStore(clock=clock), HotTier(MemoryStore(clock=clock), ttl=None, clock=clock)
    await cold.put(*ref, "old")
    due = tier.overtake(ref)
    assert await tier.trusts(ref)  # a read removes at once what a follower is to remove later
    state = tier.states.watch(ref)
    assert state is not None
    entry = await cold.get_entry(*ref)
    assert entry is not None
    assert await tier.clean(due)
    assert await tier.drop(ref)
    assert not await tier.promote(ref, state, entry)
    assert await tier.find("c", ["k"]) == {}
