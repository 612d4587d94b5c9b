"""What sessions look like in a store, and how long they live."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ..clock import MAX_TTL, TTL, Clock, as_datetime, seconds
from ..entry import Entry
from ..errors import IntegrityError

KEPT_SECONDS = 60.0
"""Seconds for which the entry of an expired session stays, so that its status can be told."""
MARK_SECONDS = 120.0
"""Seconds for which the mark of an ended or rotated session stays: longer than any request to a store takes."""
FORMAT = 1
_LEAST_GAIN = 0.01


class LockRecord(msgspec.Struct, frozen=True):
    """Lock within the record of a session.

    Attributes:
        owner: Random text that names the acquisition.
        until: When it lapses, in seconds since the Unix epoch.
    """

    owner: str
    until: float


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Session as it is stored. A field that is None is left out.

    Attributes:
        data: What the application keeps.
        created: When it began, in seconds since the Unix epoch.
        count: Number of times that it was written.
        idle: Seconds without use after which it expires; None for never.
        lock: The lock of a `SessionStore`.
        user: The user, as `session["user"]` names it.
        epoch: Names the span between two revocations of the user's sessions in which it was created.
        about: What the application noted about the client.
        rotated: When its id was made, in seconds since the Unix epoch.
        next: Hexadecimal nonce from which the next id is made; a rotation is under way.
        grace: Seconds for which the present id stays valid beside the next one.
    """

    data: Any
    created: float
    count: int = 1
    idle: float | None = None
    lock: LockRecord | None = None
    user: str | None = None
    epoch: str | None = None
    about: Any = None
    rotated: float | None = None
    next: str | None = None
    grace: float | None = None

    def dump(self) -> dict[str, Any]:
        """Return the value to store."""
        value: dict[str, Any] = {"format": FORMAT}
        for name in self.__struct_fields__:
            part = getattr(self, name)
            if part is not None or name == "data":
                value[name] = {"owner": part.owner, "until": part.until} if isinstance(part, LockRecord) else part
        return value


class EndedMark(msgspec.Struct, frozen=True, kw_only=True):
    """What stays of a session that was ended.

    Attributes:
        next: The nonce of a rotation that was under way.
    """

    next: str | None = None

    def dump(self) -> dict[str, Any]:
        """Return the value to store."""
        ended = {"format": FORMAT, "ended": True}
        return ended if self.next is None else {**ended, "next": self.next}


class MovedMark(msgspec.Struct, frozen=True, kw_only=True):
    """What stays under an id that was rotated.

    Attributes:
        next: Hexadecimal nonce from which the next id is made.
        until: When the old id stops leading to the next one, in seconds since the Unix epoch.
    """

    next: str
    until: float

    def dump(self) -> dict[str, Any]:
        """Return the value to store."""
        return {"format": FORMAT, "moved": True, "next": self.next, "until": self.until}


def record_of(entry: Entry) -> SessionRecord | EndedMark | MovedMark:
    """Return what an entry of the collection of sessions is.

    Raises:
        IntegrityError: No session store wrote it, or a later release did.
    """
    value = entry.value
    if isinstance(value, dict) and value.get("format") == FORMAT:
        kind: type[SessionRecord | EndedMark | MovedMark] = SessionRecord
        if value.get("ended") is True:
            kind = EndedMark
        elif value.get("moved") is True:
            kind = MovedMark
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            pass  # its message could hold a value
    raise IntegrityError("an entry among the sessions is not one that this release of satchel wrote")


