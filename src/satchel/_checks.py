"""Checks of the options of stores and wrappers; a wrong one raises `ConfigurationError`."""

from __future__ import annotations

from collections.abc import Iterable

from .clock import MAX_TTL
from .errors import ConfigurationError, safe_repr, unknown


def check_int(option: str, number: object, least: int, most: int | None = None) -> None:
    """Raise ConfigurationError unless the value is an int from `least` to `most`."""
    if type(number) is not int or number < least or (most is not None and number > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigurationError(f"{option} must be an int {span}, got {safe_repr(number)}")


def check_bound(option: str, bound: object) -> None:
    """Raise ConfigurationError unless the value is a positive int or None."""
    if bound is not None and (type(bound) is not int or bound < 1):
        raise ConfigurationError(f"{option} must be an int of at least 1, or None for no bound; got {safe_repr(bound)}")


def check_seconds(option: str, seconds: object) -> None:
    """Raise unless the value is a number of seconds above 0, and no longer than any time to live."""
    if type(seconds) not in (int, float) or not 0 < seconds <= MAX_TTL:  # type: ignore[operator]  # the type was just compared
        raise ConfigurationError(
            f"{option} must be a number of seconds above 0 and at most 100 years, got {safe_repr(seconds)}"
        )


def check_choice(option: str, choice: object, known: Iterable[str]) -> None:
    """Raise unless the value is one of the known texts."""
    if not isinstance(choice, str):
        raise ConfigurationError(f"{option} must be one of {', '.join(sorted(known))}, got {type(choice).__name__}")
    if choice not in known:
        raise unknown(option, choice, known, shown=False)


def check_bool(option: str, flag: object) -> None:
    """Raise unless the value is True or False: a text such as "no" would count as True."""
    if type(flag) is not bool:
        raise ConfigurationError(f"{option} must be a bool, got {type(flag).__name__}")


def check_seed(seed: object) -> None:
    """Raise unless the value is an int or None: the hashes of other types differ from run to run."""
    if seed is not None and type(seed) is not int:
        raise ConfigurationError(f"seed must be an int or None, got {type(seed).__name__}")


def check_clock(clock: object) -> None:
    """Raise ConfigurationError unless the value can be called for the time."""
    if not callable(clock):
        raise ConfigurationError(f"clock must be a function that returns seconds, got {type(clock).__name__}")
