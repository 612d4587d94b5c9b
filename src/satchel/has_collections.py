"""`HasCollections`: what gives stores and wrappers their `collection` method."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, overload

from .clock import TTL
from .collection import Collection
from .protocol import AsyncKeyValue

T = TypeVar("T")


class HasCollections(Protocol):
    """Gives a store its `collection` method."""

    @overload
    def collection(self: AsyncKeyValue, name: str, *, ttl: TTL | None = None) -> Collection[Any]: ...
    @overload
    def collection(self: AsyncKeyValue, name: str, *, model: type[T], ttl: TTL | None = None) -> Collection[T]: ...
    @overload
    def collection(self: AsyncKeyValue, name: str, *, model: object, ttl: TTL | None = None) -> Collection[Any]: ...
    def collection(self: AsyncKeyValue, name: str, *, model: Any = None, ttl: TTL | None = None) -> Collection[Any]:
        """Return one collection of this store, with values of one type.

        Args:
            name: The name of the collection.
            model: What the values are, such as a pydantic model, a dataclass or `list[int]`; anything without it.
            ttl: When a value put there expires, in seconds or as a `timedelta`, unless the call says otherwise.

        Raises:
            InvalidKeyError, InvalidTTLError: The name or the ttl is not legal.
            ConfigurationError: The model is not a type that can be validated.
        """
        return Collection(self, name, model=model, ttl=ttl)