class SessionStatus(StrEnum):
    """State of a session."""

    ACTIVE = "active"
    LOCKED = "locked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What is known about a session besides its data.

    Attributes:
        key: The key of the session in its store; of a web session the SHA-256 of its id, which opens nothing.
        created_at: When it began, an aware UTC datetime.
        last_seen: When it was last written or renewed, an aware UTC datetime. A session that is only read is renewed
            once half of its idle time has passed, so it may have been in use later than this.
        count: Number of times that it was written.
        status: ACTIVE, LOCKED or EXPIRED. An expired session is seen for a minute after its end.
        locked_until: When its lock lapses, an aware UTC datetime; None while it is not locked.
        about: What was given as `about=` when it was created.
    """

    key: str
    created_at: datetime
    last_seen: datetime
    count: int
    status: SessionStatus
    locked_until: datetime | None = None
    about: Any = None

    def __repr__(self) -> str:
        return f"SessionInfo(status={self.status.value}, created_at={self.created_at}, last_seen={self.last_seen})"


class SessionLifetime:
    """Length of sessions: a time without use, and a time since they began; the earlier end holds.

    Args:
        idle: Time without use, in seconds or as a `timedelta`; None for no such end.
        absolute: Time since it began, in seconds or as a `timedelta`; None for no such end.
        clock: Returns the present as seconds since the Unix epoch.

    Raises:
        InvalidTTLError: A time is not above 0 and at most 100 years.
    """

    def __init__(self, idle: TTL | None, absolute: TTL | None, clock: Clock) -> None:
        self.idle = None if idle is None else float(seconds(idle, "idle"))
        self.absolute = None if absolute is None else float(seconds(absolute, "absolute"))
        self.clock = clock

    def length(self, record: SessionRecord) -> float | None:
        """Return the seconds that a session lives if it is used now; None if it has no end, 0 or less after it."""
        if self.absolute is None:
            return record.idle
        left = min(record.created - self.clock(), 0.0) + self.absolute
        return left if record.idle is None else min(record.idle, left)

    def ttl(self, record: SessionRecord) -> float | None:
        """Return the time to live of the entry of a session that is used now."""
        length = self.length(record)
        return None if length is None else min(max(length, 0.0) + KEPT_SECONDS, MAX_TTL)

    def left(self, entry: Entry, record: SessionRecord) -> float | None:
        """Return the seconds that a session lives on if it is not used; None if it has no end, 0 or less after it."""
        length = self.length(record)
        if entry.ttl is None:
            return length
        idle = entry.ttl - KEPT_SECONDS
        return idle if length is None else min(idle, length)

    def is_over(self, entry: Entry, record: SessionRecord) -> bool:
        """Return whether a session has expired."""
        left = self.left(entry, record)
        return left is not None and left <= 0

    def is_due(self, entry: Entry, record: SessionRecord, after: float | None = None) -> bool:
        """Return whether a session that is in use is to be renewed: once half of its idle time has passed.

        Args:
            entry: Its entry.
            record: Its record.
            after: Seconds without renewal after which it is due even earlier.
        """
        length, left = self.length(record), self.left(entry, record)
        if length is None or left is None or record.idle is None:
            return False
        half = record.idle / 2
        unused = record.idle - left >= (half if after is None else min(after, half))
        return unused and length - left > record.idle * _LEAST_GAIN  # just before the absolute end there is none

    def is_locked(self, record: SessionRecord) -> bool:
        """Return whether the lock of a session holds."""
        return record.lock is not None and record.lock.until > self.clock()

    def info(self, key: str, entry: Entry, record: SessionRecord) -> SessionInfo:
        """Return what is known about a session."""
        seen = entry.updated_at
        if entry.expires_at is not None and record.idle is not None:
            seen = max(seen, as_datetime(entry.expires_at.timestamp() - KEPT_SECONDS - record.idle))
        locked = record.lock if self.is_locked(record) else None
        over = self.is_over(entry, record)
        return SessionInfo(
            key=key,
            created_at=as_datetime(record.created),
            last_seen=seen,
            count=record.count,
            status=SessionStatus.EXPIRED if over else SessionStatus.LOCKED if locked else SessionStatus.ACTIVE,
            locked_until=None if locked is None or over else as_datetime(locked.until),
            about=record.about,
        )
