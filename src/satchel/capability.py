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
