"""The events of `EventsWrapper`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Is something that happened; subscribe to it for all events."""


@dataclass(frozen=True, slots=True)
class Stored(Event):
    """Says that a value was put under a key.

    Attributes:
        collection: The collection.
        key: The key.
        ttl: The seconds after which the caller lets it expire; None for never.
    """

    collection: str
    key: str
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Retrieved(Event):
    """Says that a value or an entry was read and there."""

    collection: str
    key: str


@dataclass(frozen=True, slots=True)
class Deleted(Event):
    """Says that an entry was removed.

    Attributes:
        collection: The collection.
        key: The key.
        existed: True; None for each key of a batch of which only some were there, as it does not say which.
    """

    collection: str
    key: str
    existed: bool | None = True


@dataclass(frozen=True, slots=True)
class Expired(Event):
    """Says that a call found an entry absent whose time to live, as far as the wrapper knew it, had ended."""

    collection: str
    key: str


@dataclass(frozen=True, slots=True)
class Cleared(Event):
    """Says that a collection that held something was destroyed, or with None, the store."""

    collection: str | None


KINDS: tuple[type[Event], ...] = (Stored, Retrieved, Deleted, Expired, Cleared)
MAY_EMIT: dict[str, frozenset[type[Event]]] = {
    **dict.fromkeys(("put", "put_many", "put_if_absent", "compare_and_put"), frozenset({Stored, Expired})),
    **dict.fromkeys(("get", "get_many", "get_entry", "get_entries"), frozenset({Retrieved, Expired})),
    **dict.fromkeys(("delete", "delete_many", "compare_and_delete"), frozenset({Deleted, Expired})),
    **dict.fromkeys(("exists", "touch"), frozenset({Expired})),
    **dict.fromkeys(("destroy", "destroy_collection"), frozenset({Cleared, Expired})),
}
"""The events that each operation may emit, or for which it has to be followed."""
