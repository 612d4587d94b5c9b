"""`SanitizationWrapper`: names as a backend or a reader wants them (`?wrap=sanitization(preset=memcached-v1)`)."""

from __future__ import annotations

import dataclasses
from types import NoneType

from ..capability import Capability
from ..errors import ConfigurationError, unknown
from ..names import Ref
from ..protocol import AsyncKeyValue
from ._rules import PRESETS, Strategy, possible, rule
from .base import BaseWrapper

__all__ = ["PRESETS", "SanitizationWrapper"]


class SanitizationWrapper(BaseWrapper):
    """Changes keys and collections to what a backend or a reader wants, or refuses them. Two names never become one.

    The strategies:

    * `passthrough`: names stay; longer ones than the limit are refused.
    * `allow-list`: names of the allowed characters stay; others, and longer ones than the limit, are refused.
    * `escape`: other bytes than the characters become `%` and two hexadecimal digits; names that are then longer than
      the limit are refused.
    * `hash-excess-length`: the same, but those become their beginning and their SHA-256.
    * `hash`: every name becomes its SHA-256, 64 hexadecimal digits.

    With the last two the names cannot be got back: for keys `ENUMERATE_KEYS` is dropped, for collections
    `ENUMERATE_COLLECTIONS`. The presets hash excess length.

    Args:
        inner: The store around which this is.
        preset: What suits a backend's own limits: one of `PRESETS`.
        key_strategy: Instead of a preset, the strategy for keys.
        collection_strategy: Instead of a preset, the strategy for collections.
        max_bytes: The longest result, in UTF-8 bytes; the inner store's limit by default.
        characters: The ASCII characters that stay or are allowed; by default letters, digits, `-`, `_` and `.`.

    Raises:
        ConfigurationError: An option is not known, contradicts another, or leaves too little room for its strategy.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        preset: str | None = None,
        key_strategy: Strategy | None = None,
        collection_strategy: Strategy | None = None,
        max_bytes: int | None = None,
        characters: str | None = None,
    ) -> None:
        self._need_store(inner)
        own = {"key_strategy": key_strategy, "collection_strategy": collection_strategy, "characters": characters}
        for option, value in {"preset": preset, **own}.items():
            if not isinstance(value, (str, NoneType)):
                raise ConfigurationError(f"{option} must be a str, got {type(value).__name__}")
        if (preset is None) == (max_bytes is None and set(own.values()) == {None}):
            raise ConfigurationError("sanitization takes either a preset or strategies of its own")
        if preset is not None:
            if preset not in PRESETS:
                raise unknown("preset", preset, PRESETS, shown=False)
            key, collection = PRESETS[preset]
        else:
            key, collection = (
                rule("passthrough" if strategy is None else strategy, max_bytes, characters)
                for strategy in (key_strategy, collection_strategy)
            )
        if characters is not None and {key.strategy, collection.strategy} <= {"passthrough", "hash"}:
            raise ConfigurationError("characters means nothing to the strategies 'passthrough' and 'hash'")
        self._key_rule = possible(dataclasses.replace(key, max_bytes=min(key.max_bytes, inner.max_key_bytes)))
        self._collection_rule = possible(collection)
        drops = Capability.NONE if key.reversible else Capability.ENUMERATE_KEYS
        super().__init__(inner, drops=drops if collection.reversible else drops | Capability.ENUMERATE_COLLECTIONS)

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes, whose characters all stay."""
        return self._key_rule.max_name_bytes

    def _ref(self, collection: str, key: str) -> Ref:
        return self._collection(collection), self._key_rule.apply(key, "key")

    def _unref(self, collection: str, key: str) -> str | None:
        return self._key_rule.undo(key)

    def _collection(self, collection: str) -> str:
        return self._collection_rule.apply(collection, "collection")

    def _uncollection(self, collection: str) -> str | None:
        return self._collection_rule.undo(collection)

    def _prefix(self, collection: str, prefix: str) -> str | None:
        return prefix if self._key_rule.strategy in {"passthrough", "allow-list"} else None
