"""Faults are put into satchel on purpose, and each is found by a few of the simulated runs.

Those that are marked as faults of the past are as they once were in satchel.
"""

import asyncio

import pytest

from satchel._single_flight import SingleFlight
from satchel.backend import engine
from satchel.backend.coalescer import Coalescer, Operation
from satchel.backend.engine import Engine
from satchel.backend.lifecycle import Lifecycle
from satchel.backend.watching import Feed, Watcher
from satchel.blobs.uploads import NEW, BlobChange
from satchel.content import store as content_store
from satchel.coordination import semaphore
from satchel.coordination.claim import Claim, Claims, HeldClaim
from satchel.coordination.queue.window import Window
from satchel.sessions import web
from satchel.stores.disk.cache import RecordCache
from satchel.stores.disk.commits import ForeignCommits
from satchel.testing.simulation import run
from satchel.testing.simulation.scenarios import bulk
from satchel.wrappers import retry
from satchel.wrappers.tiered.follow import Follower
from satchel.wrappers.tiered.hot import HotTier
from satchel.wrappers.tiered.pending import ALL, KeyState
from tests.content.test_content_schedules import TrustingFreshener
from tests.simulation import caching, coordination, disk, following, models, records

FAULTS = {}
MOST_SEEDS = 600
"""Number of seeds that are tried when the known one shows a fault no more, as after a change of a scenario."""


def fault(scenario, seed):
    """Declare what puts a fault into satchel, and the seed of a run that finds it."""

    def declare(put_in):
        FAULTS[put_in.__name__] = (put_in, scenario, seed)
        return put_in

    return declare


@fault(bulk, 28)
def a_key_is_written_while_it_is_being_written(patch):
    start = Coalescer._start

    def careless(self, batch):
        start(self, batch)
        self._busy.difference_update(batch.refs())

    patch.setattr(Coalescer, "_start", careless)


@fault(bulk, 0)
def a_store_is_opened_by_each_of_its_first_callers(patch):
    async def careless(self):
        failure = await self._open_here()
        if failure is not None:
            raise failure.again() from failure

    patch.setattr(Lifecycle, "open", careless)


@fault(bulk, 4)
def a_conditional_write_without_an_answer_is_sent_again(patch):
    send = engine.send

    async def careless(store, requests):
        outcomes = await send(store, requests)
        if requests[0].operation is Operation.PUT_IF and any(isinstance(outcome, Exception) for outcome in outcomes):
            return await send(store, requests)
        return outcomes

    patch.setattr(engine, "send", careless)


@fault(records.expiry, 0)
def an_expired_entry_is_given_in_a_batch(patch):
    patch.setattr(Engine, "_is_live", lambda self, record: True)


@fault(caching.tiers, 288)
def a_value_that_was_read_before_a_change_is_put_into_hot_after_it(patch):
    promote = HotTier.promote

    async def careless(self, ref, state, entry):
        return await promote(self, ref, KeyState(), entry)

    patch.setattr(HotTier, "promote", careless)


@fault(coordination.locks, 0)
def a_lock_lapses_by_the_time_of_day(patch):
    """Fault of the past: a host whose clock is ahead took a lock that was still held."""

    def careless(self, key, standing, owner):
        if standing is None or (claim := standing.claim) is None or claim.released or claim.owner == owner:
            return True
        return claim.until <= self.clock()

    patch.setattr(Claims, "is_free", careless)


@fault(coordination.locks, 5)
def a_lock_is_taken_although_the_answer_came_after_its_lease(patch):
    """Fault of the past: nobody looked at the time when the answer came."""

    async def careless(self, key, standing, owner):
        sent, now = asyncio.get_running_loop().time(), self.clock()
        last = None if standing is None else standing.claim
        claim = Claim(int(now * 1e6) if last is None else last.token + 1, owner, self.seconds, now + self.seconds)
        store, names = self.store, (self.collection, key, claim.value())
        if standing is None:
            version = await store.put_if_absent(*names, ttl=self._in_use)
        else:
            version = await store.compare_and_put(*names, version=standing.version, ttl=self._in_use)
        self._observations.forget(key)
        return None if version is None else HeldClaim(self, key, claim, version, sent)

    patch.setattr(Claims, "_take", careless)


