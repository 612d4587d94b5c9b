"""`Sessions`: sessions for the web, whose ids are made here and never taken from a client."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from .._checks import check_clock
from .._update import ATTEMPTS
from ..capability import Capability
from ..clock import MAX_TTL, TTL, Clock, seconds, system_clock
from ..codec import JsonCodec
from ..entry import Entry
from ..errors import ConflictError, IntegrityError, SessionGoneError
from ..names import MAX_NAME_BYTES, check_name
from ..protocol import AsyncKeyValue, require
from .records import MARK_SECONDS, EndedMark, MovedMark, SessionInfo, SessionLifetime, SessionRecord, record_of
from .session import USER, Session, StoredSession
from .users import UserIndex

_ID_BYTES = 32
_NONCE_BYTES = 32
_ID = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_HOPS = 16
"""Number of rotations that an old id is followed through."""

_JSON = JsonCodec()


class Sessions:
    """Store of the sessions of a web service; `SessionMiddleware` uses it, and the service asks it about users.

    The id of a session is 32 random bytes that only the visitor's cookie holds. Its key in the store is the SHA-256
    of the id, so that a copy of the database opens no session.

    ```python
    from satchel import MemoryStore
    from satchel.sessions import Sessions

    sessions = Sessions(MemoryStore())
    session = await sessions.create({"theme": "dark"}, user="ada", about={"browser": "Firefox"})
    loaded = await sessions.load(session.id)
    loaded["theme"] = "light"
    await sessions.save(loaded)                         # writes the one key that changed
    assert [info.about for info in await sessions.of_user("ada")] == [{"browser": "Firefox"}]
    assert await sessions.revoke_user("ada") == 1
    assert await sessions.load(session.id) is None
    ```

    * A session expires after `idle` seconds without use, and in any case `absolute` seconds after it began. A login
      begins a new session.
    * Two requests that change different top-level keys of one session at once both win.
    * A session that has ended is never written again: `save` raises SessionGoneError.
    * What a crash leaves behind at any point expires by itself. Nothing runs in the background.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        collection: The collection that holds the sessions; `collection/users` holds who has which.
        idle: Time without use after which a session expires, in seconds or as a `timedelta`; None for no such end.
        absolute: Time since it began after which a session expires however much it is used; None for no such end.
        clock: Returns the present as seconds since the Unix epoch.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError, InvalidTTLError: The collection or a time is not legal.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        *,
        collection: str = "sessions",
        idle: TTL | None = 1800,
        absolute: TTL | None = 1_209_600,
        clock: Clock = system_clock,
    ) -> None:
        self._store = require(store, Capability.CONDITIONAL)
        self._collection = check_name(collection, "collection", MAX_NAME_BYTES - len("/users"))
        check_clock(clock)
        self._lifetime = SessionLifetime(idle, absolute, clock)
        self._users = UserIndex(self._store, self._collection, self._lifetime)

    def __repr__(self) -> str:
        lifetime = f"idle={self._lifetime.idle}, absolute={self._lifetime.absolute}"
        return f"Sessions({self._store!r}, collection={self._collection!r}, {lifetime})"

    async def create(
        self, data: Mapping[str, Any] | None = None, *, user: str | int | None = None, about: Any = None
    ) -> Session:
        """Store a new session, and return it with its id.

        Args:
            data: What it holds at first.
            user: The id of the user who is logged in; it becomes `session["user"]`.
            about: What is to be shown of the client in `of_user`, such as the name of the browser.

        Raises:
            TypeError, InvalidKeyError: The data are no mapping, or the user is no `str` or `int` that can be a key.
            SerializationError: The data cannot be stored.
            SessionGoneError: The sessions of the user were revoked in the same moment.
        """
        if data is not None and not isinstance(data, Mapping):
            raise TypeError(f"the data of a session must be a mapping, got {type(data).__name__}")
        session = Session()
        session.update(data or {})
        if user is not None:
            session[USER] = user
        await self._create(session, about)
        return session

    async def load(self, id: str) -> Session | None:  # noqa: A002  # it is what the thing is called
        """Return the session of an id; None if there is none, or it has expired or was ended.

        One round trip, and a second when more than half of the idle time has passed and the session is renewed. An id
        that is not formed as one, as a client may send it, is not looked up.
        """
        _check_id(id)
        return await self._load(id, None)

    async def save(self, session: Session) -> None:
        """Write what was changed in a session, and carry out its `rotate()` and `end()`.

        Only the top-level keys that differ, at any depth, from what was loaded are written, onto what the store holds
        by now. An unchanged session costs nothing. One that is new and not empty is created; one whose last key was
        removed ends. One whose user changed gets a new id.

        Raises:
            SessionGoneError: It has expired, was ended or was revoked; nothing was written.
            TypeError, InvalidKeyError: `session["user"]` is no `str` or `int` that can be a key.
            SerializationError: The data cannot be stored.
            ConflictError: Other writers were faster every time.
        """
        stored = session._stored
        if stored is not None and (session._ending or (session._is_changed() and not dict.__len__(session))):
            await self.delete(stored.id)
            session._drop()
            stored = None
        if stored is None:
            session._ending = session._rotating = False
            if dict.__len__(session):
                await self._create(session, None)
        elif session._rotating or self._user_of(session) != stored.record.user:
            await self._replace(session)
        elif session._is_changed():
            await self._write(session, stored)

    async def rotate(self, session: Session, *, grace: TTL = 0) -> None:
        """Give a stored session a new id, and save it. A session that is not stored is only saved.

        Args:
            session: The session.
            grace: Time for which the old id leads to the new one, for requests that are under way. With 0, the old
                one ends at once and the new one is random, as a login needs it.

        Raises:
            InvalidTTLError: The grace is negative or no time.
            SessionGoneError: It has expired, was ended or was revoked.
            TypeError, InvalidKeyError: `session["user"]` is no `str` or `int` that can be a key.
            SerializationError: The data cannot be stored.
            ConflictError: Other writers were faster every time.
        """
        length = 0.0 if type(grace) in (int, float) and grace == 0 else float(seconds(grace, "grace"))
        before = session.id
        if not length:
            session._rotating = True
        await self.save(session)
        if length and session._stored is not None and session.id == before:
            await self._move(session, session._stored, length)

    async def delete(self, id: str) -> bool:  # noqa: A002  # it is what the thing is called
        """End the session of an id, a logout, and return whether there was one.

        A mark stays in its place for two minutes, so that no request that is under way brings it back.
        """
        _check_id(id)
        ended, first = False, True
        for _ in range(ATTEMPTS):
            if not _ID.fullmatch(id):
                return ended
            done, live, following = await self._end(id, expected=not first)
            ended |= live
            if following is None and done:
                return ended
            if done and following is not None:
                id, first = following, False  # noqa: A001  # the next one
        raise self._conflict("delete")

    async def info(self, id: str) -> SessionInfo | None:  # noqa: A002  # it is what the thing is called
        """Return what is known about the session of an id, without renewing it; None if there is none.

        An expired one is told for a minute. An id that was rotated is not followed.
        """
        _check_id(id)
        if not is_id(id):
            return None
        key = key_of(id)
        entry = await self._store.get_entry(self._collection, key)
        record = None if entry is None else record_of(entry)
        if entry is None or not isinstance(record, SessionRecord):
            return None
        return self._lifetime.info(key, entry, record)

    async def of_user(self, user: str | int) -> list[SessionInfo]:
        """Return what is known about each live session of a user, in two round trips."""
        keys = await self._users.listed(self._check_user(user))
        entries = await self._store.get_entries(self._collection, keys)
        return [
            self._lifetime.info(key, entry, record)
            for key, entry in entries.items()
            if (record := self._live(entry)) is not None and record.next is None
        ]

    async def revoke_user(self, user: str | int, *, but: str | None = None) -> int:
        """End the sessions of a user, as after a change of the password, and return how many there were.

        Args:
            user: The user.
            but: The id of a session that stays, such as that of the request.
        """
        name = self._check_user(user)
        if but is not None:
            _check_id(but)
        kept = None if but is None else await self.load(but)
        revoked = await self._users.new_epoch(name)
        if revoked is None:
            return 0
        epoch, keys = revoked
        if kept is not None and kept._stored is not None and await self._keep(kept._stored, name, epoch):
            keys = [key for key in keys if key != kept.key]
        entries = await self._store.get_entries(self._collection, keys)
        await self._store.put_many(self._collection, dict.fromkeys(keys, EndedMark().dump()), ttl=MARK_SECONDS)
        await self._users.remove(name, keys)
        records = map(self._live, entries.values())
        return sum(record is not None and record.next is None for record in records)

    async def _load(self, id: str, renew_after: float | None) -> Session | None:  # noqa: A002  # as in `load`
        stored = await self._find(id, renew_after)
        if stored is None:
            return None
        session = Session()
        session._adopt(stored)
        return session

    async def _find(self, id: str, renew_after: float | None = None) -> StoredSession | None:  # noqa: A002  # as in `load`
        """Return the session that an id leads to, with every rotation on the way finished."""
        following: str | None = id
        for _ in range(_MOST_HOPS):
            if following is None or not _ID.fullmatch(following):
                return None
            key = key_of(following)
            entry = await self._store.get_entry(self._collection, key)
            if entry is None:
                return None
            match record_of(entry):
                case EndedMark(next=nonce):
                    if nonce is not None:  # a logout that did not come to its end
                        await self.delete(following)
                    return None
                case MovedMark() as mark:
                    following = successor(following, mark.next) if mark.until > self._lifetime.clock() else None
                case SessionRecord() as record:
                    if self._lifetime.is_over(entry, record):
                        return None
                    if not isinstance(record.data, dict):
                        raise IntegrityError("an entry among the sessions was written by a SessionStore")
                    if record.next is None:
                        return await self._renewed(
                            StoredSession(following, key, record, entry.version), entry, renew_after
                        )
                    following = await self._finish(StoredSession(following, key, record, entry.version))
        return None

    async def _renewed(self, stored: StoredSession, entry: Entry, after: float | None) -> StoredSession | None:
        if not self._lifetime.is_due(entry, stored.record, after):
            return stored
        there = await self._store.touch(self._collection, stored.key, ttl=self._lifetime.ttl(stored.record))
        return stored._replace(renewed=True) if there else None

    async def _create(self, session: Session, about: Any) -> None:
        now = self._lifetime.clock()
        _check_data(session, about)
        record = SessionRecord(
            data=dict(dict.items(session)),
            created=now,
            rotated=now,
            idle=self._lifetime.idle,
            user=self._user_of(session),
            about=about,
        )
        stored = await self._publish(new_id(), record)
        if stored is None:
            raise SessionGoneError("the sessions of the user were revoked while this one was created")
        session._adopt(stored)

    async def _publish(self, id: str, record: SessionRecord) -> StoredSession | None:  # noqa: A002  # as in `load`
        """Store a session under an id; None if it is over already, or its user's sessions were revoked meanwhile.

        It is listed first, so that a revocation finds it; then written; then the epoch is looked at again.
        """
        key, user = key_of(id), record.user
        if user is not None:
            epoch = await self._users.add(user, key, record.epoch)
            if epoch is None:
                await self._withdraw(key, record.epoch)
                return None
            record = msgspec.structs.replace(record, epoch=epoch)
        version = await self._store.put_if_absent(self._collection, key, record.dump(), ttl=self._lifetime.ttl(record))
        if user is not None and await self._users.epoch(user) != record.epoch:
            await self._withdraw(key, record.epoch)
            return None
        if version is None:  # another request that finishes the same rotation was first
            return await self._find(id)
        return StoredSession(id, key, record, version)

    async def _write(self, session: Session, stored: StoredSession) -> None:
        changed, removed = session._changes()
        _check_data(changed)
        for _ in range(ATTEMPTS):
            record = _merged(stored.record, changed, removed)
            version = await self._replace_record(stored, record)
            if version is not None:
                session._adopt(StoredSession(stored.id, stored.key, record, version))
                return
            stored = await self._current(stored)
        raise self._conflict("save")

    async def _replace(self, session: Session) -> None:
        """Give a session a random new id, and end the old one: of two that do so at once, one wins."""
        stored = session._stored
        assert stored is not None  # noqa: S101  # only stored sessions come here
        changed, removed = session._changes()
        _check_data(changed)
        user = self._user_of(session)
        for _ in range(ATTEMPTS):
            before = stored.record
            same, now = user == before.user, self._lifetime.clock()
            record = msgspec.structs.replace(
                _merged(before, changed, removed),
                user=user,
                created=before.created if same else now,
                rotated=now,
                epoch=before.epoch if same else None,
            )
            new = await self._publish(new_id(), record)
            if new is None:
                raise self._gone()
            ended = await self._store.compare_and_put(
                self._collection, stored.key, EndedMark().dump(), version=stored.version, ttl=MARK_SECONDS
            )
            if ended is not None:
                await self._unlist(before.user, stored.key)
                session._rotating = False
                session._adopt(new)
                return
            await self._store.put(self._collection, new.key, EndedMark().dump(), ttl=MARK_SECONDS)
            await self._unlist(user, new.key)
            stored = await self._current(stored)
        raise self._conflict("rotate")

    async def _move(self, session: Session, stored: StoredSession, grace: float) -> None:
        """Begin a rotation and finish it: all requests that see its nonce compute the same new id."""
        for _ in range(ATTEMPTS):
            nonce = secrets.token_hex(_NONCE_BYTES)
            await self._replace_record(stored, msgspec.structs.replace(stored.record, next=nonce, grace=grace))
            following = await self._current(stored)  # of this request or a faster one: it is finished here
            if following.id != stored.id:
                session._adopt(following)
                return
            stored = following
        raise self._conflict("rotate")

    async def _finish(self, stored: StoredSession) -> str | None:
        """Bring a rotation to its end, as everybody does who meets one, and return the new id; None if it is over."""
        record = stored.record
        following = successor(stored.id, record.next or "")
        new = msgspec.structs.replace(record, next=None, grace=None, rotated=self._lifetime.clock())
        if await self._publish(following, new) is None:
            return None
        grace = record.grace or 0.0
        mark = MovedMark(next=record.next or "", until=self._lifetime.clock() + grace)
        moved = await self._store.compare_and_put(
            self._collection, stored.key, mark.dump(), version=stored.version, ttl=min(grace + MARK_SECONDS, MAX_TTL)
        )
        if moved is not None:
            await self._unlist(record.user, stored.key)
        return following

    async def _end(self, id: str, *, expected: bool) -> tuple[bool, bool, str | None]:  # noqa: A002  # as in `load`
        """Put the mark of an ended session in the place of one.

        Args:
            id: Its id.
            expected: A rotation may be about to write it.

        Returns:
            Whether it is done, or another writer was faster; whether a live session was ended; the id that follows.
        """
        key, put = key_of(id), EndedMark().dump()
        entry = await self._store.get_entry(self._collection, key)
        if entry is None:
            done = not expected or await self._store.put_if_absent(self._collection, key, put, ttl=MARK_SECONDS)
            return bool(done), False, None
        record = record_of(entry)
        if isinstance(record, MovedMark) and record.until <= self._lifetime.clock() and not expected:
            return True, False, None
        following = None if record.next is None else successor(id, record.next)
        if isinstance(record, EndedMark):
            return True, False, following
        mark = EndedMark(next=record.next).dump()
        if (
            await self._store.compare_and_put(self._collection, key, mark, version=entry.version, ttl=MARK_SECONDS)
            is None
        ):
            return False, False, None
        if isinstance(record, MovedMark):
            return True, False, following
        await self._unlist(record.user, key)
        return True, not self._lifetime.is_over(entry, record), following

    async def _keep(self, stored: StoredSession, user: str, epoch: str) -> bool:
        """Let a session of a user outlive a revocation, and return whether it did."""
        for _ in range(ATTEMPTS):
            if stored.record.user != user:
                return False
            record = msgspec.structs.replace(stored.record, epoch=epoch)
            if await self._replace_record(stored, record) is not None:
                return True
            entry = await self._store.get_entry(self._collection, stored.key)
            live = self._live(entry)
            if entry is None or live is None:
                return False
            stored = stored._replace(record=live, version=entry.version)
        raise self._conflict("revoke_user")

    async def _current(self, stored: StoredSession) -> StoredSession:
        current = await self._find(stored.id)
        if current is None:
            raise self._gone()
        return current

    async def _replace_record(self, stored: StoredSession, record: SessionRecord) -> str | None:
        return await self._store.compare_and_put(
            self._collection, stored.key, record.dump(), version=stored.version, ttl=self._lifetime.ttl(record)
        )

    async def _withdraw(self, key: str, epoch: str | None) -> None:
        """End a session of an epoch that is over, written or not; one that a revocation let live has another epoch."""
        mark = EndedMark().dump()
        for _ in range(ATTEMPTS):
            entry = await self._store.get_entry(self._collection, key)
            if entry is None:
                done = await self._store.put_if_absent(self._collection, key, mark, ttl=MARK_SECONDS)
            else:
                record = record_of(entry)
                if not isinstance(record, SessionRecord) or record.epoch != epoch:
                    return
                done = await self._store.compare_and_put(
                    self._collection, key, mark, version=entry.version, ttl=MARK_SECONDS
                )
            if done is not None:
                return
        raise self._conflict("save")

    async def _unlist(self, user: str | None, key: str) -> None:
        if user is not None:
            await self._users.remove(user, [key])

    def _live(self, entry: Entry | None) -> SessionRecord | None:
        record = None if entry is None else record_of(entry)
        if entry is None or not isinstance(record, SessionRecord) or self._lifetime.is_over(entry, record):
            return None
        return record

    def _user_of(self, session: Session) -> str | None:
        user = dict.get(session, USER)
        return None if user is None else self._check_user(user)

    def _check_user(self, user: object) -> str:
        if not isinstance(user, (str, int)) or isinstance(user, bool):
            raise TypeError(
                f"session[{USER!r}] must be the id of a user, a str or int, got {type(user).__name__}; "
                "keep what else belongs to the user under another key"
            )
        return check_name(str(user), "user", self._store.max_key_bytes)

    def _gone(self) -> SessionGoneError:
        return SessionGoneError("the session has expired, was ended or was revoked; nothing was written")

    def _conflict(self, operation: str) -> ConflictError:
        return ConflictError(
            f"{operation} of a session: others wrote it first, {ATTEMPTS} times in a row",
            store=repr(self._store),
            operation=operation,
            collection=self._collection,
        )


