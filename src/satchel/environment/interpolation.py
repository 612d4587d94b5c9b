"""Interpolation: `${NAME}` and `${NAME:-default}` stand for other variables, `$$` for a dollar."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import InvalidSettingError, SettingCycleError

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[^{}:]+)(?::-(?P<default>[^{}]*))?\}|(?P<open>\{))")
_LONGEST = 1024 * 1024
_DEEPEST = 100


def expand(name: str, text: str, look_up: Callable[[str, tuple[str, ...]], str | None], trail: tuple[str, ...]) -> str:
    """Return the text of a variable with what its references stand for.

    Args:
        name: The variable.
        text: Its text.
        look_up: Return what a variable stands for, given the names that led to it; None if there is none.
        trail: The names that led to this one.

    Raises:
        SettingCycleError: A variable stands for itself.
        InvalidSettingError: A reference is not closed or names no variable, there are more than 100 in a row, or more
            than a million characters come out.
    """
    if name in trail:
        raise SettingCycleError(f"{' -> '.join([*trail[trail.index(name) :], name])} refer to each other in a circle")
    if len(trail) >= _DEEPEST:
        raise InvalidSettingError(f"{trail[0]} leads through more than {_DEEPEST} other variables")
    parts: list[str] = []
    length = end = 0
    for match in _REFERENCE.finditer(text):
        parts += [text[end : match.start()], _stands_for(name, match, look_up, (*trail, name))]
        end = match.end()
        length += len(parts[-1])
        if length > _LONGEST:
            raise InvalidSettingError(f"{name} becomes longer than {_LONGEST} characters")
    return "".join([*parts, text[end:]])


def _stands_for(
    name: str, match: re.Match[str], look_up: Callable[[str, tuple[str, ...]], str | None], trail: tuple[str, ...]
) -> str:
    if match["dollar"]:
        return "$"
    if match["open"]:
        raise InvalidSettingError(
            f"{name} has a ${{ that is no ${{NAME}} or ${{NAME:-default}}; write $${{ for the text"
        )
    found = look_up(match["name"], trail)
    if found is None or (found == "" and match["default"] is not None):
        found = match["default"]
    if found is None:
        raise InvalidSettingError(f"{name} refers to {match['name']}, which is not set")
    return found


def references(text: str) -> set[str]:
    """Return the names that a text refers to."""
    return {match["name"] for match in _REFERENCE.finditer(text) if match["name"]}


def escaped(text: str) -> str:
    """Return a text that stands for this one."""
    return text.replace("$", "$$")
