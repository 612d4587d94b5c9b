"""Conformance suites: the guarantees of every store and wrapper, as tests to subclass."""

from typing import TYPE_CHECKING

from ..._lazy import lazy_exports

if TYPE_CHECKING:
    from .coordination import CoordinationConformance
    from .sessions import SessionConformance
    from .store import ContractConformance, StoreConformance
    from .wrapper import WrapperConformance

__all__ = [
    "ContractConformance",
    "CoordinationConformance",
    "SessionConformance",
    "StoreConformance",
    "WrapperConformance",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ContractConformance": "store",
        "CoordinationConformance": "coordination",
        "SessionConformance": "sessions",
        "StoreConformance": "store",
        "WrapperConformance": "wrapper",
    },
)
