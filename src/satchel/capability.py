"""What a store can do beyond the core, as values."""

# mypy: disable-error-code="overload-overlap"
# One flag gives a narrower type than several, on purpose.

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from .errors import ConfigurationError, UnsupportedOperationError

if TYPE_CHECKING:
    from . import protocol

S = TypeVar("S", bound="protocol.SupportsEverything")


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
"""The public methods that each capability stands for."""

NEEDED: dict[str, Capability] = {method: capability for capability, methods in METHODS.items() for method in methods}
"""The capability that each method outside the core needs."""


def is_store(thing: object) -> bool:
    """Say whether a thing is a store: its capabilities tell it, and `aclose` tells it from a `SyncStore`."""
    return isinstance(getattr(thing, "capabilities", None), Capability) and hasattr(thing, "aclose")


def check_store(store: object, who: str) -> None:
    """Refuse what is not a store.

    Args:
        store: What the caller gave.
        who: How the message calls what takes it.

    Raises:
        ConfigurationError: It is a class, or an object without capabilities.
    """
    if isinstance(store, type):
        raise ConfigurationError(f"{who} takes a store, got the class {store.__name__}; make one of it first")
    if not is_store(store):
        raise ConfigurationError(f"{who} takes a store, got an object of type {type(store).__name__}")


@overload
def require(store: S, capability: Capability) -> S: ...
@overload
def require(
    store: protocol.AsyncKeyValue, capability: Literal[Capability.ENUMERATE_KEYS]
) -> protocol.SupportsEnumerateKeys: ...
@overload
def require(
    store: protocol.AsyncKeyValue, capability: Literal[Capability.ENUMERATE_COLLECTIONS]
) -> protocol.SupportsEnumerateCollections: ...
@overload
def require(
    store: protocol.AsyncKeyValue, capability: Literal[Capability.DESTROY_COLLECTION]
) -> protocol.SupportsDestroyCollection: ...
@overload
def require(
    store: protocol.AsyncKeyValue, capability: Literal[Capability.DESTROY_STORE]
) -> protocol.SupportsDestroyStore: ...
@overload
def require(store: protocol.AsyncKeyValue, capability: Literal[Capability.CULL]) -> protocol.SupportsCull: ...
@overload
def require(
    store: protocol.AsyncKeyValue, capability: Literal[Capability.CONDITIONAL]
) -> protocol.SupportsConditional: ...
@overload
def require(store: protocol.AsyncKeyValue, capability: Capability) -> protocol.SupportsEverything: ...
def require(store: protocol.AsyncKeyValue, capability: Capability) -> Any:
    """Return the store, typed as having a capability, or refuse it.

    A store whose type has every method already, such as what `open_store` returns, keeps its type.

    Args:
        store: Any store.
        capability: One flag, or several joined by `|`. With several, the result is typed as having every method;
            only the flags named were checked.

    Raises:
        ConfigurationError: It is not a store.
        TypeError: The capability is not a `Capability`.
        UnsupportedOperationError: The store lacks a flag; the message names the store and each flag.
    """
    check_store(store, "require")
    if not isinstance(capability, Capability):
        raise TypeError(
            f"require takes a Capability, such as Capability.CULL, got an object of type {type(capability).__name__}"
        )
    missing = capability & ~store.capabilities
    if missing:
        names = ", ".join(str(flag.name) for flag in Capability if flag in missing)
        raise UnsupportedOperationError(f"{store!r} does not have {names}")
    return store
