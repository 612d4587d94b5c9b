"""The mapping view of a collection: what a dict does, over a store."""

import threading
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    BatchError,
    Capability,
    InvalidKeyError,
    KeyMissingError,
    MemoryStore,
    ModelMismatchError,
    UnsupportedOperationError,
)
from satchel.sync import SyncStore
from satchel.testing import FakeClock


@dataclass
class User:
    name: str


@pytest.fixture
def store() -> Iterator[SyncStore]:
    with SyncStore(MemoryStore()) as store:
        yield store


KEYS = st.sampled_from(["a", "b", "ü", "../x"])
VALUES = st.one_of(st.none(), st.integers(-5, 5), st.lists(st.booleans(), max_size=2))
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, VALUES),
    st.tuples(st.just("del"), KEYS),
    st.tuples(st.just("pop"), KEYS),
    st.tuples(st.just("pop with default"), KEYS),
    st.tuples(st.just("popitem")),
    st.tuples(st.just("setdefault"), KEYS, VALUES),
    st.tuples(st.just("update"), st.dictionaries(KEYS, VALUES)),
    st.tuples(st.just("clear")),
)


def take(mapping: MutableMapping[str, Any], step: tuple[Any, ...]) -> object:
    """Do one step, and return what it gives; the class of a KeyError it raises."""
    try:
        match step:
            case "set", key, value:
                mapping[key] = value
            case "del", key:
                del mapping[key]
            case "pop", key:
                return mapping.pop(key)
            case "pop with default", key:
                return mapping.pop(key, None)
            case ("popitem",):
                return bool(mapping) and mapping.popitem() is not None
            case "setdefault", key, value:
                return mapping.setdefault(key, value)
            case "update", items:
                mapping.update(items)
            case ("clear",):
                mapping.clear()
    except KeyError:
        return KeyError
    return None


@given(st.lists(STEPS, max_size=20))
def test_it_does_what_a_dict_does(steps: list[tuple[Any, ...]]) -> None:
    model: dict[str, Any] = {}
    with SyncStore(MemoryStore()) as store:
        view = store.collection("c").as_mapping()
        for step in steps:
            assert take(view, step) == take(model, step)
            if step[0] == "popitem":
                assert len(view) == len(model)
                model = dict(view)  # which one went is open
            assert bool(view) is bool(model)
            assert len(view) == len(model)
            assert view == model
            assert set(view) == set(view.keys()) == set(model)
            assert sorted(view.values(), key=repr) == sorted(model.values(), key=repr)
            assert all(key in view and view[key] == value for key, value in model.items())
            assert all(item in view.items() for item in model.items())


def test_it_holds_the_model_and_the_ttl_of_the_collection() -> None:
    clock = FakeClock()
    with SyncStore(MemoryStore(clock=clock)) as store:
        users = store.collection("users", model=User, ttl=60).as_mapping()
        users["ada"] = User("Ada")
        users.update({"bob": User("Bob")}, cleo=User("Cleo"))
        assert users["ada"] == User("Ada")
        assert users.get("nobody", 3) == 3
        assert store.get("users", "cleo") == {"name": "Cleo"}
        with pytest.raises(ModelMismatchError):
            users["bad"] = "no user"  # type: ignore[assignment]  # the wrong thing on purpose
        store.put("users", "bad", 1)
        with pytest.raises(BatchError):
            dict(users.items())
        clock.advance(61)
        assert set(users) == {"bad"}


def test_an_absent_key_is_a_key_error_that_says_which(store: SyncStore) -> None:
    users = store.collection("users").as_mapping()
    for use in (lambda: users["ada"], lambda: users.__delitem__("ada"), lambda: users.pop("ada")):
        with pytest.raises(KeyMissingError, match="key 'ada' of collection 'users' is absent"):
            use()
    with pytest.raises(KeyMissingError, match="collection 'users' is empty"):
        users.popitem()


def test_setdefault_without_a_default_puts_none_as_a_dict_does(store: SyncStore) -> None:
    view: Any = store.collection("c").as_mapping()
    assert view.setdefault("k") is None
    assert dict(view.items()) == {"k": None}


def test_an_illegal_key_is_refused_in_every_use(store: SyncStore) -> None:
    users: Any = store.collection("users").as_mapping()
    for key in ("", 3, None, "\ud800"):
        for use in (users.__getitem__, users.__contains__, users.__delitem__, users.get, users.pop):
            with pytest.raises(InvalidKeyError):
                use(key)


def test_iterating_copes_with_what_goes_and_comes_meanwhile(store: SyncStore) -> None:
    numbers = store.collection("numbers", model=int).as_mapping()
    numbers.update({str(number): number for number in range(700)})
    seen = {}
    for key, value in numbers.items():
        seen[key] = value
        numbers.pop(str(699 - value), None)
        numbers[f"new {key}"] = value
    assert all(value == int(key.removeprefix("new ")) for key, value in seen.items())
    for key in numbers:
        del numbers[key]
    assert not numbers


def test_each_value_is_popped_by_one_thread_and_set_by_one() -> None:
    with SyncStore(MemoryStore()) as store, ThreadPoolExecutor(8) as pool:
        jobs = store.collection("jobs", model=int).as_mapping()
        jobs.update({str(number): number for number in range(100)})
        barrier = threading.Barrier(8)

        def work(number: int) -> tuple[int, list[int]]:
            barrier.wait()
            first = store.collection("first", model=int).as_mapping().setdefault("k", number)
            taken = []
            with suppress(KeyMissingError):  # there are no more
                while True:
                    taken.append(jobs.popitem()[1])
            return first, taken

        outcomes = [done.result() for done in [pool.submit(work, number) for number in range(8)]]
        assert len({first for first, _ in outcomes}) == 1
        assert sorted(number for _, taken in outcomes for number in taken) == list(range(100))


NEEDS = {
    Capability.ENUMERATE_KEYS: {
        "iter": iter,
        "len": len,
        "bool": bool,
        "items": lambda view: list(view.items()),
        "popitem": lambda view: view.popitem(),
    },
    Capability.CONDITIONAL: {
        "pop": lambda view: view.pop("absent", None),
        "setdefault": lambda view: view.setdefault("k", 2),
    },
    Capability.DESTROY_COLLECTION: {"clear": lambda view: view.clear()},
}


@pytest.mark.parametrize("capability", NEEDS, ids=lambda capability: capability.name)
def test_a_use_that_the_store_cannot_honour_is_refused(capability: Capability) -> None:
    inner = MemoryStore()
    inner._missing = capability
    with SyncStore(inner) as store:
        view: Any = store.collection("c").as_mapping()
        view["k"] = 1
        for name, use in NEEDS[capability].items():
            with pytest.raises(UnsupportedOperationError, match="SyncStore"):
                use(view)
            assert view["k"] == 1, name
        assert "k" in view
        del view["k"]


def test_it_is_falsy_while_it_is_empty_and_shows_no_value(store: SyncStore) -> None:
    view = store.collection("users").as_mapping()
    assert not view
    view["k"] = "hunter2"
    assert view
    assert repr(view) == "SyncCollection(MemoryStore(), 'users').as_mapping()"
    with pytest.raises(TypeError, match="unhashable"):
        hash(view)
