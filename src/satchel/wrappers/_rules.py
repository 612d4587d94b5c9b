"""`Rule`: what becomes of a name, by a strategy; and what suits each backend."""

from __future__ import annotations

import dataclasses
import hashlib
import string
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from .._checks import check_int
from ..errors import ConfigurationError, InvalidKeyError, unknown
from ..names import FOLDED_SAFE, MAX_NAME_BYTES, SAFE, Escaping, check_name

Strategy = Literal["passthrough", "escape", "hash-excess-length", "hash", "allow-list"]

_SHORTEST = {"hash": 64, "escape": 80, "hash-excess-length": 80}
_PRINTABLE = frozenset(string.ascii_letters + string.digits + string.punctuation) - {"%"}
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})


@dataclass(frozen=True)
class Rule:
    """Says what becomes of keys, or of collections.

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
"""What suits each backend's own limits. A preset never changes; a better one gets the next version."""


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
