"""Tests for stores and wrappers of your own, and doubles for testing what uses them.

`FakeClock` and `FlakyStore` need nothing beyond satchel. The conformance suite needs `pip install "satchel[testing]"`
and is imported at its first use.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError
from .clock import FakeClock
from .flaky import FlakyStore

if TYPE_CHECKING:
    from .conformance import ContractConformance, StoreConformance
    from .conformance.suite import needs
    from .conformance.wrapper import WrapperConformance
    from .machine import StoreMachine
    from .model import DictModel

__all__ = [
    "ContractConformance",
    "DictModel",
    "FakeClock",
    "FlakyStore",
    "StoreConformance",
    "StoreMachine",
    "WrapperConformance",
    "needs",
]

_MODULES = {
    "ContractConformance": "conformance.store",
    "DictModel": "model",
    "StoreConformance": "conformance.store",
    "StoreMachine": "machine",
    "WrapperConformance": "conformance.wrapper",
    "needs": "conformance.suite",
}
_WITH_ASSERTIONS = ("conformance", "machine")


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest  # noqa: PLC0415  # the doubles are usable without it
    except ImportError as error:
        raise MissingExtraError(f'{name} needs pytest and more: pip install "satchel[testing]"') from error
    unseen = [full for part in _WITH_ASSERTIONS if (full := f"{__name__}.{part}") not in sys.modules]
    pytest.register_assert_rewrite(*unseen)
    return getattr(importlib.import_module(f".{module}", __name__), name)
