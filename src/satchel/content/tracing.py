"""Place of a fault in a value: nothing here runs unless a value has no digest."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from types import FunctionType
from typing import Any

from ..errors import DigestError
from .functions import closure_of
from .objects import attributes_of, is_named_tuple
from .walk import Rule, Walk

_LONGEST_NAME = 40
_MOST_STEPS = 20
_SETS = (set, frozenset)


def locate(value: object, rules: Mapping[type, Rule], error: DigestError) -> DigestError:
    """Return the error of a value without a digest, with the path of the part that has none.

    Args:
        value: The value.
        rules: The rules by which it was walked over.
        error: The error, which is returned as it is if a second walk succeeds.
    """
    traced = _TracedRules(rules)
    try:
        Walk(traced).digest(value)
    except DigestError as found:
        error = found
    except Exception:  # the value changes, or its hook fails in another way every time
        return error
    steps = list(map(_step, traced.chain, traced.chain[1:]))
    for depth, part in enumerate(traced.chain):
        if any(part is whole for whole in traced.chain[:depth]):
            return DigestError("it holds itself; a digest needs a value that ends", path=_path(steps[:depth]))
    return DigestError(error.reason, path=_path(steps))


class _TracedRules(Mapping[type, Rule]):
    """Rules that note which parts of a value are being walked over, from the value itself inwards."""

    def __init__(self, rules: Mapping[type, Rule]) -> None:
        self._rules = rules
        self.chain: list[object] = []

    def __getitem__(self, kind: type) -> Rule:
        def rule(value: Any, walk: Walk) -> bytes:
            self.chain.append(value)
            found = self._rules[kind](value, walk)
            self.chain.pop()
            return found

        return rule

    def __iter__(self) -> Any:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


def _path(steps: list[str]) -> str:
    if len(steps) > _MOST_STEPS:
        steps = [*steps[: _MOST_STEPS // 2], "...", *steps[-_MOST_STEPS // 2 :]]
    return "$" + "".join(steps)


def _step(whole: Any, part: object) -> str:
    """Return the step of a path that leads from a value to its part; empty for one that stands for all of it."""
    if isinstance(whole, _SETS):
        return "[...]"
    if isinstance(whole, dict):
        return _step_into_dict(whole, part)
    if isinstance(whole, (list, tuple, deque)) and not is_named_tuple(type(whole)):
        for index, item in enumerate(whole):
            if item is part:
                return f"[{index}]"
    return next((f".{name}" for name, item in _attributes(whole) if item is part), "")


def _step_into_dict(whole: dict[Any, object], part: object) -> str:
    return next((step_of(key) for key, item in whole.items() if item is part), "[...]")


def step_of(key: object) -> str:
    """Return the step of a path to what a dict has under a key, which is shown only if it looks like a name."""
    shown = type(key) is str and key.isidentifier() and len(key) <= _LONGEST_NAME
    return f".{key}" if shown else "[...]"


def _attributes(whole: Any) -> Iterable[tuple[str, object]]:
    if isinstance(whole, FunctionType):
        return closure_of(whole).items()
    if isinstance(whole, partial):
        return [(name, getattr(whole, name)) for name in ("func", "args", "keywords")]
    return attributes_of(whole).items()
