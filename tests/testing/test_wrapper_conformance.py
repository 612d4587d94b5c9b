"""The wrapper suite, run on the plainest wrapper, and what it says of wrong declarations."""

import pytest

from satchel import ConfigurationError
from satchel.testing import WrapperConformance
from satchel.wrappers import BaseWrapper


@pytest.mark.long
class TestPlainWrapper(WrapperConformance):
    def wrap(self, inner, clock):
        return BaseWrapper(inner)


@pytest.mark.long
class TestWrapperWithoutCapabilities(WrapperConformance):
    def wrap(self, inner, clock):
        return BaseWrapper(inner, drops=inner.capabilities)


class HourWrapper(BaseWrapper):
    def _ttl(self, ttl):
        return 3600 if ttl is None else ttl


class TestWrapperThatChangesTheTTL(WrapperConformance):
    changes = {  # noqa: RUF012  # read once, by the suite
        "test_without_ttl_an_entry_stays": "an hour is the default",
        "test_an_entry_without_ttl_has_no_deadline": "an hour is the default",
        "test_touch_keeps_version_value_and_updated_at": "an hour is the default, for touch as well",
        "test_random_operations_agree_with_a_dict": "an hour is the default",
    }

    def wrap(self, inner, clock):
        return HourWrapper(inner)


def test_a_change_of_no_known_test_is_an_error():
    with pytest.raises(ConfigurationError, match="test_x"):
        type("TestWrong", (WrapperConformance,), {"changes": {"test_x": "why"}})


def test_a_change_without_a_reason_is_an_error():
    with pytest.raises(ConfigurationError, match="why"):
        type("TestWrong", (WrapperConformance,), {"changes": {"test_ping_answers": ""}})


def test_a_changed_test_is_left_out_and_no_other():
    changed = type("TestRight", (WrapperConformance,), {"changes": {"test_ping_answers": "there is nothing to ping"}})
    assert changed.test_ping_answers is None
    assert WrapperConformance.test_ping_answers is not None
    assert callable(changed.test_a_store_is_never_falsy)
