"""`NATSStore`: entries in a key-value bucket of NATS JetStream (`nats://host/bucket`)."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing

import msgspec

from ...backend.base import ChangeResult, Condition, ReadResult, WriteResult
from ...backend.keyed import KeyedStore
from ...backend.network import DEFAULT_TIMEOUT, check_one_way, check_texts
from ...backend.record import Record
from ...backend.watching import Feed
from ...capability import Capability
from ...clock import Clock, system_clock
from ...codec import Codec
from ...errors import (
    ConfigurationError,
    ConflictError,
    IntegrityError,
    SatchelError,
    UnsupportedOperationError,
    missing_extra,
    safe_repr,
)
from ...names import Ref

try:
    from nats.aio.client import Client
    from nats.errors import MaxPayloadError
except ModuleNotFoundError as error:
    raise missing_extra("NATSStore", "nats", error) from error

from .bucket import Bucket, Found
from .connection import Connection, check_client, read_url
from .errors import too_large, translate
from .layout import ROOM, Layout

Decide = Callable[[Record | None], Record | bool]
"""Function from the live entry to its replacement, or to the outcome if nothing is to be written."""

_SMALLEST = 64 * 1024
_TRIES = 12
_LONGEST_PAUSE = 0.5
_AT_ONCE = 32


class NATSStore(KeyedStore):
    """Store that keeps entries in a key-value bucket of NATS JetStream.

    Values of the JSON codec are readable with NATS's own tools. Conditional writes are those of JetStream, by the
    sequence number of the last message under a key. With NATS 2.11 or later the server removes expired entries.

    Args:
        url: `nats://host:port/bucket`, or with `nats+tls`; several hosts are separated by commas.
        client: Your own client from `nats.connect`, instead of a URL; it stays open.
        bucket: The bucket, created if missing; by default the one in the URL, or `satchel`.
        credentials: File with the credentials of a user, as `nsc` writes it.
        replicas: On how many servers of a cluster a bucket that is created is kept.
        max_payload: The server's limit for a message, in bytes, if it is not NATS's default.
        timeout: Seconds that a request may take; None for no limit.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: the bucket cannot be
            used, the credentials are refused, or JetStream is not enabled.
    """

    _checksums = "wire"
    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Client | None = None,
        bucket: str | None = None,
        credentials: str | os.PathLike[str] | None = None,
        replicas: int = 1,
        max_payload: int = 1024 * 1024,
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_one_way("client", client, url=url, credentials=credentials)
        self._target = None
        if client is None:
            self._target = read_url("nats://localhost" if url is None else url)
        else:
            check_client(client)
        self._given_client = client
        self._credentials = None if credentials is None else os.fspath(credentials)
        check_texts(credentials=self._credentials)
        if type(replicas) is not int or not 1 <= replicas <= 5:
            raise ConfigurationError(f"replicas must be an int of 1 to 5, got {safe_repr(replicas)}")
        if type(max_payload) is not int or max_payload < _SMALLEST:
            raise ConfigurationError(f"max_payload must be an int from {_SMALLEST}, got {safe_repr(max_payload)}")
        self._replicas = replicas
        self._layout = Layout(_one_bucket(None if self._target is None else self._target.bucket, bucket))
        self._max_value_bytes = max_payload - ROOM
        super().__init__(codec=codec, clock=clock, timeout=timeout)

    def __repr__(self) -> str:
        return f"NATSStore({self._layout.bucket!r} on {self._where})"

    @property
    def _where(self) -> str:
        return "its client" if self._target is None else self._target.shown

    async def _open(self) -> None:
        if self._given_client is not None:
            self._lent = "a client"
        connection = Connection(self._given_client)
        try:
            await connection.open(self._target, self._credentials, self._timeout)
            bucket = Bucket(connection, self._layout)
            await bucket.open(self._replicas)
        except BaseException:
            await connection.close()
            raise
        self._connection, self._bucket = connection, bucket
        if not bucket.marks:
            self._missing = Capability.WATCH

    async def _close(self) -> None:
        await self._connection.close()

    async def _ping(self) -> None:
        await self._bucket.ping()

    async def _read_one(self, ref: Ref) -> ReadResult:
        try:
            return (await self._bucket.read(self._layout.subject(ref))).record()
        except IntegrityError as error:
            return error

    async def _write_one(self, ref: Ref, record: Record) -> WriteResult:
        left = record.deadline - self.clock()
        try:
            await self._bucket.write(self._layout.subject(ref), record, left)
        except MaxPayloadError:
            return too_large()
        return None

    async def _delete_one(self, ref: Ref, now: float) -> ChangeResult:
        return await self._remove(ref, now, None)

    async def _delete_if_one(self, ref: Ref, version: str, now: float) -> ChangeResult:
        return await self._remove(ref, now, version)

    async def _put_if_one(self, ref: Ref, record: Record, condition: Condition, now: float) -> ChangeResult:
        def decide(there: Record | None) -> Record | bool:
            return record if condition == (None if there is None else there.version) else False

        # Most keys of new entries have nothing, so that it need not be asked for.
        return await self._exchange(ref, now, decide, Found() if condition is None else None)

    async def _touch_one(self, ref: Ref, deadline: float, now: float) -> ChangeResult:
        def decide(there: Record | None) -> Record | bool:
            if there is None or there.deadline == deadline:
                return there is not None
            return msgspec.structs.replace(there, deadline=deadline)

        return await self._exchange(ref, now, decide)

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        async with aclosing(self._bucket.pages(self._layout.of_collection(collection))) as pages:
            seen: set[str] = set()
            async for page in pages:
                keys = [entry.ref[1] for entry in page if entry.deadline > now and entry.ref[1].startswith(prefix)]
                yield [key for key in keys if key not in seen]
                seen.update(keys)  # an entry that was put again meanwhile comes again

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        async with aclosing(self._bucket.pages(self._layout.every)) as pages:
            seen: set[str] = set()
            async for page in pages:
                new = {entry.ref[0] for entry in page if entry.deadline > now} - seen
                yield list(new)
                seen |= new

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._destroy_all(collection, self._layout.of_collection(collection), now)

    async def _destroy(self, now: float) -> bool:
        return await self._destroy_all(None, self._layout.every, now)

    async def _cull(self, now: float) -> int:
        return 0 if self._bucket.marks else await self._remove_expired(now)

    async def cull(self) -> int:
        """Reclaim the space of expired entries now, and return how many there were.

        The store does so by itself only where the server does not: before NATS 2.11.
        """
        return await self._run_admin("cull", lambda: self._remove_expired(self.clock()))

    async def _remove_expired(self, now: float) -> int:
        culled = 0
        async with aclosing(self._bucket.pages(self._layout.every)) as pages:
            async for page in pages:
                expired = [entry for entry in page if entry.deadline <= now]
                for start in range(0, len(expired), _AT_ONCE):
                    removals = (
                        self._with_timeout(self._bucket.purge(entry.subject, entry.sequence + 1))
                        for entry in expired[start : start + _AT_ONCE]
                    )
                    culled += sum(await asyncio.gather(*removals))
        return culled

    async def _watch(self, feed: Feed) -> None:
        if not self._bucket.marks:
            raise UnsupportedOperationError(
                f"{self!r} cannot be watched: deletions leave no mark there; watch needs NATS 2.11 and allow_msg_ttl"
            )
        await self._bucket.follow(feed, self._with_timeout)

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return self._layout.hidden(ref)

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, self._layout.bucket, self._where)

    async def _destroy_all(self, collection: str | None, subject: str, now: float) -> bool:
        lived = False
        async with aclosing(self._bucket.pages(subject)) as pages:
            async for page in pages:
                lived = any(entry.deadline > now for entry in page)
                if lived:
                    break
        await self._with_timeout(self._bucket.destroy(collection))
        return lived

    async def _remove(self, ref: Ref, now: float, version: str | None) -> bool:
        """Remove an entry, if it has the version; return whether it lived and had it."""
        subject = self._layout.subject(ref)
        for attempt in range(_TRIES):
            await _pause(attempt)
            found = await self._bucket.read(subject)
            if found.deleted:
                return False
            record = _record_or_none(found)
            lives = record is not None and record.deadline > now
            if version is not None and not (lives and record is not None and record.version == version):
                return False
            if await self._bucket.delete(ref, found.sequence):
                return lives
        raise _conflict()

    async def _exchange(self, ref: Ref, now: float, decide: Decide, found: Found | None = None) -> ChangeResult:
        """Replace the entry in one atomic step after reading it; again when another writer was faster."""
        subject = self._layout.subject(ref)
        for attempt in range(_TRIES):
            await _pause(attempt)
            if found is None:
                found = await self._bucket.read(subject)
            there = found.record()
            choice = decide(there if there is not None and there.deadline > now else None)
            if isinstance(choice, bool):
                return choice
            try:
                if await self._bucket.write(subject, choice, choice.deadline - now, found.sequence):
                    return True
            except MaxPayloadError:
                return too_large()
            found = None
        raise _conflict()


def _record_or_none(found: Found) -> Record | None:
    try:
        return found.record(whole=False)
    except IntegrityError:
        return None


async def _pause(attempt: int) -> None:
    if attempt > 1:  # the first one to be refused may not have read the entry yet
        await asyncio.sleep(random.uniform(0.5, 1) * min(_LONGEST_PAUSE, 0.005 * 2**attempt))  # noqa: S311  # spreads load, hides nothing


def _conflict() -> ConflictError:
    return ConflictError(f"{_TRIES} times another writer was faster; try again")


def _one_bucket(of_url: str | None, bucket: str | None) -> str:
    if of_url is not None and bucket is not None:
        raise ConfigurationError("bucket is given twice: by the url and as an option")
    return of_url or ("satchel" if bucket is None else bucket)
