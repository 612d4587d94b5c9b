"""Random operations on random stacks of wrappers agree with a dict."""

from functools import partial

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test

from satchel import MemoryStore
from satchel.testing import StoreMachine
from satchel.wrappers import SanitizationWrapper, StatisticsWrapper, TTLWrapper
from satchel.wrappers.sanitization import PRESETS
from tests.wrappers.doubles import (
    Around,
    Framed,
    Nothing,
    OneWay,
    PrefixCollections,
    PrefixKeys,
    ReadsEntries,
    Reversed,
)

LAYERS = {
    "nothing": Nothing,
    "around": Around,
    "prefix keys": PrefixKeys,
    "other prefix of keys": partial(PrefixKeys, prefix="a_"),
    "prefix collections": PrefixCollections,
    "reversed": Reversed,
    "one way": OneWay,
    "framed": Framed,
    "ttl": TTLWrapper,
    "sliding reads": partial(ReadsEntries, default=0.000_001, sliding=True),
    "statistics": partial(StatisticsWrapper, max_collections=1),
    "escape": partial(SanitizationWrapper, key_strategy="escape", collection_strategy="escape"),
    "hash": partial(SanitizationWrapper, key_strategy="hash", collection_strategy="hash"),
    "short": partial(SanitizationWrapper, key_strategy="hash-excess-length", max_bytes=80),
    **{preset: partial(SanitizationWrapper, preset=preset) for preset in PRESETS},
}


def test_random_stacks_agree_with_a_dict(tmp_path):
    class StackMachine(StoreMachine):
        def __init__(self):
            super().__init__(lambda clock, place: MemoryStore(clock=clock), tmp_path)

        @initialize(layers=st.lists(st.sampled_from(sorted(LAYERS)), max_size=4))
        def wrap(self, layers):
            for layer in layers:
                self.store = LAYERS[layer](self.store)

    run_state_machine_as_test(
        StackMachine,
        settings=settings(
            max_examples=150, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
