"""`SessionStore`: sessions under keys that the caller chooses, with expiry, locks and information."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self

import msgspec

from .._batches import paged
from .._checks import check_clock
from .._shielding import shielded
from .._update import check_plain, optimistic_update, plain_result
from ..capability import Capability
from ..clock import TTL, Clock, seconds, system_clock
from ..entry import Entry
from ..errors import InvalidTTLError, LockLostError, SessionGoneError, SessionLockedError, StoreError
from ..names import check_name
from ..protocol import AsyncKeyValue, require
from .records import LockRecord, SessionInfo, SessionLifetime, SessionRecord, record_of

_OWNER_BYTES = 16

logger = logging.getLogger("satchel")


class SessionStore:
    """Store of sessions under keys that the caller chooses, such as conversations, wizards or devices.

    A session expires after `idle` seconds without use, and in any case `absolute` seconds after it began. Reading one
    is use: it takes one round trip, and a second one when more than half of the idle time has passed and the session
    is renewed.

    ```python
    from satchel import MemoryStore
    from satchel.sessions import SessionStore

    chats = SessionStore(MemoryStore(), idle=1800)
    await chats.put("chat-17", {"turns": []})
    await chats.update("chat-17", lambda chat: {"turns": [*chat["turns"], "hello"]})
    assert await chats.get("chat-17") == {"turns": ["hello"]}
    assert (await chats.info("chat-17")).count == 2

    async with chats.lock("chat-17", 10) as lock:       # everybody else gets SessionLockedError
        await chats.put("chat-17", {"turns": []}, owner=lock.owner)
    ```

    * Nothing runs in the background: expired sessions are reclaimed by the store.
    * Keys are not secret: they appear in the store and in its errors. For sessions whose key is a cookie, use
      `Sessions`.
    * Every write is conditional on what was read, so that no change is lost.
    * Clocks of several hosts are compared: a session may end, and a lock lapse, as much earlier or later as they
      differ. A lock that lapsed can in no case be used to write once another owner or writer has come.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        collection: The collection that holds the sessions.
        idle: Time without use after which a session expires, in seconds or as a `timedelta`; None for no such end.
        absolute: Time since it began after which a session expires however much it is used; None for no such end.
        max_lock: The longest time for which a lock holds without being renewed.
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
        max_lock: TTL = 30,
        clock: Clock = system_clock,
    ) -> None:
        self._store = require(store, Capability.CONDITIONAL)
        self._collection = check_name(collection, "collection")
        check_clock(clock)
        self._lifetime = SessionLifetime(idle, absolute, clock)
        self._max_lock = float(seconds(max_lock, "max_lock"))

    def __repr__(self) -> str:
        lifetime = f"idle={self._lifetime.idle}, absolute={self._lifetime.absolute}"
        return f"SessionStore({self._store!r}, collection={self._collection!r}, {lifetime})"

    async def get(self, key: str, default: Any = None, *, owner: str | None = None) -> Any:
        """Return the data of a session, or the default when there is none or it has expired.

        Args:
            key: The key of the session.
            default: What to return when there is none.
            owner: The owner of a lock on it.

        Raises:
            SessionLockedError: Another owner has locked it.
            LockLostError: An owner was given whose lock does not hold any more.
        """
        _check_owner_type(owner)
        found = await self._read(key)
        self._check_owner(found, owner)
        if found is None:
            return default
        entry, record = found
        if self._lifetime.is_due(entry, record):
            await self._store.touch(self._collection, key, ttl=self._lifetime.ttl(record))
        return record.data

    async def put(self, key: str, value: object, *, ttl: TTL | None = None, owner: str | None = None) -> None:
        """Store the data of a session, which begins now if there is none under this key.

        Args:
            key: The key of the session.
            value: Any value that the store takes at a level below the top: no bytes.
            ttl: Time without use after which this session expires; None leaves it as it is, and is `idle` at first.
            owner: The owner of a lock on it.

        Raises:
            SessionLockedError: Another owner has locked it.
            LockLostError: An owner was given whose lock does not hold any more.
        """
        idle = None if ttl is None else float(seconds(ttl))

        def change(record: SessionRecord | None) -> SessionRecord:
            if record is None:
                now = self._lifetime.clock()
                return SessionRecord(data=value, created=now, idle=self._lifetime.idle if idle is None else idle)
            return msgspec.structs.replace(
                record, data=value, count=record.count + 1, idle=record.idle if idle is None else idle
            )

        await self._change(key, change, owner)

    async def update(self, key: str, change: Callable[[Any], Any], *, owner: str | None = None) -> Any:
        """Replace the data of a session by what a function makes of it, and return that; no change is lost.

        Args:
            key: The key of the session.
            change: A plain function that takes the data and returns the new one. It may be called several times.
            owner: The owner of a lock on the session.

        Raises:
            SessionGoneError: There is no such session, or it has expired.
            SessionLockedError: Another owner has locked it.
            LockLostError: An owner was given whose lock does not hold any more.
            ConflictError: Other writers were faster every time.
        """
        check_plain(change)

        def apply(record: SessionRecord | None) -> SessionRecord:
            if record is None:
                raise self._gone()
            return msgspec.structs.replace(record, data=plain_result(change(record.data)), count=record.count + 1)

        return (await self._change(key, apply, owner)).data

    async def delete(self, key: str, *, owner: str | None = None) -> bool:
        """Remove a session, and return whether there was one.

        Raises:
            SessionLockedError: Another owner has locked it.
            LockLostError: An owner was given whose lock does not hold any more.
        """
        _check_owner_type(owner)
        while True:
            found = await self._read(key)
            self._check_owner(found, owner)
            if found is None:
                return False
            if await self._store.compare_and_delete(self._collection, key, version=found[0].version):
                return True

    def lock(self, key: str, duration: TTL | None = None) -> SessionLock:
        """Return a context manager that locks a session: everybody else's calls raise SessionLockedError meanwhile.

        It does not wait. It holds until the block ends, and lapses after `duration` unless it is renewed.

        Args:
            key: The key of the session.
            duration: Time for which it holds without being renewed; `max_lock` if None, and no more than that.

        Raises:
            InvalidTTLError: The duration is not a time to live, or longer than `max_lock`.
            SessionGoneError: When the block is entered, if there is no such session.
            SessionLockedError: When the block is entered, if another owner has locked it.
        """
        check_name(key, "key", self._store.max_key_bytes)
        length = self._max_lock if duration is None else float(seconds(duration, "duration"))
        if length > self._max_lock:
            raise InvalidTTLError(f"a lock may hold for max_lock, {self._max_lock:g} s, without renewal, not longer")
        return SessionLock(self, key, length)

    async def info(self, key: str) -> SessionInfo | None:
        """Return what is known about a session, without renewing it; None if there is none.

        One that has expired is told for a minute; one that is locked is told to everybody.
        """
        entry = await self._store.get_entry(self._collection, key)
        record = None if entry is None else record_of(entry)
        if entry is None or not isinstance(record, SessionRecord):
            return None
        return self._lifetime.info(key, entry, record)

    def keys(self) -> AsyncIterator[str]:
        """Iterate over the keys of all sessions that have not expired.

        Raises:
            UnsupportedOperationError: At the call, if the store does not enumerate keys.
        """
        found = self._found()
        return (key async for key, _ in found)

    def values(self) -> AsyncIterator[Any]:
        """Iterate over the data of all sessions that have not expired, also of locked ones.

        Raises:
            UnsupportedOperationError: At the call, if the store does not enumerate keys.
        """
        found = self._found()
        return (record.data async for _, record in found)

    def items(self) -> AsyncIterator[tuple[str, Any]]:
        """Iterate over keys and data of all sessions that have not expired, also of locked ones; none is renewed.

        Raises:
            UnsupportedOperationError: At the call, if the store does not enumerate keys.
        """
        found = self._found()
        return ((key, record.data) async for key, record in found)

    async def clear(self) -> int:
        """Remove all sessions, locked ones too, and return how many there were, with those that had just expired.

        Raises:
            UnsupportedOperationError: The store does not enumerate keys.
        """
        return sum([await self._store.delete_many(self._collection, page) async for page in self._pages()])

    def _pages(self) -> AsyncIterator[list[str]]:
        return paged(require(self._store, Capability.ENUMERATE_KEYS).keys(self._collection))

    def _found(self) -> AsyncIterator[tuple[str, SessionRecord]]:
        return self._read_pages(self._pages())

    async def _read_pages(self, pages: AsyncIterator[list[str]]) -> AsyncIterator[tuple[str, SessionRecord]]:
        async for page in pages:
            for key, entry in (await self._store.get_entries(self._collection, page)).items():
                record = self._live(entry)
                if record is not None:
                    yield key, record

    async def _read(self, key: str) -> tuple[Entry, SessionRecord] | None:
        entry = await self._store.get_entry(self._collection, key)
        record = self._live(entry)
        return None if entry is None or record is None else (entry, record)

    def _live(self, entry: Entry | None) -> SessionRecord | None:
        record = None if entry is None else record_of(entry)
        if entry is None or not isinstance(record, SessionRecord) or self._lifetime.is_over(entry, record):
            return None
        return record

    async def _change(
        self, key: str, change: Callable[[SessionRecord | None], SessionRecord], owner: str | None
    ) -> SessionRecord:
        _check_owner_type(owner)
        check_name(key, "key")

        async def attempt(entry: Entry | None) -> tuple[object, TTL | None, SessionRecord]:
            before = self._live(entry)
            self._check_owner(None if entry is None or before is None else (entry, before), owner)
            record = change(before)
            if record.lock is not None and not self._lifetime.is_locked(record):
                record = msgspec.structs.replace(record, lock=None)  # its owner can never come back
            return record.dump(), self._lifetime.ttl(record), record

        return await optimistic_update(self._store, self._collection, key, attempt)

    def _check_owner(self, found: tuple[Entry, SessionRecord] | None, owner: str | None) -> None:
        lock = found[1].lock if found is not None and self._lifetime.is_locked(found[1]) else None
        if owner is not None:
            if lock is None or not secrets.compare_digest(lock.owner.encode(), owner.encode()):
                raise LockLostError("the lock on a session was lost: it lapsed, was released, or the session ended")
        elif lock is not None:
            raise SessionLockedError("the session is locked by another owner; try again later")

    def _gone(self) -> SessionGoneError:
        return SessionGoneError(f"there is no such session in collection {self._collection!r}, or it has expired")

    async def _acquire(self, key: str, owner: str, length: float) -> None:
        def take(record: SessionRecord | None) -> SessionRecord:
            if record is None:
                raise self._gone()
            return self._with_lock(record, owner, length)

        await self._change(key, take, None)

    async def _renew(self, key: str, owner: str, length: float) -> None:
        def renew(record: SessionRecord | None) -> SessionRecord:
            if record is None:
                raise self._gone()
            return self._with_lock(record, owner, length)

        await self._change(key, renew, owner)

    async def _release(self, key: str, owner: str) -> None:
        def release(record: SessionRecord | None) -> SessionRecord:
            if record is None:
                raise self._gone()
            return msgspec.structs.replace(record, lock=None)

        await self._change(key, release, owner)

    def _with_lock(self, record: SessionRecord, owner: str, length: float) -> SessionRecord:
        return msgspec.structs.replace(record, lock=LockRecord(owner, self._lifetime.clock() + length))


