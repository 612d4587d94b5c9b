"""Random operations on random stacks of wrappers agree with a dict."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from satchel import MemoryStore
from satchel.testing import StoreMachine
from tests.wrappers.layers import LAYERS, flush

PARTS = 4
"""Of each height, so that each test is short and several processes share them."""
STACKS_AN_EXAMPLE = 7
"""With the three heights and the 100 examples of the default profile: 2,100 stacks."""


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("height", [2, 3, 4])
def test_random_stacks_agree_with_a_dict(height, part, tmp_path):
    class StackMachine(StoreMachine):
        def __init__(self):
            super().__init__(lambda clock, place: MemoryStore(clock=clock), tmp_path)

        @initialize(layers=st.lists(st.sampled_from(list(LAYERS)), min_size=height, max_size=height))
        def wrap(self, layers):
            for layer in layers:
                self.store = LAYERS[layer](self.store)

        @rule(seconds=st.sampled_from([0.137, 1.311, 31.713, 1999.317]))
        def let_time_pass(self, seconds):
            self._run(flush(self.store))
            super().let_time_pass(seconds)

    StackMachine.__name__ += str(part)  # where Hypothesis is made to repeat itself, it goes by the name
    run_state_machine_as_test(
        StackMachine,
        settings=settings(
            max_examples=STACKS_AN_EXAMPLE * settings().max_examples // PARTS,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
