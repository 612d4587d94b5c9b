"""Leaders: one at a time, and the next one when it leaves or dies."""

import asyncio

import pytest

from satchel import LockLostError, MemoryStore, UnsupportedOperationError
from satchel.coordination import Leader
from satchel.testing import FlakyStore
from satchel.wrappers import ReadOnlyWrapper
from tests.coordination.test_counter import Another
from tests.coordination.virtual import run, wall_clock


async def test_one_leads_and_the_next_follows_with_a_higher_token(store):
    one, other, led = Leader(store, "cron"), Leader(Another(store), "cron"), []

    async def lead(leader):
        async with leader.term() as term:
            led.append(term.fencing_token)
            assert (one.leading, other.leading) == (leader is one, leader is other)
            await asyncio.sleep(0.01)
            assert not term.lost
        assert term.lost

    async with asyncio.timeout(50):
        await asyncio.gather(*[lead(leader) for leader in (one, other, one, other)])
    assert led == sorted(set(led))
    assert (one.leading, other.leading) == (False, False)


def test_the_next_one_leads_when_the_leader_died():
    async def scenario():
        store = MemoryStore(clock=wall_clock)
        dead, next_one = Leader(Another(store), "cron", ttl=15), Leader(Another(store), "cron", ttl=15)
        terms, begun = [], wall_clock()

        async def die():
            async with dead.term() as term:
                terms.append(term)
                dead._lock._claim.lease.stop()  # a process that died renews nothing
                await asyncio.sleep(1000)

        dying = asyncio.create_task(die())
        await asyncio.sleep(0.001)
        async with next_one.term() as later:
            assert later.fencing_token == terms[0].fencing_token + 1
            assert terms[0].lost
            assert 15 <= wall_clock() - begun <= 16
        with pytest.raises(LockLostError):
            await dying

    run(scenario())


def test_a_leader_that_cannot_renew_its_term_is_cancelled_and_campaigns_again():
    async def scenario():
        store = FlakyStore(clock=wall_clock)
        leader, terms = Leader(store, "cron", ttl=15), []

        async def lead():
            async with leader.term() as term:
                terms.append(term)
                store.fail_next(1000)
                await asyncio.sleep(1000)

        with pytest.raises(LockLostError):
            await lead()
        assert terms[0].lost
        store._failures.clear()
        async with leader.term() as term:
            assert not term.lost
            assert terms[0].lost

    run(scenario())


def test_what_is_shown_of_a_leader(store):
    assert repr(Leader(store, "cron")) == "Leader(MemoryStore(), 'cron', ttl=15, collection='leaders')"
    with pytest.raises(UnsupportedOperationError):
        Leader(ReadOnlyWrapper(MemoryStore()), "cron")