class SessionLock:
    """Lock on a session, held within an `async with` block; `SessionStore.lock` makes it.

    Attributes:
        owner: Names the holder; calls on the session pass it as `owner=`. A new one each time the block is entered.
    """

    def __init__(self, sessions: SessionStore, key: str, length: float) -> None:
        self._sessions, self._key, self._length = sessions, key, length
        self.owner = ""
        self._released = True

    def __repr__(self) -> str:
        return f"SessionLock({self._sessions!r}, {self._length:g} s)"

    async def __aenter__(self) -> Self:
        if not self._released:
            raise RuntimeError("this lock is held already; sessions.lock(...) makes another one")
        owner = secrets.token_hex(_OWNER_BYTES)
        await self._sessions._acquire(self._key, owner, self._length)
        self.owner, self._released = owner, False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._released:
            return
        try:
            await shielded(self.release, self._not_released)
        except StoreError as failure:
            self._not_released(failure)
        except LockLostError:
            if kind is None and await self._sessions.info(self._key) is not None:
                raise  # a session that its owner deleted has nothing to unlock
        finally:
            self._released = True

    async def renew(self) -> None:
        """Let the lock hold for its duration from now.

        Raises:
            LockLostError: It has lapsed, was released, or the session has ended.
            StoreError: The store failed.
        """
        await self._sessions._renew(self._key, self.owner, self._length)

    async def release(self) -> None:
        """Unlock the session before the block ends.

        Raises:
            LockLostError: It has lapsed, was released, or the session has ended.
            StoreError: The store failed; the lock lapses.
        """
        await self._sessions._release(self._key, self.owner)
        self._released = True

    def _not_released(self, error: Exception) -> None:
        logger.warning("a lock on a session of %r was not released, and will lapse: %s", self._sessions, error)


def _check_owner_type(owner: object) -> None:
    if owner is not None and not isinstance(owner, str):
        raise TypeError(f"owner must be the owner of a lock, a str, got {type(owner).__name__}")
