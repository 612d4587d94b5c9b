"""`Index`: the one index of a store, and the requests that are made of it.

Entries are written through an alias, and only through it: so that Elasticsearch never makes an index by itself, with a
mapping of its own guess, when somebody has removed ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar
from urllib.parse import unquote

from elastic_transport import ApiError, TransportError
from elasticsearch import AsyncElasticsearch, BadRequestError, NotFoundError

from ..._threads import offload
from ..._url_parts import split_url
from ...backend.network import in_empty_context
from ...codec import LARGE
from ...errors import ConfigurationError
from ...names import Ref
from .document import (
    FORMAT,
    MAPPING,
    NEEDED_TYPES,
    Action,
    Answer,
    Result,
    document_id,
    is_searchable,
    lines_of,
    result_of,
)
from .errors import ALREADY_THERE, MISSING_INDEX, failure, type_of

T = TypeVar("T")

PAGE = 1000
_KEEP_ALIVE = "5m"
_CLOSING = 2.0
_HEADERS = {"accept": "application/json", "content-type": "application/x-ndjson"}


class Index:
    """Requests to the index of a store.

    Attributes:
        closed: The client may not be used any more.

    Args:
        client: Talks to the server.
        name: The name of the alias; the index behind it has a number after it.
        timeout: Seconds for one request; None for no limit.
    """

    def __init__(self, client: AsyncElasticsearch, name: str, timeout: float | None) -> None:
        self._client = client
        # A change that was sent a second time could be told that it was not done.
        self._changing = client.options(max_retries=0)
        self._name = name
        self._first = f"{name}-000001"
        # The server is not to wait for a shard, by default a minute, after the caller has given up.
        waiting = {} if timeout is None else {"timeout": f"{max(1, int(timeout * 1000))}ms"}
        self._writing = {"require_alias": "true"} | waiting
        self.closed = False

    async def check(self) -> None:
        """See whether the index, if there is one, is of this store's making.

        Raises:
            ConfigurationError: It is not, or it was made by a later release.
        """
        try:
            found = (await in_empty_context(self._client.indices.get_mapping(index=self._name))).body
        except NotFoundError as error:
            if type_of(error.body) == MISSING_INDEX:
                return
            raise
        if self._name in found:
            raise ConfigurationError(
                f"there is an index {self._name!r} that satchel did not make; choose another index_prefix"
            )
        if len(found) > 1:
            raise ConfigurationError(f"the alias {self._name!r} refers to several indices; leave only the newest")
        for index, about in found.items():
            _check_mapping(index, about.get("mappings", {}))

    async def find(self, refs: Sequence[Ref], fields: Sequence[str] | None = None) -> list[Any]:
        """Return for each entry its document as `_mget` gives it, None if there is none, or an error."""
        ids = [document_id(ref) for ref in refs]
        answer = await in_empty_context(self._client.mget(index=self._name, ids=ids, source_includes=fields))
        return [_found(item) for item in answer.body["docs"]]

    async def carry_out(self, actions: Sequence[Action]) -> list[Result]:
        """Carry out actions in one bulk request, and return the result of each.

        The index is made if an action needs it. A document whose value Elasticsearch cannot index is written without
        that.
        """
        if not actions:
            return []
        results = await self._send(actions, searchable=True)
        missing = [n for n, result in enumerate(results) if result == (404, MISSING_INDEX) and actions[n].record]
        if missing:
            await self._create()
            await self._again(actions, missing, results, searchable=True)
        refused = [
            n
            for n, (status, _) in enumerate(results)
            if status == 400 and (record := actions[n].record) is not None and is_searchable(record)
        ]
        if refused:
            await self._again(actions, refused, results, searchable=False)
        return [result_of(action, *result) for action, result in zip(actions, results, strict=True)]

    async def refresh(self) -> bool:
        """Refresh the index, so that searches see all writes so far; return whether there is an index."""
        try:
            await in_empty_context(self._client.indices.refresh(index=self._name))
        except NotFoundError as error:
            if type_of(error.body) == MISSING_INDEX:
                return False
            raise
        return True

    async def has_any(self, query: dict[str, Any]) -> bool:
        """Return whether a document matches."""
        answer = await in_empty_context(
            self._client.search(index=self._name, query=query, size=1, source=False, allow_partial_search_results=False)
        )
        return bool(answer.body["hits"]["hits"])

    async def first_deadline(self) -> float | None:
        """Return the earliest deadline of all documents, None if none has one."""
        answer = await in_empty_context(
            self._client.search(
                index=self._name,
                query={"exists": {"field": "deadline"}},
                sort=[{"deadline": "asc"}],
                size=1,
                source=False,
                track_total_hits=False,
                allow_partial_search_results=False,
            )
        )
        hits = answer.body["hits"]["hits"]
        return hits[0]["sort"][0] if hits else None

    async def remove_some(self, query: dict[str, Any]) -> int:
        """Remove up to a page of matching documents, except changed ones; return how many."""
        try:
            answer = await in_empty_context(
                self._changing.delete_by_query(
                    index=self._name, query=query, conflicts="proceed", refresh=True, max_docs=PAGE
                )
            )
        except NotFoundError as error:
            if type_of(error.body) == MISSING_INDEX:
                return 0
            raise
        for failed in answer.body["failures"]:
            raise failure(failed.get("status", 0), type_of({"error": failed.get("cause")}))
        return int(answer.body["deleted"])

    async def keys(self, query: dict[str, Any]) -> AsyncGenerator[list[str]]:
        """Yield the keys of the documents that match, in order, in pages.

        They are those of one point in time; of a later one, when the caller takes longer over a page than points in
        time are kept, or a node that had it is gone.
        """
        last: str | None = None
        lost_at_once = False
        while True:
            last_before = last
            beyond = [] if last is None else [{"range": {"key": {"gt": last}}}]
            try:
                async with aclosing(self._keys_of_one_time({"bool": {"filter": [query, *beyond]}})) as pages:
                    async for page in pages:
                        last = page[-1]
                        yield page
            except NotFoundError as error:
                if type_of(error.body) == MISSING_INDEX:
                    return
                if last == last_before and lost_at_once:
                    raise
                lost_at_once = last == last_before
            else:
                return

    async def collections(self, query: dict[str, Any]) -> AsyncIterator[list[str]]:
        """Yield the collections of the documents that match, each once, in pages."""
        names: dict[str, Any] = {"size": PAGE, "sources": [{"collection": {"terms": {"field": "collection"}}}]}
        while True:
            answer = await in_empty_context(
                self._client.search(
                    index=self._name,
                    query=query,
                    size=0,
                    aggregations={"names": {"composite": names}},
                    track_total_hits=False,
                    allow_partial_search_results=False,
                )
            )
            found = answer.body["aggregations"]["names"]
            if not found["buckets"]:
                return
            yield [bucket["key"]["collection"] for bucket in found["buckets"]]
            names["after"] = found["after_key"]

    async def _keys_of_one_time(self, query: dict[str, Any]) -> AsyncGenerator[list[str]]:
        opened = await in_empty_context(self._client.open_point_in_time(index=self._name, keep_alive=_KEEP_ALIVE))
        pit, after = opened.body["id"], None
        try:
            while True:
                answer = await in_empty_context(
                    self._client.search(
                        pit={"id": pit, "keep_alive": _KEEP_ALIVE},
                        query=query,
                        sort=[{"key": "asc"}],
                        search_after=after,
                        size=PAGE,
                        source=False,
                        track_total_hits=False,
                        allow_partial_search_results=False,
                    )
                )
                hits = answer.body["hits"]["hits"]
                if not hits:
                    return
                pit, after = answer.body["pit_id"], hits[-1]["sort"]
                yield [hit["sort"][0] for hit in hits]
        finally:
            if not self.closed:
                with suppress(ApiError, TransportError, TimeoutError):  # the server drops it by itself a little later
                    async with asyncio.timeout(_CLOSING):
                        await in_empty_context(self._changing.close_point_in_time(id=pit))

    async def _create(self) -> None:
        """Make the index, unless another store has just made it."""
        try:
            await in_empty_context(
                self._changing.indices.create(index=self._first, mappings=MAPPING, aliases={self._name: {}})
            )
        except BadRequestError as error:
            if type_of(error.body) != ALREADY_THERE:
                raise
            looking = self._client.options(ignore_status=404)  # this node may not have heard of it yet
            found = (await in_empty_context(looking.indices.get_alias(index=self._first))).body
            if self._first in found and self._name not in found[self._first]["aliases"]:
                raise ConfigurationError(
                    f"the index {self._first!r} is there, but its alias {self._name!r} is not; add the alias if the "
                    "index is this store's, or choose another index_prefix"
                ) from None
            await self.check()

    async def _again(
        self, actions: Sequence[Action], which: Sequence[int], results: list[Answer], *, searchable: bool
    ) -> None:
        for n, result in zip(which, await self._send([actions[n] for n in which], searchable=searchable), strict=True):
            results[n] = result

    async def _send(self, actions: Sequence[Action], *, searchable: bool) -> list[Answer]:
        """Make a bulk request, and return for each action its status and the type of its error."""
        size = sum([len(action.record.payload) for action in actions if action.record is not None])
        lines = await offload(lines_of, actions, searchable) if size >= LARGE else lines_of(actions, searchable)
        # Not the client's own bulk(): it makes a PUT of it, which aiohttp sends anew when its connection was lost.
        answer = await in_empty_context(
            self._changing.perform_request(
                "POST", f"/{self._name}/_bulk", params=self._writing, headers=_HEADERS, body=lines
            )
        )
        return [
            (result["status"], type_of(result) if "error" in result else "")
            for item in answer.body["items"]
            for result in item.values()
        ]


def _found(item: dict[str, Any]) -> Any:
    if item.get("found"):
        return item
    kind = type_of(item)
    if "error" not in item or kind == MISSING_INDEX:
        return None
    return failure(403 if kind == "security_exception" else 503, kind)


def _check_mapping(index: str, mapping: dict[str, Any]) -> None:
    made = mapping.get("_meta", {}).get("satchel_format")
    if type(made) is int and made > FORMAT:
        raise ConfigurationError(f"the index {index!r} was made by a later release of satchel; upgrade this one")
    types = {name: field.get("type") for name, field in mapping.get("properties", {}).items()}
    if made != FORMAT or {name: types.get(name) for name in NEEDED_TYPES} != NEEDED_TYPES:
        raise ConfigurationError(f"the index {index!r} does not have satchel's mapping; choose another index_prefix")


_SCHEMES = {"elasticsearch": "http", "elasticsearch+https": "https"}


def client_options(url: object, api_key: object, ca_certs: str | None, verify_certs: object) -> dict[str, Any]:
    """Return the arguments for a client; a wrong option raises `ConfigurationError`."""
    if url is None:
        url = "elasticsearch://127.0.0.1"
    if not isinstance(verify_certs, bool):
        raise ConfigurationError(f"verify_certs must be a bool, got {type(verify_certs).__name__}")
    parts, hosts = split_url(url)
    host, port = hosts[0]
    if parts.scheme not in _SCHEMES or not host or len(hosts) > 1 or parts.query:
        raise ConfigurationError("url must be elasticsearch://host:port or elasticsearch+https://host:port")
    shown = f"[{host}]" if ":" in host else host
    options: dict[str, Any] = {
        "max_retries": 1,  # of requests that change nothing: a connection may have been closed while it was idle
        "hosts": [f"{_SCHEMES[parts.scheme]}://{shown}:{port or 9200}{parts.path.rstrip('/')}"],
    }
    if api_key is not None:
        if not isinstance(api_key, str) or not api_key or parts.username:
            raise ConfigurationError("api_key must be a str that is not empty, and excludes a username in the url")
        options["api_key"] = api_key
    elif parts.username:
        options["basic_auth"] = unquote(parts.username), unquote(parts.password or "")
    if parts.scheme == "elasticsearch+https":
        options |= {"verify_certs": verify_certs, "ssl_show_warn": False}
        options |= {} if ca_certs is None else {"ca_certs": ca_certs}
    elif ca_certs is not None or not verify_certs:
        raise ConfigurationError("ca_certs and verify_certs need TLS: the url begins with elasticsearch+https://")
    return options


def connected(options: dict[str, Any]) -> AsyncElasticsearch:
    """Make a client; with TLS this reads files."""
    try:
        return AsyncElasticsearch(**options)
    except (ValueError, OSError) as error:
        kind = type(error).__name__  # what it says may show an option, and so must not be the context of another error
    raise ConfigurationError(
        f"no client can be made of these options ({kind}); ca_certs must be a file of certificates"
    )