def new_id() -> str:
    """Return a random id."""
    return secrets.token_urlsafe(_ID_BYTES)


def is_id(text: str) -> bool:
    """Return whether a text is formed as an id."""
    return _ID.fullmatch(text) is not None


def key_of(id: str) -> str:  # noqa: A002  # it is what the thing is called
    """Return the key of the session of an id."""
    return hashlib.sha256(id.encode("ascii")).hexdigest()


def successor(id: str, nonce: str) -> str:  # noqa: A002  # it is what the thing is called
    """Return the id that follows one by a rotation: only who has the old id can compute it."""
    digest = hmac.digest(id.encode("ascii"), nonce.encode("ascii"), "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _merged(record: SessionRecord, changed: Mapping[str, Any], removed: set[str]) -> SessionRecord:
    data = {key: value for key, value in record.data.items() if key not in removed}
    return msgspec.structs.replace(record, data={**data, **changed}, count=record.count + 1)


def _check_id(id: object) -> None:  # noqa: A002  # it is what the thing is called
    if not isinstance(id, str):
        raise TypeError(f"the id of a session must be a str, got {type(id).__name__}")


def _check_data(data: Mapping[str, Any], about: Any = None) -> None:
    """Raise SerializationError, before anything is written, unless data are JSON; large ones are left to the store."""
    _JSON.encode_if_small({"data": dict(data), "about": about})
