"""Conformance suites: what every store and every wrapper promises, as tests to subclass."""

from .store import ContractConformance, StoreConformance
from .wrapper import WrapperConformance

__all__ = ["ContractConformance", "StoreConformance", "WrapperConformance"]
