"""`MongoDBStore`: entries as documents in one MongoDB collection (`mongodb://host/database`)."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ..._threads import Yielder, offload
from ...backend.base import BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.engine import translated
from ...backend.network import DEFAULT_TIMEOUT, check_one_way
from ...backend.record import Record, new_version
from ...backend.watching import Feed
from ...capability import Capability
from ...clock import NEVER, Clock, system_clock
from ...codec import LARGE, Codec, JsonCodec
from ...errors import SatchelError, UnsupportedOperationError, missing_extra
from ...names import Ref

try:
    import pymongo  # noqa: F401  # whether it is there
except ModuleNotFoundError as error:
    raise missing_extra("MongoDBStore", "mongodb", error) from error
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference

from .changes import NOT_A_REPLICA_SET, report_changes
from .client import DRIVER_OPTIONS, Client, check_client, check_names, check_url, connect, has_index, make_index
from .document import (
    LARGEST_VALUE,
    NO_VALUE,
    OURS,
    Query,
    date_of,
    deadline_fields,
    document_id,
    is_version,
    not_ours,
    range_of,
    read_document,
    read_head,
    write_document,
)
from .errors import Failure, Put, is_taken, refusal, translate
from .requests import Requests, Scanner

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClient

T = TypeVar("T")

_TRIES = 3
_RAW = CodecOptions(document_class=RawBSONDocument)
_INDEX_STANDS = 60.0


class MongoDBStore(BaseStore):
    """Store that keeps entries as documents in one MongoDB collection.

    JSON values are BSON, which MongoDB's tools can search.

    The first write creates a TTL index, with which the server reclaims expired entries. `docs/stores/mongodb.md`
    describes the layout and the required privileges.

    Args:
        url: Where the server is, with options for the driver; `mongodb://localhost` by default.
        client: Your own `pymongo.AsyncMongoClient` or Motor client, instead of a URL; it stays open.
        db_name: The database; by default the one in the URL, or `satchel`.
        coll_name: The MongoDB collection for all entries of this store.
        timeout: Seconds that a request may take; None for no limit.
        codec: Encodes values; JSON by default. The output of other codecs is stored as bytes.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option has a wrong form, or the client does not wait for its writes.
    """

    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar
    url_query = DRIVER_OPTIONS
    _native_expiry = True
    _max_value_bytes = LARGEST_VALUE

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Client | AsyncIOMotorClient[Any] | None = None,
        db_name: str | None = None,
        coll_name: str = "satchel",
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_one_way("client", client, url=url)
        self._url = "mongodb://localhost" if url is None else url
        named = check_url(self._url)
        if client is not None:
            check_client(client)
        self._db_name = db_name if db_name is not None else named or "satchel"
        check_names(self._db_name, coll_name)
        self._coll_name = coll_name
        self._where = f"{self._db_name}.{coll_name}"
        self._own = client is None
        self._client: Any = client  # PyMongo's and Motor's are alike in what is used here
        self._collection: Any = None
        self._index_seen = -math.inf  # when the TTL index was there, by `time.monotonic`
        super().__init__(codec=codec, clock=clock, timeout=timeout)
        self._requests = Requests(timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._where!r})"

    async def _open(self) -> None:
        if self._own:
            self._client, self._guard = await connect(self._url)
        else:
            self._lent = "a client"
        try:
            database = self._client.get_database(self._db_name)
            self._collection = database.get_collection(
                self._coll_name, codec_options=_RAW, read_preference=ReadPreference.PRIMARY
            )
            self._scanner = Scanner(self._collection, self.clock, self._requests.ask, self._with_timeout)
            with self._requests.limit():
                if await has_index(database, self._coll_name):
                    self._index_seen = time.monotonic()
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        if self._own:
            await self._guard.aclose()

    async def _ping(self) -> None:
        await self._requests.ask(lambda: self._client.admin.command("ping"))

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        names = [document_id(ref) for ref in refs]
        outcomes: dict[Any, ReadResult] = {}
        turns = Yielder()
        for document in await self._find(names, None):
            raw = document.raw
            name, outcome = read_document(raw) if len(raw) < LARGE else await offload(read_document, raw)
            outcomes[name] = outcome
            await turns.after_item()
        return [outcomes.get(name) for name in names]

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        names = [document_id(ref) for ref in refs]
        heads = dict(read_head(document.raw) for document in await self._find(names, NO_VALUE))
        return [heads.get(name) for name in names]

    async def _find(self, names: Sequence[str], projection: dict[str, int] | None) -> list[Any]:
        if len(names) == 1:
            found = await self._requests.ask(lambda: self._collection.find_one({"_id": names[0]}, projection))
            return [] if found is None else [found]
        query = {"_id": {"$in": names}}
        documents: list[Any] = await self._requests.ask(
            lambda: self._collection.find(query, projection, batch_size=len(names)).to_list(None)
        )
        return documents

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        # What is no entry is no match: then inserting fails, instead of replacing what another program put there.
        writes = [({"_id": name, **OURS}, document) for name, document in await self._documents(records)]
        outcomes: list[WriteResult] = [None] * len(writes)
        left = list(range(len(writes)))
        for _ in range(_TRIES):  # inserting also fails when another process has just put the same new entry
            done = await self._requests.upsert(self._collection, [writes[index] for index in left])
            for index, outcome in zip(left, done, strict=True):
                outcomes[index] = None if isinstance(outcome, Put) else self._refusal(outcome)
            left = [index for index, outcome in zip(left, done, strict=True) if is_taken(outcome)]
            if not left:
                break
        return outcomes

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        names = [document_id(ref) for ref in refs]
        # An expired entry is left to the TTL index; one whose deadline was damaged is there, and goes.
        living = {**OURS, "deadline": {"$not": {"$lte": now}}}
        if len(names) == 1:
            with self._requests.limit():
                return [bool((await self._collection.delete_one({"_id": names[0], **living})).deleted_count)]
        # The answer to a batch of deletions tells only how many there were. So each entry is replaced by an expired
        # one, which is no less atomic, and of which the answer tells where nothing was: there it was inserted.
        tomb = Record(b"null", JsonCodec.number, new_version(), now, 0.0).sealed()
        await self._make_index()
        outcomes = await self._requests.upsert(
            self._collection, [({"_id": name, **living}, write_document(name, tomb)) for name in names]
        )
        with suppress(PyMongoError), self._requests.limit():  # what stays has expired, and the TTL index takes it away
            await self._collection.delete_many({"_id": {"$in": names}, "version": tomb.version})
        return [
            outcome is Put.REPLACED if isinstance(outcome, Put) else not is_taken(outcome) and self._refusal(outcome)
            for outcome in outcomes
        ]

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        documents = await self._documents([(ref, record) for ref, record, _ in items])
        new = [at for at, (_, _, condition) in enumerate(items) if condition is None]
        outcomes: list[ChangeResult] = [False] * len(items)
        if new:
            # What lives is no match: then inserting fails.
            expired = {**OURS, "deadline": {"$lte": now}}
            done = await self._requests.upsert(
                self._collection, [({"_id": documents[at][0], **expired}, documents[at][1]) for at in new]
            )
            for at, outcome in zip(new, done, strict=True):
                outcomes[at] = isinstance(outcome, Put) or (not is_taken(outcome) and self._refusal(outcome))

        async def replace(at: int) -> bool:
            name, document = documents[at]
            result = await self._collection.replace_one(self._with_version(name, items[at][2], now), document)
            return bool(result.matched_count)

        others = [at for at, (_, _, version) in enumerate(items) if version is not None and is_version(version)]
        for at, done_or_not in zip(others, await self._each(replace, others), strict=True):
            outcomes[at] = done_or_not
        return outcomes

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        async def delete(item: tuple[Ref, str]) -> bool:
            ref, version = item
            if not is_version(version):
                return False
            result = await self._collection.delete_one(self._with_version(document_id(ref), version, now))
            return bool(result.deleted_count)

        return await self._each(delete, items)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        async def touch(item: tuple[Ref, float]) -> bool:
            ref, deadline = item
            change: Query = {"$set": deadline_fields(deadline)}
            if deadline == NEVER:
                change["$unset"] = {"expire_at": ""}
            query = {"_id": document_id(ref), **OURS, "deadline": {"$gt": now}}
            return bool((await self._collection.update_one(query, change)).matched_count)

        return await self._each(touch, items)

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._scanner.keys(collection, prefix)

    def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._scanner.keys(collection, prefix, after)

    async def _count(self, collection: str, prefix: str, now: float) -> int:
        return await self._with_timeout(self._scanner.count(collection, prefix))

    def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        return self._scanner.collections()

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._scanner.empty({"_id": range_of(collection), **OURS}, now)

    async def _destroy(self, now: float) -> bool:
        return await self._scanner.empty(OURS, now)

    async def _cull(self, now: float) -> int:
        return await self._scanner.remove({"expire_at": {"$lte": date_of(now)}, "deadline": {"$lte": now}, **OURS})

    async def _watch(self, feed: Feed) -> None:
        try:
            await report_changes(self._collection, feed, self._with_timeout)
        except OperationFailure as error:
            if error.code != NOT_A_REPLICA_SET:
                raise
            self._missing |= Capability.WATCH
            raise UnsupportedOperationError(
                f"{self!r} cannot be watched: the server is no member of a replica set, and so has no change streams"
            ) from None

    def _map_error(self, error: Exception) -> SatchelError | None:
        known = () if self._client is None else self._client.topology_description.server_descriptions()
        return translate(error, self._where, ", ".join(f"{host}:{port}" for host, port in known))

    async def _make_index(self) -> None:
        """Create the TTL index unless it was seen recently: dropping the MongoDB collection drops it too."""
        now = time.monotonic()
        if now - self._index_seen < _INDEX_STANDS:
            return
        with self._requests.limit():
            # A role may not be allowed to create an index, but another one may have created it.
            if not await has_index(self._collection.database, self._coll_name):
                await make_index(self._collection)
        self._index_seen = now

    async def _documents(self, records: Sequence[tuple[Ref, Record]]) -> list[tuple[str, RawBSONDocument]]:
        documents = []
        turns = Yielder()
        for ref, record in records:
            name, size = document_id(ref), len(record.payload)
            small = size < LARGE
            documents.append(
                (name, write_document(name, record) if small else await offload(write_document, name, record))
            )
            await turns.after_item()
        await self._make_index()
        return documents

    def _refusal(self, failure: Failure) -> SatchelError:
        return not_ours() if is_taken(failure) else refusal(failure.get("code"), failure, self._where)

    def _with_version(self, name: str, version: Condition, now: float) -> Query:
        return {"_id": name, **OURS, "version": version, "deadline": {"$gt": now}}

    async def _each(self, change: Callable[[T], Awaitable[bool]], items: Sequence[T]) -> list[ChangeResult]:
        return [self._done(outcome) for outcome in await self._requests.each(change, items)]

    def _done(self, outcome: bool | BaseException) -> ChangeResult:
        if isinstance(outcome, Exception):
            return translated(self, outcome, "write")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome
