"""`UserIndex`: which sessions a user has, and the epoch that a revocation changes."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable

import msgspec

from .._update import optimistic_update
from ..clock import MAX_TTL, TTL
from ..entry import Entry
from ..errors import IntegrityError
from ..protocol import SupportsConditional
from .records import FORMAT, KEPT_SECONDS, SessionLifetime, SessionRecord, record_of

_EPOCH_BYTES = 16
_SETTLED_SECONDS = 3600.0
"""Age from which a listed session that is not there is known to be gone, and not just about to be written."""
_LOOKED_AT = 2


class UserRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Entry of one user.

    Attributes:
        epoch: Random text, new with each revocation.
        sessions: When each session was listed, in seconds since the Unix epoch, by its key.
    """

    epoch: str
    sessions: dict[str, float]


class _IndexUnchangedError(Exception):
    """The entry is left as it is."""


class UserIndex:
    """Index of the sessions of each user.

    A session is listed before it is written, so that a revocation finds it. The writer notes the epoch when it lists
    one, and looks at it again after the session is written: a revocation in between has changed it, and the session is
    withdrawn.

    Args:
        store: The store.
        collection: The collection of the sessions; the users are in `collection/users`.
        lifetime: The length of sessions.
    """

    def __init__(self, store: SupportsConditional, collection: str, lifetime: SessionLifetime) -> None:
        self._store, self._sessions, self._lifetime = store, collection, lifetime
        self._collection = f"{collection}/users"

    async def add(self, user: str, key: str, epoch: str | None) -> str | None:
        """List a session, and return the epoch; None, and nothing is listed, if it is not the one expected.

        Args:
            user: The user.
            key: The key of the session.
            epoch: The epoch expected; None for any.
        """

        async def change(entry: Entry | None) -> tuple[object, TTL | None, str]:
            found = _record_of(entry)
            if epoch is not None and (found is None or found.epoch != epoch):
                raise _IndexUnchangedError
            sessions = {} if found is None else dict(found.sessions)
            for gone in await self._gone(sessions):
                del sessions[gone]
            sessions.setdefault(key, self._lifetime.clock())
            present = secrets.token_hex(_EPOCH_BYTES) if found is None else found.epoch
            return self._value(present, sessions), self._ttl(), present

        try:
            return await optimistic_update(self._store, self._collection, user, change)
        except _IndexUnchangedError:
            return None

    async def epoch(self, user: str) -> str | None:
        """Return the epoch of a user, None if nothing is known of the user."""
        found = _record_of(await self._store.get_entry(self._collection, user))
        return None if found is None else found.epoch

    async def listed(self, user: str) -> list[str]:
        """Return the keys of the sessions listed, some of which may be over."""
        found = _record_of(await self._store.get_entry(self._collection, user))
        return [] if found is None else list(found.sessions)

    async def new_epoch(self, user: str) -> tuple[str, list[str]] | None:
        """Change the epoch, and return it with the keys of the sessions listed then; None if there is no such user."""

        def change(found: UserRecord) -> UserRecord:
            return UserRecord(epoch=secrets.token_hex(_EPOCH_BYTES), sessions=found.sessions)

        found = await self._change(user, change)
        return None if found is None else (found.epoch, list(found.sessions))

    async def remove(self, user: str, keys: Iterable[str]) -> None:
        """Take sessions from the list."""
        gone = set(keys)

        def change(found: UserRecord) -> UserRecord:
            if not gone & found.sessions.keys():
                raise _IndexUnchangedError
            left = {key: since for key, since in found.sessions.items() if key not in gone}
            return UserRecord(epoch=found.epoch, sessions=left)

        await self._change(user, change)

    async def _change(self, user: str, change: Callable[[UserRecord], UserRecord]) -> UserRecord | None:
        async def attempt(entry: Entry | None) -> tuple[object, TTL | None, UserRecord]:
            found = _record_of(entry)
            if found is None:
                raise _IndexUnchangedError
            changed = change(found)
            return self._value(changed.epoch, changed.sessions), self._ttl(), changed

        try:
            return await optimistic_update(self._store, self._collection, user, attempt)
        except _IndexUnchangedError:
            return None

    async def _gone(self, sessions: dict[str, float]) -> list[str]:
        """Return which of a few sessions that were listed long ago are over."""
        settled = [key for key, since in sessions.items() if since <= self._lifetime.clock() - _SETTLED_SECONDS]
        if not settled:
            return []
        looked_at = random.sample(settled, min(_LOOKED_AT, len(settled)))
        entries = await self._store.get_entries(self._sessions, looked_at)
        return [key for key in looked_at if not self._is_live(entries.get(key))]

    def _is_live(self, entry: Entry | None) -> bool:
        record = None if entry is None else record_of(entry)
        return entry is not None and isinstance(record, SessionRecord) and not self._lifetime.is_over(entry, record)

    def _ttl(self) -> float | None:
        """Return a time after which all that is listed now is over."""
        absolute = self._lifetime.absolute
        return None if absolute is None else min(absolute + KEPT_SECONDS + _SETTLED_SECONDS, MAX_TTL)

    def _value(self, epoch: str, sessions: dict[str, float]) -> object:
        return {"format": FORMAT, "epoch": epoch, "sessions": sessions}


def _record_of(entry: Entry | None) -> UserRecord | None:
    if entry is None:
        return None
    if isinstance(entry.value, dict) and entry.value.get("format") == FORMAT:
        try:
            return msgspec.convert(entry.value, UserRecord)
        except msgspec.ValidationError:
            pass  # its message could hold a value
    raise IntegrityError("the entry of a user's sessions is not one that this release of satchel wrote")
