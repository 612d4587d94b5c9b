"""The table of verbs: the methods of a store that read, change or list entries.

Every set of verbs in wrappers is derived from the table. A verb of a new kind is in none of the sets of kinds until the
kind is added to them. Wrappers expect a verb of `OF_ENTRIES` to name its entries by `key`, `keys` or `items` alone; for
one that names a further entry, `RoutingStore` and `TieredStore` need a method of their own.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from .capability import Capability


class VerbKind(enum.Enum):
    """Effect of a verb."""

    READ = "read"
    PUT = "put"
    DELETE = "delete"
    TOUCH = "touch"
    LIST = "list"
    COUNT = "count"
    DESTROY = "destroy"
    CULL = "cull"
    PING = "ping"
    WATCH = "watch"


class Verb(NamedTuple):
    """One method of a store.

    Attributes:
        name: Name of the method.
        kind: Effect of the method.
        arguments: Names of its arguments.
        seams: Seams of `BaseWrapper` that it goes through. A wrapper that overrides none of them leaves it alone.
        capability: Capability that a store needs for it; `Capability.NONE` for the core.
    """

    name: str
    kind: VerbKind
    arguments: tuple[str, ...]
    seams: tuple[str, ...] = ()
    capability: Capability = Capability.NONE


_NAMES = ("_ref", "_collection")
_READ = (*_NAMES, "_decode")
_WRITTEN = (*_NAMES, "_encode", "_ttl")
_LISTED = (*_NAMES, "_key_from_inner", "_collection_from_inner", "_inner_collection_is_shared")
SHARED: Final = ("_inner_collection_is_shared", "_shares_store")
"""Seams by which a wrapper says that it does not have an inner collection, or the inner store, for itself."""

_ONE = ("collection", "key")
_MANY = ("collection", "keys")
_IF = Capability.CONDITIONAL

VERBS: Final = (
    Verb("get", VerbKind.READ, (*_ONE, "default"), _READ),
    Verb("get_entry", VerbKind.READ, _ONE, _READ),
    Verb("exists", VerbKind.READ, _ONE, _NAMES),
    Verb("put", VerbKind.PUT, (*_ONE, "value", "ttl"), _WRITTEN),
    Verb("delete", VerbKind.DELETE, _ONE, _NAMES),
    Verb("get_many", VerbKind.READ, _MANY, _READ),
    Verb("get_entries", VerbKind.READ, _MANY, _READ),
    Verb("put_many", VerbKind.PUT, ("collection", "items", "ttl"), _WRITTEN),
    Verb("delete_many", VerbKind.DELETE, _MANY, _NAMES),
    Verb("ping", VerbKind.PING, ()),
    Verb("put_if_absent", VerbKind.PUT, (*_ONE, "value", "ttl"), _WRITTEN, _IF),
    Verb("compare_and_put", VerbKind.PUT, (*_ONE, "value", "version", "ttl"), _WRITTEN, _IF),
    Verb("compare_and_delete", VerbKind.DELETE, (*_ONE, "version"), _NAMES, _IF),
    Verb("touch", VerbKind.TOUCH, (*_ONE, "ttl"), (*_NAMES, "_ttl"), _IF),
    Verb("keys", VerbKind.LIST, ("collection", "prefix", "limit", "after"), _LISTED, Capability.ENUMERATE_KEYS),
    Verb("count", VerbKind.COUNT, ("collection", "prefix"), _LISTED, Capability.ENUMERATE_KEYS),
    Verb("collections", VerbKind.LIST, (), _LISTED, Capability.ENUMERATE_COLLECTIONS),
    Verb("destroy_collection", VerbKind.DESTROY, ("collection",), _LISTED, Capability.DESTROY_COLLECTION),
    Verb("destroy", VerbKind.DESTROY, (), SHARED, Capability.DESTROY_STORE),
    Verb("cull", VerbKind.CULL, (), (), Capability.CULL),
    Verb("watch", VerbKind.WATCH, ("collection", "prefix"), (*_NAMES, "_key_from_inner"), Capability.WATCH),
)
"""All verbs."""


def _of_kind(*kinds: VerbKind) -> frozenset[str]:
    return frozenset(verb.name for verb in VERBS if verb.kind in kinds)


def _with_argument(*arguments: str) -> frozenset[str]:
    return frozenset(verb.name for verb in VERBS if not set(arguments).isdisjoint(verb.arguments))


SEAMS: Final = {verb.name: verb.seams for verb in VERBS}
"""The seams that each verb goes through."""

NEEDED: Final = {verb.name: verb.capability for verb in VERBS if verb.capability}
"""The capability that each verb outside the core needs."""

METHODS: Final = {
    capability: tuple(verb.name for verb in VERBS if verb.capability is capability)
    for capability in dict.fromkeys(NEEDED.values())
}
"""The verbs that each capability stands for."""

CORE: Final = frozenset(SEAMS) - frozenset(NEEDED)
"""Verbs that every store has."""

READS: Final = _of_kind(VerbKind.READ)
PUTS: Final = _of_kind(VerbKind.PUT)
DELETES: Final = _of_kind(VerbKind.DELETE)
TOUCHES: Final = _of_kind(VerbKind.TOUCH)
LISTINGS: Final = _of_kind(VerbKind.LIST)
WATCHES: Final = _of_kind(VerbKind.WATCH)
DESTROYS: Final = _of_kind(VerbKind.DESTROY)
CHANGES: Final = PUTS | DELETES | TOUCHES | DESTROYS | _of_kind(VerbKind.CULL)
"""Verbs after which a store may hold something else than before."""

OF_ENTRIES: Final = READS | PUTS | DELETES | TOUCHES
"""Verbs about entries that the caller names."""

BATCHES: Final = _with_argument("keys", "items")
BATCHES_OF_READS: Final = READS & BATCHES
PUTS_OF_ONE: Final = PUTS - BATCHES
READS_OF_VALUES: Final = frozenset(name for name in READS if "_decode" in SEAMS[name])
CONDITIONAL_WRITES: Final = frozenset(METHODS[Capability.CONDITIONAL]) & (PUTS | DELETES)
"""Verbs whose answer says whether the condition held."""
