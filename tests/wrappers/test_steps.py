import pytest

from satchel import MemoryStore, StoreUnavailableError, UnsupportedOperationError
from satchel.wrappers import MISSING, BaseWrapper
from satchel.wrappers.call import Steps
from tests.wrappers.doubles import OneWay
from tests.wrappers.failing import Listing, collect


class Stepping(BaseWrapper):
    """Remembers the steps of its listings."""

    _around_steps = True

    def __init__(self, inner):
        self.seen = []
        super().__init__(inner)

    async def _around(self, operation, function, /, *args, **named):
        outcome = await function(*args, **named)
        self.seen.append((operation, args[0] if args else named.get("collection"), outcome))
        return outcome


async def test_each_step_of_a_listing_goes_around():
    store = Stepping(Listing("ab", fail_at=[]))
    found = []
    await collect(found, store.keys("c", prefix=""))
    await collect(found, store.keys(collection="d", limit=1))
    await collect(found, store.collections())
    assert found == ["a", "b", "a", "a", "b"]
    assert store.seen == [
        *[("keys", "c", name) for name in ("a", "b", MISSING)],
        *[("keys", "d", name) for name in ("a", MISSING)],
        *[("collections", None, name) for name in ("a", "b", MISSING)],
    ]


def test_what_is_wrong_is_refused_at_the_call():
    store = Stepping(MemoryStore())
    with pytest.raises(ValueError, match="limit"):
        store.keys("c", limit=-1)
    with pytest.raises(UnsupportedOperationError):
        Stepping(OneWay(MemoryStore())).keys("c")


async def test_a_step_that_failed_before_the_first_name_begins_anew():
    inner = Listing("ab", fail_at=[0, 0])
    step = Steps(lambda: inner.keys("c"))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await step()
    assert not step.begun
    assert [await step() for _ in range(3)] == ["a", "b", MISSING]
    assert step.begun


async def test_a_later_step_that_failed_fails_again_and_is_no_end():
    inner = Listing("abc", fail_at=[1])
    step = Steps(lambda: inner.keys("c"))
    assert await step() == "a"
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await step()
