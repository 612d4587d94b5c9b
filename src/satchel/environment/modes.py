"""`Mode`: the stages in which a program runs, and how a variable is spelled for one of them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, cast

from ..errors import ModeError

_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


class Mode(StrEnum):
    """Stage in which a program runs: `DEV_PORT` is what `PORT` is in `Mode.DEV`."""

    DEV = "dev"
    TEST = "test"
    STAGING = "staging"
    PROD = "prod"

    @classmethod
    def with_stages(cls, **stages: str) -> type[StrEnum]:
        """Return these modes with more of them: `with_stages(QA="qa")`.

        Args:
            **stages: The name of each, in capital letters, and its value.

        Raises:
            ModeError: A name or a value is that of another mode, or a name is not made of capital letters, digits and
                single underscores.
        """
        members = {mode.name: mode.value for mode in cls}
        for name, value in stages.items():
            if not _NAME.fullmatch(name):
                raise ModeError(f"a stage is named in capital letters, digits and single underscores; {name!r} is not")
            if name in members:
                raise ModeError(f"there is a mode {name} already; give the stage another name")
            if not isinstance(value, str) or not value or value in members.values():
                raise ModeError(f"stage {name} needs a text that no other mode has for its value")
            members[name] = value
        make: Any = StrEnum  # a type checker asks for literal members
        return cast("type[StrEnum]", make("Mode", members))


def parse_mode(mode: StrEnum | str | None, known: type[StrEnum]) -> StrEnum | None:
    """Return the mode that a caller means, which may be given by its value; None stands for no mode.

    Raises:
        ModeError: There is none.
    """
    if mode is None or isinstance(mode, StrEnum):
        return mode
    try:
        return known(mode)
    except ValueError:
        named = repr(mode) if isinstance(mode, str) else type(mode).__name__
    names = ", ".join(member.value for member in known)
    raise ModeError(f"unknown mode {named}; known: {names}. Mode.with_stages adds others")


def spellings(name: str, mode: StrEnum | None) -> tuple[str, ...]:
    """Return the names under which one source may have a variable, the first one first."""
    return (name,) if mode is None else (prefix(mode) + name, name)


def prefix(mode: StrEnum) -> str:
    """Return what the names of a mode's variables begin with."""
    return f"{mode.name}_"
