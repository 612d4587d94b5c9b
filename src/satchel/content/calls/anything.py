"""`ANY`: what a query leaves open."""

from enum import Enum
from typing import Final, Literal


class Anything(Enum):
    """Type of `ANY`."""

    ANY = "ANY"

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = Anything.ANY
"""Matches every value in `Calls.query`. None would not do: it is a value like any other."""

AnyOf = Literal[Anything.ANY]
