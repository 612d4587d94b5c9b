"""Digest of a value: the same for equal values of the same types, in every process, on every machine and Python."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from ..errors import DigestError, with_article
from .builtin import BUILT_IN
from .hooks import FIXED, changing, is_in_hook, on_change, rule_by_hook
from .objects import rule_of_object
from .tracing import locate
from .walk import Digest, Rule, Walk

_MOST_CLASSES = 1000
"""Classes whose rules are kept; of a program that makes classes without end, no more."""


class _Rules(dict[type, Rule]):
    """Rules by class, found when they are first needed."""

    def __missing__(self, kind: type) -> Rule:
        with changing:
            rule = _find(kind)
            if len(self) > _MOST_CLASSES:
                self.reset()
            self[kind] = rule
        return rule

    def reset(self) -> None:
        """Forget what was found."""
        self.update(FIXED)
        for kind in self.keys() - FIXED.keys():
            del self[kind]


_rules = _Rules(FIXED)
on_change(_rules.reset)


def new_walk() -> Walk:
    """Return a walk that gives digests of parts of one value."""
    return Walk(_rules)


def digest(value: object) -> Digest:
    """Return the digest of a value: 64 hexadecimal digits that depend on nothing but the value.

    Types count: the digests of 1, 1.0 and True differ. The order of a dict or a set does not. The digest of a `Digest`
    is itself.

    Raises:
        DigestError: Some part of the value has no digest; the message gives its path.
    """
    return Digest.of_bytes(digest_bytes(value))


def digest_bytes(value: Any) -> bytes:
    """Return the digest of a value as 32 bytes; it raises what `digest` raises."""
    try:
        return _rules[type(value)](value, Walk(_rules))
    except DigestError as error:
        if is_in_hook():
            raise  # the outermost walk finds the place
        raise locate(value, _rules, error) from error.__cause__
    except RecursionError:
        raise DigestError("the stack has no room for it; call digest from fewer nested calls", path="$") from None
    except RuntimeError as error:  # a dict or a set changed its size
        raise DigestError("it changed while its digest was made; give a copy", path="$") from error


def _find(kind: type) -> Rule:
    rule = rule_by_hook(kind) or _rule_of_arrays(kind) or rule_of_object(kind)
    if rule is not None:
        return rule
    if issubclass(kind, type):
        return BUILT_IN[type]
    if issubclass(kind, PurePath) and kind.__module__.partition(".")[0] == "pathlib":
        return next(BUILT_IN[base] for base in kind.__mro__ if base in BUILT_IN)
    raise DigestError(_refusal(kind))


def _rule_of_arrays(kind: type) -> Rule | None:
    """Return the rule of a class of numpy's or pandas's, which are imported only if such a value was given."""
    package = kind.__module__.partition(".")[0]
    if package == "numpy":
        from .numpy_rules import rule_of_numpy  # noqa: PLC0415  # it imports numpy

        return rule_of_numpy(kind)
    if package == "pandas":
        from .pandas_rules import rule_of_pandas  # noqa: PLC0415  # it imports pandas

        return rule_of_pandas(kind)
    return None


def _refusal(kind: type) -> str:
    if hasattr(kind, "__next__"):
        return f"{with_article(kind)} is used up by reading it; give a list of its items"
    return f"{with_article(kind)} has no digest; make its class a dataclass, give that a __digest__, or register_hook"