@fault(coordination.semaphores, 0)
def a_semaphore_ends_by_the_clock_of_a_host_that_is_ahead(patch):
    """Fault of the past, found by these runs: its entry was kept for ten leases only."""
    patch.setattr(semaphore, "CLOCKS_APART", 9 * coordination.LEASE)


@fault(coordination.queues, 6)
def a_job_that_is_renewed_is_taken_by_another_worker(patch):
    def careless(self, number, item, version):
        if item.state == "ready":
            return item.not_before <= self._clock() and bool(version)
        return item.state in ("taken", "dying") and self._observations.elapsed(str(number), "") >= item.lease

    patch.setattr(Window, "_may_be_taken", careless)


@fault(models.large_blobs, 57)
def an_intent_goes_before_what_it_replaces_is_listed(patch):
    async def careless(self, retired):
        await self._places.store.delete(self._places.uploads, NEW + self.id)
        return None if retired is None else await self._places.retire(self._key, retired)

    patch.setattr(BlobChange, "end", careless)


@fault(models.recorded_content, 33)
def a_part_that_is_there_is_taken_as_a_sign_that_its_own_parts_are(patch):
    patch.setattr(content_store, "Freshener", TrustingFreshener)


@fault(models.web_sessions, 2)
def each_request_that_rotates_a_session_makes_an_id_of_its_own(patch):
    patch.setattr(web, "successor", lambda present, nonce: web.new_id())


@fault(caching.flights, 80)
def a_second_delete_does_not_wait_for_a_result_that_is_being_put(patch):
    """Fault of the past: a result that an earlier delete had dropped was not found by a later one."""

    async def careless(self, collection=None, keys=None):
        for flight in list(self._under_way.get(asyncio.get_running_loop(), {}).values()):
            if collection in (None, flight.ref[0]) and (keys is None or flight.ref[1] in keys):
                self._drop(flight)
                if flight.keeping:
                    await asyncio.wait([flight.task])

    patch.setattr(SingleFlight, "forget", careless)


@fault(following.watchers, 1)
def a_gap_is_not_announced(patch):
    patch.setattr(Watcher, "down", lambda self: None)


@fault(following.watchers, 3)
def a_collection_is_taken_for_heard_because_another_is(patch):
    ready = Feed.ready
    patch.setattr(Feed, "ready", lambda self, collection=None: ready(self))


@fault(following.watchers, 1)
def a_key_that_changes_again_is_not_reported_again(patch):
    changed = Watcher.changed

    def careless(self, key):
        seen = self.__dict__.setdefault("seen", set())
        if key not in seen:
            seen.add(key)
            changed(self, key)

    patch.setattr(Watcher, "changed", careless)


@fault(following.near_caches, 61)
def a_value_that_was_read_before_a_report_is_put_into_hot_after_it(patch):
    patch.setattr(HotTier, "overtake", lambda self, ref: [ref])


@fault(following.near_caches, 24)
def what_hot_held_before_a_gap_is_read_after_it(patch):
    def careless(self, collection):
        change = self._held.pop(collection, None)
        if change is not None:
            self._hot.states.finish([change])
            self._hot.states.drop((collection, ALL), change.state)

    patch.setattr(Follower, "_use", careless)


@fault(following.near_caches, 381)
def a_second_attempt_gives_the_whole_ttl_again(patch):
    """Fault of the past, found by these runs: hot kept an entry longer than cold."""
    patch.setattr(retry, "_with_rest", lambda function, gone, *args, **named: function(*args, **named))


@fault(disk.disks, 80)
def what_another_process_committed_is_not_noticed(patch):
    patch.setattr(ForeignCommits, "none_since", lambda self: True)


@fault(disk.disks, 118)
def what_was_read_beside_a_write_is_remembered_after_it(patch):
    def careless(self):
        if self._writing is None or self._foreign is None:
            return None
        if not self._foreign.began:
            self._is_current()
        return self._changes

    patch.setattr(RecordCache, "begin_read", careless)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_a_run_that_passes_without_it(name):
    put_in, scenario, known = FAULTS[name]
    with pytest.MonkeyPatch.context() as patch:
        put_in(patch)
        found = next(seed for seed in (known, *range(MOST_SEEDS)) if run(scenario, seed).error is not None)
    assert run(scenario, found).error is None
