"""`SanitizationWrapper`: names as a backend or a reader wants them (`?wrap=sanitization(preset=memcached-v1)`)."""

from __future__ import annotations

import dataclasses
import hashlib
import string
from dataclasses import dataclass
from functools import cached_property
from types import NoneType
from typing import Literal, get_args

from .._checks import check_int
from ..capability import Capability
from ..errors import ConfigurationError, InvalidKeyError, unknown
from ..names import FOLDED_SAFE, MAX_NAME_BYTES, SAFE, Escaping, Ref, check_name
from ..protocol import AsyncKeyValue
from .base import BaseWrapper

Strategy = Literal["passthrough", "escape", "hash-excess-length", "hash", "allow-list"]

_SHORTEST = {"hash": 64, "escape": 80, "hash-excess-length": 80}
_PRINTABLE = frozenset(string.ascii_letters + string.digits + string.punctuation) - {"%"}
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


@dataclass(frozen=True)
class Rule:
    """How keys, or collections, are changed.

    Attributes:
        strategy: What is done; `SanitizationWrapper` explains each.
        max_bytes: The longest result, in UTF-8 bytes; at least 64 to hash, and 80 to escape.
        characters: The ASCII characters that stay; for an allow-list, all characters that are allowed.
        unicode: Printable characters beyond ASCII stay.
        reserved: Names, in lower case and up to their first dot, that do not stay.
    """

    strategy: Strategy = "passthrough"
    max_bytes: int = MAX_NAME_BYTES
    characters: frozenset[str] = SAFE
    unicode: bool = False
    reserved: frozenset[str] = frozenset()

    @property
    def reversible(self) -> bool:
        """Whether every name can be got back."""
        return self.strategy in {"passthrough", "escape", "allow-list"}

    @property
    def max_name_bytes(self) -> int:
        """The longest name that can be accepted, in UTF-8 bytes."""
        return MAX_NAME_BYTES if self.strategy.startswith("hash") else self.max_bytes

    @cached_property
    def _escaping(self) -> Escaping:
        return Escaping(self.characters, self.max_bytes, self.unicode, self.reserved)

    def apply(self, name: str, what: str) -> str:
        """Return what becomes of a legal name.

        Raises:
            InvalidKeyError: The strategy does not take this name.
        """
        match self.strategy:
            case "passthrough":
                return check_name(name, what, self.max_bytes)
            case "hash":
                return hashlib.sha256(name.encode()).hexdigest()
            case "allow-list":
                if not self.characters.issuperset(name):
                    raise InvalidKeyError(f"{what} has characters that are not on the allow-list: {name[:40]!r}")
                return check_name(name, what, self.max_bytes)
        escaped = self._escaping.escape(name)
        if self.strategy == "escape" and escaped != name and self.undo(escaped) is None:
            raise InvalidKeyError(f"{what} has more than {self.max_bytes} bytes once escaped: {name[:40]!r}...")
        return escaped

    def undo(self, name: str) -> str | None:
        """Return the name of which `apply` made this one; None when of none."""
        if self.strategy == "allow-list":
            return name if self.characters.issuperset(name) else None
        return self._escaping.unescape(name) if self.strategy == "escape" else name


def _preset(key: int, collection: int, characters: frozenset[str], **more: object) -> tuple[Rule, Rule]:
    rule = Rule("hash-excess-length", key, characters, **more)  # type: ignore[arg-type]  # the fields of a rule
    return rule, dataclasses.replace(rule, max_bytes=collection)


PRESETS = {
    "redis-v1": _preset(1024, 512, _PRINTABLE - frozenset(":*?[]{}\\"), unicode=True),
    "memcached-v1": _preset(149, 100, _PRINTABLE - {":"}),
    "dynamodb-v1": _preset(1024, 1024, _PRINTABLE, unicode=True),
    "mongodb-v1": _preset(768, 120, _PRINTABLE - frozenset("$."), unicode=True),
    "elasticsearch-v1": _preset(383, 128, FOLDED_SAFE),
    "postgresql-v1": _preset(1000, 1000, _PRINTABLE, unicode=True),
    "objectstore-v1": _preset(700, 255, SAFE),
    "filesystem-v1": _preset(200, 200, FOLDED_SAFE, reserved=_DEVICES),
}
"""Options for each backend's own limits. A preset never changes; a better one gets the next version."""


