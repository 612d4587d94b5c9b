"""Every promise of a store, asked of tiered ones."""

from functools import partial
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from satchel import MemoryStore
from satchel.testing import StoreMachine, WrapperConformance
from satchel.wrappers import NearCacheWrapper, TieredStore


@pytest.mark.long
class TestWriteThrough(WrapperConformance):
    def wrap(self, inner, clock):
        return TieredStore(MemoryStore(clock=clock), inner, clock=clock)


@pytest.mark.long
class TestWriteAround(WrapperConformance):
    def wrap(self, inner, clock):
        return TieredStore(MemoryStore(clock=clock), inner, write="around", clock=clock)


class TestWriteBack(WrapperConformance):
    changes: ClassVar = {
        "test_the_inner_store_holds_what_the_wrapper_was_given": "cold has it after a flush",
        "test_an_entry_tells_value_times_and_size": "updated_at is when cold got it",
        "test_random_operations_agree_with_a_dict": "updated_at is when cold got it: the test below flushes for it",
    }

    def wrap(self, inner, clock):
        return TieredStore(MemoryStore(clock=clock), inner, write="back", clock=clock)


@pytest.mark.night
class TestSmallHotThatForgets(WrapperConformance):
    def wrap(self, inner, clock):
        hot = MemoryStore(clock=clock, max_entries_per_collection=2, max_bytes=1000)
        return TieredStore(hot, inner, hot_ttl=1.5, clock=clock)


NEEDS_WATCH: dict[str, str] = {
    "test_capabilities_that_the_inner_store_lacks_are_lacking": "without WATCH it is refused when it is made",
}


@pytest.mark.long
class TestNearCache(WrapperConformance):
    changes: ClassVar = NEEDS_WATCH

    def wrap(self, inner, clock):
        return NearCacheWrapper(inner, clock=clock)


@pytest.mark.long
class TestFollowedWriteBack(WrapperConformance):
    changes: ClassVar = TestWriteBack.changes | NEEDS_WATCH

    def wrap(self, inner, clock):
        return TieredStore(MemoryStore(clock=clock), inner, write="back", follow=True, clock=clock)


def test_random_operations_written_back_agree_with_a_dict(tmp_path):
    def make(clock, place):
        hot = MemoryStore(clock=clock, max_entries_per_collection=2)
        return TieredStore(hot, MemoryStore(clock=clock), write="back", clock=clock)

    class Machine(StoreMachine):
        @rule(seconds=st.sampled_from([0.137, 1.311, 31.713, 1999.317]))
        def let_time_pass(self, seconds):
            self._run(self.store.flush())
            self.clock.advance(seconds)

    run_state_machine_as_test(
        partial(Machine, make, tmp_path),
        settings=settings(
            max_examples=max(10, settings().max_examples // 2),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
