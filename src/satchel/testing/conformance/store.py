"""`StoreConformance`: every guarantee of a store as a test, for subclasses to inherit."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from ..machine import check_random_operations
from .arguments import ArgumentPromises
from .concurrency import ConcurrencyPromises
from .conditional import ConditionalPromises
from .entries import EntryPromises
from .expiry import ExpiryPromises
from .lifecycle import LifecyclePromises
from .listing import ListingPromises
from .names import NamePromises
from .verbs import VerbPromises


class ContractConformance(ArgumentPromises, LifecyclePromises):
    """Conformance suite for a store that keeps nothing: arguments, lifecycle, refusals.

    A subclass implements `make_store`. Use `StoreConformance` for any store that keeps values.
    """

    stores_values: ClassVar[bool] = False

    def test_random_operations_agree_with_a_dict(self, tmp_path: Path) -> None:
        check_random_operations(self.make_store, tmp_path, persistent=self.persistent, stores_values=self.stores_values)


class StoreConformance(
    ContractConformance,
    VerbPromises,
    NamePromises,
    ExpiryPromises,
    EntryPromises,
    ConditionalPromises,
    ListingPromises,
    ConcurrencyPromises,
):
    """Conformance suite for all guarantees of a store.

    ```python
    class TestMyStore(StoreConformance):
        persistent = True

        def make_store(self, clock, place):
            return MyStore(place, clock=clock)
    ```

    If the store lacks a capability, the tests expect it to refuse the methods; no test is skipped.
    """

    stores_values: ClassVar[bool] = True