def rule(strategy: str, max_bytes: int | None, characters: str | None) -> Rule:
    """Return the rule of a caller's own options.

    Raises:
        ConfigurationError: An option is not known, or out of its range.
    """
    if strategy not in get_args(Strategy):
        raise unknown("strategy", strategy, get_args(Strategy), shown=False)
    if max_bytes is not None:
        check_int("max_bytes", max_bytes, 1, MAX_NAME_BYTES)
    stay = SAFE if characters is None else frozenset(characters)
    return Rule(strategy, max_bytes or MAX_NAME_BYTES, stay)  # type: ignore[arg-type]  # it was just compared


def possible(rule: Rule) -> Rule:
    """Return a rule under which no two names become one, or refuse it.

    Raises:
        ConfigurationError: Its characters or its length leave too little for its strategy.
    """
    needed = _SHORTEST.get(rule.strategy, 1)
    if rule.max_bytes < needed:
        raise ConfigurationError(
            f"strategy {rule.strategy!r} needs max_bytes of at least {needed}, got {rule.max_bytes};"
            " the inner store's limit counts too"
        )
    if not rule.characters:
        raise ConfigurationError("characters must have one at least: without, no name is allowed")
    if rule.strategy in {"escape", "hash-excess-length"}:
        if not "".join(rule.characters).isascii():
            raise ConfigurationError(f"characters must be ASCII with the strategy {rule.strategy!r}")
        if "%" in rule.characters:
            raise ConfigurationError(f"characters must not have % with the strategy {rule.strategy!r}, which writes it")
        if not rule.characters.issuperset("-0123456789abcdef"):
            raise ConfigurationError(f"characters must have - and 0-9a-f with the strategy {rule.strategy!r}")
    return rule


__all__ = ["PRESETS", "SanitizationWrapper"]


class SanitizationWrapper(BaseWrapper):
    """Wrapper that rewrites keys and collections for a backend or a reader, or refuses them.

    Two names never become one.

    The strategies:

    * `passthrough`: names stay; longer ones than the limit are refused.
    * `allow-list`: names of the allowed characters stay; others, and longer ones than the limit, are refused.
    * `escape`: other bytes than the characters become `%` and two hexadecimal digits; names that are then longer than
      the limit are refused.
    * `hash-excess-length`: the same, but those become their beginning and their SHA-256.
    * `hash`: every name becomes its SHA-256, 64 hexadecimal digits.

    With the last two the names cannot be got back: for keys `ENUMERATE_KEYS` and `WATCH` are dropped, for collections
    `ENUMERATE_COLLECTIONS`. The presets hash excess length.

    Args:
        inner: The wrapped store.
        preset: Options for a backend's own limits: one of `PRESETS`.
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
        drops = Capability.NONE if key.reversible else Capability.ENUMERATE_KEYS | Capability.WATCH
        super().__init__(inner, drops=drops if collection.reversible else drops | Capability.ENUMERATE_COLLECTIONS)

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes, whose characters all stay."""
        return self._key_rule.max_name_bytes

    def _ref(self, collection: str, key: str) -> Ref:
        return self._collection(collection), self._key_rule.apply(key, "key")

    def _key_from_inner(self, collection: str, key: str) -> str | None:
        return self._key_rule.undo(key)

    def _collection(self, collection: str) -> str:
        return self._collection_rule.apply(collection, "collection")

    def _collection_from_inner(self, collection: str) -> str | None:
        return self._collection_rule.undo(collection)

    def _prefix(self, collection: str, prefix: str) -> str | None:
        return prefix if self._key_rule.strategy in {"passthrough", "allow-list"} else None
