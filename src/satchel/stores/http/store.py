"""`HTTPStore`: the entries of a store in another process, over its REST interface (`http://`, `https://`)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import ClassVar, Literal, TypeVar

from ...backend.lifecycle import close_at_end_of_loop
from ...errors import missing_extra

try:
    import httpx
except ModuleNotFoundError as error:
    raise missing_extra("HTTPStore", "http", error) from error

import msgspec

from ..._checks import check_bool
from ..._rest import quote_version, unquote_version
from ..._threads import offload
from ...backend.base import ABSENT, UNPROCESSED, BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.engine import translated
from ...backend.hooks import PutIfResult, Unprocessed
from ...backend.network import DEFAULT_TIMEOUT, check_one_way
from ...backend.record import Record
from ...backend.watching import Feed
from ...capability import Capability
from ...clock import NEVER, Clock, as_datetime, system_clock
from ...codec import LARGE, RAW_BYTES
from ...errors import ConfigurationError, SatchelError, StoreError, StoreUnavailableError, ValueTooLargeError
from ...names import MAX_NAME_BYTES, Ref
from . import wire
from .client import EVENTS, Client, check_answer, check_client, check_url, connect, encoded, path_of
from .errors import decode_refusal, refusal, refusal_in, translate
from .wire import BatchItem, Result, ServerLimits

T = TypeVar("T")
Failure = SatchelError | Literal[Unprocessed.UNPROCESSED]

OVERLOADED = "overloaded"
ANSWER_FULL = "answer_full"
_TOKEN = re.compile(r"[!-~]+")
_FIRST_PAGE = 1000
_IN_BATCH = 256 * 1024
"""Larger values are sent alone, as they are: in a batch, bytes would become a third larger."""
_SILENCE = 45.0
"""Seconds after which a stream of changes is given up; the server shows every 15 that it is alive."""
_LIMITS = ServerLimits(max_body=1024 * 1024, max_batch=500, max_page=_FIRST_PAGE)


class HTTPStore(BaseStore):
    """Store whose entries are in another process, which serves them by `satchel serve` or `satchel.server`.

    The versions of entries are those of the server's store. Its capabilities are those of the server's store too; they
    are known once the store is open, and every one is assumed until then. `docs/stores/http.md` describes the requests.

    Args:
        url: `http://host:port/path` or `https://...`, where the server's app is mounted.
        client: An `httpx.AsyncClient` to use instead, made with `base_url=`; it stays open.
        token: The token that the server asks for.
        ca_certs: The file with the certificate authority to trust; by default those of the system.
        verify_certs: Check the server's certificate.
        timeout: Seconds that a request may take; None for no limit.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: the token is refused, or
            another server answers.
    """

    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar
    _max_inflight: ClassVar[int] = 2
    _max_bytes: ClassVar[int] = 1024 * 1024
    _checksums = "none"
    _native_expiry = True  # the server's store reclaims them

    def __init__(
        self,
        url: str | None = None,
        *,
        client: httpx.AsyncClient | None = None,
        token: str | None = None,
        ca_certs: str | None = None,
        verify_certs: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
        clock: Clock = system_clock,
    ) -> None:
        check_bool("verify_certs", verify_certs)
        check_one_way(
            "client", client, url=url, token=token, ca_certs=ca_certs, verify_certs=None if verify_certs else False
        )
        if url is None and client is None:
            raise ConfigurationError("an HTTPStore needs the url of its server, or a client made with base_url=")
        self._url = check_client(client) if client is not None else check_url(url)
        self._tls = self._url.startswith("https:")
        if not self._tls and (ca_certs is not None or not verify_certs):
            raise ConfigurationError("ca_certs and verify_certs need TLS: the url begins with https://")
        if token is not None and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
            raise ConfigurationError("token must be a str of visible ASCII characters")
        self._options = token, ca_certs, verify_certs
        self._own = client is None
        self._httpx = client
        self._guard: AsyncGenerator[None] | None = None
        self._limits = _LIMITS
        super().__init__(clock=clock, timeout=timeout)

    def __repr__(self) -> str:
        return f"HTTPStore({self._url!r})"

    # Items.

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._batch([BatchItem("get", *ref) for ref in refs], wire.record_of, changes=False)

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._batch([BatchItem("exists", *ref) for ref in refs], wire.head_of, changes=False)

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        outcomes = await self._put([(ref, record, wire.put(ref, record)) for ref, record in records])
        return [None if isinstance(outcome, (bool, str)) else outcome for outcome in outcomes]

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        return await self._batch([BatchItem("delete", *ref) for ref in refs], wire.done_of)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[PutIfResult]:
        return await self._put(
            [
                (ref, record, wire.put(ref, record, if_absent=condition is ABSENT, if_version=condition))
                for ref, record, condition in items
            ]
        )

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        return await self._batch(
            [BatchItem("delete", *ref, if_version=version) for ref, version in items], wire.done_of
        )

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        return await self._batch([wire.touch(ref, deadline) for ref, deadline in items], wire.done_of)

    async def _put(self, items: Sequence[tuple[Ref, Record, BatchItem]]) -> list[PutIfResult]:
        """Put records, small ones together; return for each the version, if the put is conditional, or what failed."""
        largest = min(_IN_BATCH, self._limits.max_body)
        alone = {n for n, (_, _, operation) in enumerate(items) if wire.size_of(operation) > largest}
        together = [operation for n, (_, _, operation) in enumerate(items) if n not in alone]
        found = iter(await self._batch(together, wire.version_of))
        return [
            await self._put_alone(ref, record, operation) if n in alone else next(found)
            for n, (ref, record, operation) in enumerate(items)
        ]

    async def _put_alone(self, ref: Ref, record: Record, operation: BatchItem) -> PutIfResult:
        limit = self._max_value_bytes
        if limit is not None and len(record.payload) > limit:
            return ValueTooLargeError(
                f"the encoded value has {len(record.payload)} bytes, the server takes at most {limit}"
            )
        headers = {"Content-Type": f"application/{'octet-stream' if record.codec == RAW_BYTES else 'json'}"}
        if record.deadline != NEVER:
            headers["Satchel-Expires-At"] = as_datetime(record.deadline).isoformat()
        if operation.if_absent:
            headers["If-None-Match"] = "*"
        elif isinstance(operation.if_version, str):
            headers["If-Match"] = quote_version(operation.if_version)
        try:
            response = await self._client.change("PUT", path_of(*ref), record.payload, headers)
        except Exception as error:  # of this item alone: the others may have been written
            return translated(self, error, "put")
        if response.status_code in (httpx.codes.CREATED, httpx.codes.NO_CONTENT):
            return unquote_version(response.headers.get("etag", "")) or True
        refused = refusal_in(response)
        if refused.error == "precondition_failed":
            return False
        return UNPROCESSED if refused.error == OVERLOADED else refused.as_error()

    async def _batch(
        self, operations: Sequence[BatchItem], outcome_of: Callable[[Result], T], *, changes: bool = True
    ) -> list[T | Failure]:
        """Carry out operations in as few requests as the server's limits allow, and return the outcome of each."""
        outcomes: dict[int, T | Failure] = {}
        left = list(range(len(operations)))
        sizes = [wire.size_of(operation) for operation in operations]
        while left:
            count = wire.fitting([sizes[n] for n in left], self._limits)
            some = left[:count]
            found = await self._request([operations[n] for n in some], outcome_of, changes=changes)
            outcomes.update((some[place], outcome) for place, outcome in found.items())
            left = left[count:] if len(found) == count else [n for n in left if n not in outcomes]
        return [outcomes[n] for n in range(len(operations))]

    async def _request(
        self, operations: Sequence[BatchItem], outcome_of: Callable[[Result], T], *, changes: bool
    ) -> dict[int, T | Failure]:
        """Carry out operations in one request.

        Returns:
            The outcomes by place. Those that are missing were not carried out, and are to be asked for again: the
            server refused the request because of others, or its answer is full.
        """
        try:
            body = await self._encoded(operations)
            response = await (self._client.change_batch(body) if changes else self._client.read_batch(body))
            if response.status_code == httpx.codes.OK:
                results = await _results(response.content, len(operations))
                # The first one is always answered. That it is taken as it is keeps this from going on without end.
                return {
                    n: outcome_of(result) for n, result in enumerate(results) if not n or result.error != ANSWER_FULL
                }
        except Exception as error:  # of these alone: those of earlier requests have been carried out
            return dict.fromkeys(range(len(operations)), translated(self, error, "batch"))
        refused = refusal_in(response)
        if refused.index is None or not 0 <= refused.index < len(operations) or refused.error == "read_only":
            outcome: Failure = UNPROCESSED if refused.error == OVERLOADED else refused.as_error()
            return dict.fromkeys(range(len(operations)), outcome)
        at_fault = {refused.index}
        if refused.error == "forbidden":  # as the others in this collection are
            collection = operations[refused.index].collection
            at_fault |= {n for n, operation in enumerate(operations) if operation.collection == collection}
        return dict.fromkeys(at_fault, refused.as_error())

    async def _encoded(self, operations: Sequence[BatchItem]) -> bytes:
        large = sum(map(wire.size_of, operations)) >= LARGE
        return await offload(wire.encode, operations) if large else wire.encode(operations)

    # Listing and destroying.

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._listed(path_of(collection), prefix=prefix)

    async def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        limit = min(_FIRST_PAGE, self._limits.max_page)
        following: str | None = after
        while following is not None:
            response = await self._client.ask(
                path_of(collection), **_given(prefix=prefix, after=following), limit=str(limit)
            )
            page = _decoded(wire.decode_page, check_answer(response, httpx.codes.OK))
            yield page.keys
            following, limit = page.next, self._limits.max_page

    def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        return self._listed("/v1/c")

    async def _listed(self, path: str, **query: str) -> AsyncIterator[Sequence[str]]:
        """Yield the names of a streamed listing, which ends with a line that says how many there were."""
        count = 0
        async with aclosing(self._client.lines(path, **_given(**query))) as pieces:
            async for piece in pieces:
                *names, last = _decoded(wire.decode_lines, piece)
                if isinstance(last, str):
                    names.append(last)
                elif last.error:
                    raise refusal(last.error, last.message, retryable=last.retryable, retry_after=last.retry_after)
                count += len(names)
                yield names
                if not isinstance(last, str) and last.end == count:
                    return
        raise StoreUnavailableError(
            "the listing ended too early: the server stopped, or waited too long for its reader"
        )

    async def _count(self, collection: str, prefix: str, now: float) -> int:
        asked = self._client.ask(path_of(collection), count="1", **_given(prefix=prefix))
        response = await self._with_timeout(asked)
        return _decoded(wire.decode_counts, check_answer(response, httpx.codes.OK)).count

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._remove(path_of(collection))

    async def _destroy(self, now: float) -> bool:
        return await self._remove("/v1/c")

    async def _remove(self, path: str) -> bool:
        response = await self._with_timeout(self._client.change("DELETE", path, all="1"))
        if response.status_code == httpx.codes.NOT_FOUND and refusal_in(response).error == "absent":
            return False
        check_answer(response, httpx.codes.NO_CONTENT)
        return True

    async def _cull(self, now: float) -> int:
        response = await self._with_timeout(self._client.post("/v1/cull"))
        return _decoded(wire.decode_counts, check_answer(response, httpx.codes.OK)).culled

    # Watching.

    async def _watch(self, feed: Feed) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                async for collection in feed.wanted():
                    group.create_task(self._follow(collection, feed))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _follow(self, collection: str, feed: Feed) -> None:
        """Report what the server says of a collection."""
        async with aclosing(self._client.lines(f"/v1/watch/{encoded(collection)}", EVENTS)) as pieces:
            piece = await self._with_timeout(anext(pieces))
            kind = b""
            while True:
                for line in piece.split(b"\n"):
                    name, _, text = line.partition(b": ")
                    if name == b"event":
                        kind = text
                    elif name == b"data":
                        self._report(feed, collection, kind, text)
                try:
                    async with asyncio.timeout(_SILENCE):
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    raise StoreUnavailableError("the server stopped reporting changes") from None

    def _report(self, feed: Feed, collection: str, kind: bytes, text: bytes) -> None:
        if kind == b"failed":
            raise _decoded(decode_refusal, text).as_error()
        key = _decoded(wire.decode_changed, text).key
        if kind == b"ready":
            feed.ready(collection)
        elif kind == b"changed" and key is not None:
            feed.changed(collection, key)
        else:
            feed.lost(collection)

    # Opening and closing.

    async def _open(self) -> None:
        client = self._httpx
        if client is None:
            token, ca_certs, verify_certs = self._options
            client = await connect(token, ca_certs, tls=self._tls, verify_certs=verify_certs)
            self._guard = close_at_end_of_loop(client.aclose)
            await anext(self._guard)
        else:
            self._lent = "a client"
        self._client = Client(client, self._url)
        try:
            await self._learn()
        except BaseException:
            await self._close()
            raise

    async def _learn(self) -> None:
        """Learn what the server can do."""
        response = check_answer(await self._client.ask("/v1"), httpx.codes.OK)
        about = _decoded(wire.decode_about, response)
        self._missing = Capability.NONE
        for flag in Capability:
            if str(flag.name).lower() not in about.capabilities:
                self._missing |= flag
        self.max_key_bytes = min(about.max_key_bytes, MAX_NAME_BYTES)
        self._limits = about.limits
        largest = [limit for limit in (about.max_value_bytes, about.limits.max_body) if limit is not None]
        self._max_value_bytes = min(largest)

    async def _close(self) -> None:
        if self._guard is not None:
            await self._guard.aclose()

    async def _ping(self) -> None:
        check_answer(await self._client.ask("/v1/ping"), httpx.codes.NO_CONTENT)

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, self._url)


def _given(**query: str) -> dict[str, str]:
    """Return the parameters that are not empty."""
    return {name: value for name, value in query.items() if value}


async def _results(content: bytes, count: int) -> list[Result]:
    results = (
        await offload(wire.decode_results, content) if len(content) >= LARGE else wire.decode_results(content)
    ).results
    if len(results) != count:
        raise StoreError("the server answered a batch with another number of results")
    return results


def _decoded(decode: Callable[[bytes], T], answer: httpx.Response | bytes) -> T:
    try:
        return decode(answer if isinstance(answer, bytes) else answer.content)
    except msgspec.MsgspecError:
        raise StoreError("the answer of the server is not as the REST interface has it") from None
