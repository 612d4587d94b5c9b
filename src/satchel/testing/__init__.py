"""Tests for your own stores and wrappers, and doubles for testing code that uses stores.

`FakeClock` and `FlakyStore` need nothing beyond satchel. The conformance suite needs `pip install "satchel[testing]"`
and is imported at its first use.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .._lazy import lazy_exports
from ..errors import MissingExtraError

if TYPE_CHECKING:
    from .clock import FakeClock
    from .conformance import ContractConformance, StoreConformance
    from .conformance.blobs import BlobConformance
    from .conformance.caching import CachingConformance
    from .conformance.calls import CallsConformance
    from .conformance.content import ContentConformance
    from .conformance.coordination import CoordinationConformance
    from .conformance.sessions import SessionConformance
    from .conformance.suite import needs
    from .conformance.watching import WatchConformance
    from .conformance.wrapper import WrapperConformance
    from .flaky import FlakyStore
    from .machine import StoreMachine
    from .model import DictModel

__all__ = [
    "BlobConformance",
    "CachingConformance",
    "CallsConformance",
    "ContentConformance",
    "ContractConformance",
    "CoordinationConformance",
    "DictModel",
    "FakeClock",
    "FlakyStore",
    "SessionConformance",
    "StoreConformance",
    "StoreMachine",
    "WatchConformance",
    "WrapperConformance",
    "needs",
]

_DOUBLES = ("FakeClock", "FlakyStore")
_WITH_ASSERTIONS = ("conformance", "machine")

_load, __dir__ = lazy_exports(
    __name__,
    {
        "BlobConformance": "conformance.blobs",
        "CachingConformance": "conformance.caching",
        "CallsConformance": "conformance.calls",
        "ContentConformance": "conformance.content",
        "ContractConformance": "conformance.store",
        "CoordinationConformance": "conformance.coordination",
        "DictModel": "model",
        "FakeClock": "clock",
        "FlakyStore": "flaky",
        "SessionConformance": "conformance.sessions",
        "StoreConformance": "conformance.store",
        "StoreMachine": "machine",
        "WatchConformance": "conformance.watching",
        "WrapperConformance": "conformance.wrapper",
        "needs": "conformance.suite",
    },
)


def __getattr__(name: str) -> object:
    if name in __all__ and name not in _DOUBLES:
        _prepare_pytest(name)
    return _load(name)


def _prepare_pytest(name: str) -> None:
    try:
        import pytest  # noqa: PLC0415  # the doubles are usable without it
    except ImportError as error:
        raise MissingExtraError(f'{name} needs pytest and more: pip install "satchel[testing]"') from error
    unseen = [full for part in _WITH_ASSERTIONS if (full := f"{__name__}.{part}") not in sys.modules]
    pytest.register_assert_rewrite(*unseen)
