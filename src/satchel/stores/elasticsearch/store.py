"""`ElasticsearchStore`: entries as documents of one index (`elasticsearch://`, `elasticsearch+https://`)."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

from ...backend.lifecycle import close_at_end_of_loop
from ...errors import missing_extra

try:
    from elasticsearch import AsyncElasticsearch
except ModuleNotFoundError as error:
    raise missing_extra("ElasticsearchStore", "elasticsearch", error) from error

from ..._threads import offload
from ...backend.base import ABSENT, UNPROCESSED, BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.network import DEFAULT_TIMEOUT, check_one_way
from ...backend.record import Record
from ...clock import NEVER, Clock, system_clock
from ...codec import LARGE, Codec
from ...errors import ConfigurationError, ConflictError, IntegrityError, SatchelError, safe_repr
from ...names import Ref
from .document import CHANGED, HEAD, NOT_OURS, Action, State, head_of, record_of, state_of, unless_overtaken
from .errors import translate
from .index import Index, client_options, connected

_PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}")
_ROUNDS = 20

_Decision = Action | SatchelError | None
"""Function from the state of an entry to an action; None if the condition does not hold."""


class ElasticsearchStore(BaseStore):
    """Store that keeps entries as documents of one Elasticsearch index, which the first write creates.

    Every write is seen by every read that begins after it. Listing, `destroy` and `cull` refresh the index first; no
    other call does. `docs/stores/elasticsearch.md` describes the layout and the required privileges.

    Args:
        url: `elasticsearch://user:password@host:port/path`, or `elasticsearch+https://...` for TLS; the server on this
            machine by default.
        client: An `AsyncElasticsearch` to use instead; it stays open.
        api_key: An API key in its encoded form, instead of user and password.
        index_prefix: The name of the store's alias, and the prefix of the name of its index.
        ca_certs: The file with the certificate authority to trust; by default those of the driver.
        verify_certs: Check the server's certificate.
        timeout: Seconds that a request may take; None for no limit.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: the credentials are
            refused, the server is not Elasticsearch, or the index is not this store's.
    """

    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar
    _max_inflight: ClassVar[int] = 2
    _max_items: ClassVar[int] = 200
    _max_bytes: ClassVar[int] = (
        640 * 1024
    )  # with base64 and names a request stays below 1 MiB: aiohttp sends it in one go
    _max_value_bytes = 32 * 1024 * 1024  # as base64 it stays below what Elasticsearch takes as one string

    def __init__(
        self,
        url: str | None = None,
        *,
        client: AsyncElasticsearch | None = None,
        api_key: str | None = None,
        index_prefix: str = "satchel",
        ca_certs: str | None = None,
        verify_certs: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_one_way(
            "client", client, url=url, api_key=api_key, ca_certs=ca_certs, verify_certs=None if verify_certs else False
        )
        if client is not None and not isinstance(client, AsyncElasticsearch):
            raise ConfigurationError(f"client must be an AsyncElasticsearch, got {type(client).__name__}")
        if not isinstance(index_prefix, str) or not _PREFIX.fullmatch(index_prefix):
            raise ConfigurationError(
                "index_prefix must be up to 200 lower-case letters, digits, '.', '_' and '-', and begin with a letter "
                f"or a digit; got {safe_repr(index_prefix)}"
            )
        super().__init__(codec=codec, clock=clock, timeout=timeout)
        self._client = client
        self._prefix = index_prefix
        self._options = {} if client else client_options(url, api_key, ca_certs, verify_certs)
        self._guard: AsyncGenerator[None] | None = None

    def __repr__(self) -> str:
        where = "client=..." if self._client is not None else repr(self._options["hosts"][0])
        return f"ElasticsearchStore({where}, index_prefix={self._prefix!r})"

    # Items.

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        found = await self._index.find(refs)
        size = sum([len(item["_source"].get("payload", "")) for item in found if isinstance(item, dict)])
        return await offload(_outcomes, refs, found) if size >= LARGE else _outcomes(refs, found)

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        found = await self._index.find(refs, HEAD)
        return [
            head_of(ref, item["_source"]) if isinstance(item, dict) else item
            for ref, item in zip(refs, found, strict=True)
        ]

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        guard = unless_overtaken()
        results = await self._index.carry_out([Action("index", ref, guard, record) for ref, record in records])
        passed_over = [n for n, result in enumerate(results) if result is CHANGED]
        # Their callers wait, so they are not the late ones that the guard is for: another host's clock is ahead.
        again = await self._index.carry_out([Action("index", records[n][0], record=records[n][1]) for n in passed_over])
        for n, result in zip(passed_over, again, strict=True):
            results[n] = result
        return [UNPROCESSED if result is CHANGED else result for result in results]

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        lived = [False] * len(refs)

        def decide(n: int, state: State | None) -> _Decision:
            lived[n] = state is not None and (state.version is None or state.lives(now))
            return None if state is None else Action("delete", refs[n], state.guard)

        done = await self._change(refs, decide)
        return [lived[n] if outcome is True else outcome for n, outcome in enumerate(done)]

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        def decide(n: int, state: State | None) -> _Decision:
            ref, record, condition = items[n]
            if state is None:
                return Action("create", ref, record=record) if condition is ABSENT else None
            if state.version is None:
                return IntegrityError(NOT_OURS)
            holds = state.version == condition if state.lives(now) else condition is ABSENT
            return Action("index", ref, state.guard, record) if holds else None

        return await self._change(
            [ref for ref, _, _ in items],
            decide,
            first=[n for n, (_, _, condition) in enumerate(items) if condition is ABSENT],
        )

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        def decide(n: int, state: State | None) -> _Decision:
            ref, version = items[n]
            holds = state is not None and state.lives(now) and state.version == version
            return Action("delete", ref, state.guard) if state is not None and holds else None

        return await self._change([ref for ref, _ in items], decide)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        def decide(n: int, state: State | None) -> _Decision:
            ref, deadline = items[n]
            if state is None or state.version is None:
                return None if state is None else IntegrityError(NOT_OURS)
            return Action("update", ref, state.guard, deadline=deadline) if state.lives(now) else None

        return await self._change([ref for ref, _ in items], decide)

    async def _change(
        self, refs: Sequence[Ref], decide: Callable[[int, State | None], _Decision], first: Sequence[int] = ()
    ) -> list[ChangeResult]:
        """Carry out what `decide` says of each entry's state, over again where another writer came in between.

        Args:
            refs: The names of the entries.
            decide: Is given the number of an entry and its state.
            first: Entries to be tried without a look at them, as if there were none.
        """
        outcomes: list[ChangeResult] = [False] * len(refs)
        actions = {n: action for n in first if isinstance(action := decide(n, None), Action)}
        left = [n for n in range(len(refs)) if n not in actions]
        for _ in range(_ROUNDS):
            if left:
                actions |= await self._decided(refs, left, decide, outcomes)
            results = await self._index.carry_out(list(actions.values()))
            for n, result in zip(actions, results, strict=True):
                outcomes[n] = True if result is None else False if result is CHANGED else result
            left = [n for n, result in zip(actions, results, strict=True) if result is CHANGED]
            if not left:
                return outcomes
            actions = {}
        for n in left:
            outcomes[n] = ConflictError("other writers were faster every time; try again later")
        return outcomes

    async def _decided(
        self,
        refs: Sequence[Ref],
        which: Sequence[int],
        decide: Callable[[int, State | None], _Decision],
        outcomes: list[ChangeResult],
    ) -> dict[int, Action]:
        """Look at some entries; return what is to be done, and note the outcomes of the others."""
        actions = {}
        found = await self._index.find([refs[n] for n in which], ("version", "deadline"))
        for n, item in zip(which, found, strict=True):
            if isinstance(item, SatchelError):
                outcomes[n] = item
                continue
            decision = decide(n, None if item is None else state_of(item))
            if isinstance(decision, Action):
                actions[n] = decision
            else:
                outcomes[n] = False if decision is None else decision
        return actions

    # Listing and destroying.

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._keys_after(collection, prefix, "", now)

    async def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        if await self._index.refresh():
            within: list[dict[str, Any]] = [{"prefix": {"key": prefix}}] if prefix else []
            within += [{"range": {"key": {"gt": after}}}] if after else []
            async with aclosing(self._index.keys(_living(now, _of(collection), *within))) as pages:
                async for page in pages:
                    yield page

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        if await self._index.refresh():
            async for page in self._index.collections(_living(now)):
                yield page

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._remove(now, _of(collection))

    async def _destroy(self, now: float) -> bool:
        return await self._remove(now, {"match_all": {}})

    async def _remove(self, now: float, query: dict[str, Any]) -> bool:
        if not await self._with_timeout(self._index.refresh()):
            return False
        lived = await self._with_timeout(self._index.has_any(_living(now, query)))
        while await self._with_timeout(self._index.remove_some(query)):
            pass
        return lived

    async def _cull(self, now: float) -> int:
        culled = 0
        if await self._with_timeout(self._index.refresh()):
            while removed := await self._with_timeout(self._index.remove_some({"range": {"deadline": {"lte": now}}})):
                culled += removed
        return culled

    async def _first_deadline(self) -> float:
        there = await self._with_timeout(self._index.refresh())
        first = await self._with_timeout(self._index.first_deadline()) if there else None
        return NEVER if first is None else first

    # Opening and closing.

    async def _open(self) -> None:
        client = self._client
        if client is None:
            client = await offload(connected, self._options | {"request_timeout": self._timeout})
            self._guard = close_at_end_of_loop(client.close)
            await anext(self._guard)
        else:
            self._lent = "a client"
        self._index = Index(client, self._prefix, self._timeout)
        try:
            await self._index.check()
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        self._index.closed = True
        if self._guard is not None:
            await self._guard.aclose()

    async def _ping(self) -> None:
        await self._index.check()

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, "the server" if self._client is not None else self._options["hosts"][0])


def _outcomes(refs: Sequence[Ref], found: Sequence[Any]) -> list[ReadResult]:
    return [
        record_of(ref, item["_source"]) if isinstance(item, dict) else item
        for ref, item in zip(refs, found, strict=True)
    ]


def _of(collection: str) -> dict[str, Any]:
    return {"term": {"collection": collection}}


def _living(now: float, *filters: dict[str, Any]) -> dict[str, Any]:
    return {"bool": {"filter": list(filters), "must_not": [{"range": {"deadline": {"lte": now}}}]}}
