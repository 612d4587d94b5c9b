"""Capabilities of a store beyond the core, as flags."""

from __future__ import annotations

import enum


class Capability(enum.Flag):
    """Names the optional groups of methods of a store.

    `store.capabilities` holds those that the store has. Calling a method of a group that it does not have raises
    `UnsupportedOperationError`.
    """

    NONE = 0
    ENUMERATE_KEYS = enum.auto()
    ENUMERATE_COLLECTIONS = enum.auto()
    DESTROY_COLLECTION = enum.auto()
    DESTROY_STORE = enum.auto()
    CULL = enum.auto()
    CONDITIONAL = enum.auto()
    WATCH = enum.auto()


METHODS: dict[Capability, tuple[str, ...]] = {
    Capability.ENUMERATE_KEYS: ("keys",),
    Capability.ENUMERATE_COLLECTIONS: ("collections",),
    Capability.DESTROY_COLLECTION: ("destroy_collection",),
    Capability.DESTROY_STORE: ("destroy",),
    Capability.CULL: ("cull",),
    Capability.CONDITIONAL: ("put_if_absent", "compare_and_put", "compare_and_delete", "touch"),
}
"""The public methods of each capability."""

NEEDED: dict[str, Capability] = {method: capability for capability, methods in METHODS.items() for method in methods}
"""The capability that each method outside the core needs."""
