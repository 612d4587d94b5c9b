"""Header fields: conditions, deadlines, ranges and times."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from .._rest import unquote_version
from ..clock import MAX_TTL, TTL, Until, system_clock
from ..errors import InvalidTTLError
from .answers import RequestRefusedError, invalid
from .exchange import Exchange

_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?")
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_TAGS = re.compile(r'(?:W/)?("[^"]*")')


_SHORTEST = 0.001


@dataclass(frozen=True, slots=True)
class Condition:
    """Condition of a write.

    Attributes:
        version: The version that the entry must have; None if it must be absent.
    """

    version: str | None


def condition_of(exchange: Exchange, *, absent: bool) -> Condition | None:
    """Return the condition of a write; None if it has none.

    Args:
        exchange: The request.
        absent: Whether `If-None-Match: *` is possible here.

    Raises:
        RequestRefusedError: The condition cannot be checked here.
    """
    match, none_match = exchange.headers.get("if-match"), exchange.headers.get("if-none-match")
    if match is None and none_match is None:
        return None
    if match is None and none_match == "*" and absent:
        return Condition(None)
    version = None if match is None or none_match is not None else unquote_version(match)
    if version is None:
        ways = 'If-Match: "version" or If-None-Match: *' if absent else 'If-Match: "version"'
        raise invalid(f"the condition of this request must be {ways}, with one version in quotes")
    return Condition(version)


def refuse_conditions(exchange: Exchange) -> None:
    """Raise if a request has a condition that would be overlooked."""
    if "if-match" in exchange.headers or "if-none-match" in exchange.headers:
        raise invalid("this request takes no condition; leave out If-Match and If-None-Match")


def is_known(exchange: Exchange, version: str) -> bool:
    """Return whether the client has this version already, as its `If-None-Match` says."""
    header = exchange.headers.get("if-none-match")
    if header is None:
        return False
    return header.strip() == "*" or version in [unquote_version(tag) for tag in _TAGS.findall(header)]


def ttl_of(exchange: Exchange) -> tuple[bool, TTL | None]:
    """Return whether a request says how long its entry lives, and the time to live; None for no expiry."""
    given, deadline = exchange.headers.get("satchel-ttl"), exchange.headers.get("satchel-expires-at")
    if given is not None and deadline is not None:
        raise invalid("send Satchel-TTL or Satchel-Expires-At, not both")
    if deadline is not None:
        return True, until(moment_of(deadline))
    if given is None:
        return False, None
    if given == "none":
        return True, None
    if not _NUMBER.fullmatch(given):
        raise InvalidTTLError("Satchel-TTL must be a decimal number of seconds above 0, or none")
    return True, float(given)


def moment_of(text: str) -> datetime:
    """Return a time in RFC 3339."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidTTLError("Satchel-Expires-At must be a time with an offset, such as 2030-01-31T12:00:00Z")
    return moment


def until(moment: datetime) -> TTL:
    """Return the time to live that ends at a moment; an entry whose moment has passed is absent at once."""
    try:
        deadline = moment.timestamp()
    except (OverflowError, ValueError):
        raise InvalidTTLError("the time at which an entry expires is out of range") from None
    return Until(min(max(deadline - system_clock(), _SHORTEST), MAX_TTL), deadline)


def timestamp(moment: datetime) -> str:
    """Return a time in RFC 3339, in UTC, with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def range_of(exchange: Exchange, size: int) -> tuple[int, int] | None:
    """Return the first byte asked for and the one after the last; None for the whole.

    Raises:
        RequestRefusedError: The range begins behind the end.
    """
    match = _RANGE.fullmatch(exchange.headers.get("range", ""))
    if match is None or "if-range" in exchange.headers or not (match[1] or match[2]):
        return None
    if not match[1]:
        first, end = max(0, size - int(match[2])), size
    else:
        first, end = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
        if match[2] and int(match[2]) < int(match[1]):
            return None
    if first >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise RequestRefusedError(416, "invalid_range", f"the range begins behind the end, at {size} bytes", headers)
    return first, end
