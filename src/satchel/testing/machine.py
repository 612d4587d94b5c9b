"""`StoreMachine`: random operations on a store, each answer compared with a dict's."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from ..capability import Capability
from ..protocol import AsyncKeyValue
from .clock import FakeClock
from .conformance.cases import ACCEPTED_VALUES, identical
from .conformance.suite import close_if_open, listed, new_clock, new_place
from .model import DictModel

MakeStore = Callable[[FakeClock, Path], AsyncKeyValue]

_EXAMPLES, _STEPS = 40, 30
_COLLECTIONS = ("a", "A", "a::b")
_KEYS = ("k", "K", "b::k", "a_", "axb", "*", "../a/k", "%", "\u00e9", "e\u0301", "\x00", "k" * 300)

_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_hostile_values = [value for theme, values in ACCEPTED_VALUES.items() if "nesting" not in theme for value in values]
_values = _json | st.binary(max_size=50) | st.sampled_from(_hostile_values)
_PREFIXES = ("", "a_", "k", "a", "%", "*")
# One name comes often, so that a sequence comes back to it.
_collections = st.just("a") | st.sampled_from(_COLLECTIONS)
_keys = st.just("k") | st.sampled_from(_KEYS)
_key_lists = st.lists(_keys, max_size=5)
# No sum of the steps is a ttl: at its very deadline a backend's rounding could decide.
_ttls = st.none() | st.sampled_from([0.2, 2, 5.0, 60, 3600.0])
_steps = st.sampled_from([0.137, 1.311, 31.713, 1999.317])


class StoreMachine(RuleBasedStateMachine):
    """State machine of random operations on a new store, on an event loop of its own.

    Args:
        make_store: Makes a store of a clock and a place, as `StoreConformance.make_store` does.
        place: Where the store may write.
        persistent: The store finds its data again when reopened over the same place.
        holds: The store keeps what it is given.
    """

    def __init__(self, make_store: MakeStore, place: Path, *, persistent: bool = False, holds: bool = True) -> None:
        super().__init__()
        self._make_store = make_store
        self._place = place
        self._persistent = persistent
        self._holds = holds
        self._runner = asyncio.Runner()
        self.clock = new_clock()
        self.model = DictModel(self.clock, holds=holds)
        self.versions: list[str] = ["", "0" * 32]
        self.store: Any = make_store(self.clock, place)

    def teardown(self) -> None:
        self._run(close_if_open(self.store))
        self._runner.close()

    def has(self, capability: Capability) -> bool:
        """Return whether the store has a capability."""
        return capability in self.store.capabilities

    @rule(collection=_collections, key=_keys, value=_values, ttl=_ttls)
    def put(self, collection: str, key: str, value: Any, ttl: float | None) -> None:
        assert self._run(self.store.put(collection, key, value, ttl=ttl)) is None
        self.model.put(collection, key, value, ttl)
        self.get(collection, key)

    @rule(collection=_collections, items=st.dictionaries(_keys, _values, max_size=5), ttl=_ttls)
    def put_many(self, collection: str, items: dict[str, Any], ttl: float | None) -> None:
        assert self._run(self.store.put_many(collection, items, ttl=ttl)) is None
        for key, value in items.items():
            self.model.put(collection, key, value, ttl)

    @rule(collection=_collections, key=_keys)
    def get(self, collection: str, key: str) -> None:
        default = object()
        found = self._run(self.store.get(collection, key, default))
        held = self.model.find(collection, key)
        assert found is default if held is None else identical(found, held.value)
        assert self._run(self.store.exists(collection, key)) is (held is not None)

    @rule(collection=_collections, keys=_key_lists)
    def get_many(self, collection: str, keys: list[str]) -> None:
        assert identical(self._run(self.store.get_many(collection, keys)), self.model.values(collection, keys))

    @rule(collection=_collections, keys=_key_lists)
    def get_entries(self, collection: str, keys: list[str]) -> None:
        entries = self._run(self.store.get_entries(collection, keys))
        assert list(entries) == list(self.model.values(collection, keys))
        for key, entry in entries.items():
            self._compare_entry(collection, key, entry)

    @rule(collection=_collections, key=_keys)
    def get_entry(self, collection: str, key: str) -> None:
        self._compare_entry(collection, key, self._run(self.store.get_entry(collection, key)))

    @rule(collection=_collections, key=_keys)
    def delete(self, collection: str, key: str) -> None:
        assert self._run(self.store.delete(collection, key)) is self.model.delete(collection, key)

    @rule(collection=_collections, keys=_key_lists)
    def delete_many(self, collection: str, keys: list[str]) -> None:
        deleted = self._run(self.store.delete_many(collection, keys))
        assert deleted == sum([self.model.delete(collection, key) for key in keys])

    @precondition(lambda self: self.has(Capability.CONDITIONAL))
    @rule(collection=_collections, key=_keys, value=_values, ttl=_ttls)
    def put_if_absent(self, collection: str, key: str, value: Any, ttl: float | None) -> None:
        version = self._run(self.store.put_if_absent(collection, key, value, ttl=ttl))
        assert (version is not None) is (self.model.find(collection, key) is None)
        if version is not None:
            self._learn(version)
            self.model.put(collection, key, value, ttl, version)

    @precondition(lambda self: self.has(Capability.CONDITIONAL))
    @rule(collection=_collections, key=_keys, value=_values, ttl=_ttls, data=st.data(), current=st.booleans())
    def compare_and_put(
        self, collection: str, key: str, value: Any, ttl: float | None, data: st.DataObject, *, current: bool
    ) -> None:
        expected = self._version(collection, key, data, current=current)
        held = self.model.find(collection, key)
        version = self._run(self.store.compare_and_put(collection, key, value, version=expected, ttl=ttl))
        assert (version is not None) is (held is not None and held.version == expected)
        if version is not None:
            self._learn(version)
            self.model.put(collection, key, value, ttl, version)

    @precondition(lambda self: self.has(Capability.CONDITIONAL))
    @rule(collection=_collections, key=_keys, data=st.data(), current=st.booleans())
    def compare_and_delete(self, collection: str, key: str, data: st.DataObject, *, current: bool) -> None:
        expected = self._version(collection, key, data, current=current)
        held = self.model.find(collection, key)
        done = self._run(self.store.compare_and_delete(collection, key, version=expected))
        assert done is (held is not None and held.version == expected)
        if done:
            self.model.delete(collection, key)

    @precondition(lambda self: self.has(Capability.CONDITIONAL))
    @rule(collection=_collections, key=_keys, ttl=_ttls)
    def touch(self, collection: str, key: str, ttl: float | None) -> None:
        self.get_entry(collection, key)
        assert self._run(self.store.touch(collection, key, ttl=ttl)) is self.model.touch(collection, key, ttl)
        self.get_entry(collection, key)

    @precondition(lambda self: self.has(Capability.ENUMERATE_KEYS))
    @rule(collection=_collections, limit=st.integers(0, 4))
    def keys(self, collection: str, limit: int) -> None:
        for prefix in _PREFIXES:
            expected = self.model.keys(collection, prefix)
            assert self._run(listed(self.store.keys(collection, prefix=prefix))) == expected
            assert self._run(self.store.count(collection, prefix=prefix)) == len(expected)
        found = self._run(listed(self.store.keys(collection, limit=limit)))
        assert len(set(found)) == len(found) == min(limit, len(self.model.keys(collection)))

    @precondition(lambda self: self.has(Capability.ENUMERATE_COLLECTIONS))
    @rule()
    def collections(self) -> None:
        assert self._run(listed(self.store.collections())) == self.model.collections()

    @precondition(lambda self: self.has(Capability.DESTROY_COLLECTION))
    @rule(collection=_collections)
    def destroy_collection(self, collection: str) -> None:
        assert self._run(self.store.destroy_collection(collection)) is self.model.destroy(collection)

    @precondition(lambda self: self.has(Capability.DESTROY_STORE))
    @rule()
    def destroy(self) -> None:
        assert self._run(self.store.destroy()) is self.model.destroy()

    @precondition(lambda self: self.has(Capability.CULL))
    @rule()
    def cull(self) -> None:
        assert self._run(self.store.cull()) >= 0

    @rule(seconds=_steps)
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self.has(Capability.ENUMERATE_KEYS):
            self.keys("a", limit=1)

    @precondition(lambda self: self._persistent)
    @rule()
    def reopen(self) -> None:
        self._run(self.store.aclose())
        self.store = self._make_store(self.clock, self._place)

    def _run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(call)

    def _compare_entry(self, collection: str, key: str, entry: Any) -> None:
        held = self.model.find(collection, key)
        assert (entry is not None) is (held is not None)
        if entry is None or held is None:
            return
        assert identical(entry.value, held.value)
        assert abs(entry.updated_at.timestamp() - held.updated_at) < 0.01
        assert (entry.ttl is None) is (held.deadline == float("inf"))
        assert entry.ttl is None or abs(entry.ttl - (held.deadline - self.clock())) < 0.01
        if held.version is None:
            self._learn(entry.version)
            held.version = entry.version
        assert entry.version == held.version, "the version changed without a write"

    def _learn(self, version: str) -> None:
        assert version not in self.versions, "two writes have one version"
        self.versions.append(version)

    def _version(self, collection: str, key: str, data: st.DataObject, *, current: bool) -> str:
        """Return the version to expect: the current one, or any seen so far."""
        self.get_entry(collection, key)
        held = self.model.find(collection, key)
        if current and held is not None and held.version is not None:
            return held.version
        return data.draw(st.sampled_from(self.versions), label="version")


def check_random_operations(
    make_store: MakeStore,
    parent: Path,
    *,
    persistent: bool = False,
    holds: bool = True,
    chosen: settings | None = None,
) -> None:
    """Run the machine with many random sequences of operations, each on a new store in a place of its own.

    Args:
        make_store: Makes a store of a clock and a place.
        parent: The directory for the places, which are removed afterwards.
        persistent: The store finds its data again when reopened over the same place.
        holds: The store keeps what it is given.
        chosen: Number of sequences and steps; those of the loaded Hypothesis profile, or 40 of 30 by default.
    """
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as directory:

        def machine() -> StoreMachine:
            return StoreMachine(make_store, new_place(Path(directory)), persistent=persistent, holds=holds)

        run_state_machine_as_test(cast("type[StoreMachine]", machine), settings=chosen or _settings())


def _settings() -> settings:
    loaded = settings()
    untouched = loaded.max_examples == settings.get_profile("default").max_examples
    return settings(
        loaded,
        max_examples=_EXAMPLES if untouched else loaded.max_examples,
        stateful_step_count=_STEPS if untouched else loaded.stateful_step_count,
        deadline=None,
        report_multiple_bugs=False,  # one mistake breaks many answers, and shrinking each of them takes minutes
        phases=[phase for phase in loaded.phases if phase is not Phase.explain],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
