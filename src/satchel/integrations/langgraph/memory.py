"""`LangGraphStore`: LangGraph's long-term memory on a satchel store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from ...capability import Capability
from ...entry import Entry
from ...errors import UnsupportedOperationError, missing_extra
from ...names import check_name
from ...protocol import AsyncKeyValue, require
from .names import join, split

try:
    from langgraph.store.base import (
        BaseStore,
        GetOp,
        Item,
        ListNamespacesOp,
        MatchCondition,
        Op,
        PutOp,
        Result,
        SearchItem,
        SearchOp,
        TTLConfig,
    )
except ModuleNotFoundError as error:
    raise missing_extra("LangGraphStore", "langgraph", error) from error

_PAGE = 500
_OPERATORS = {
    "$eq": lambda value, other: value == other,
    "$ne": lambda value, other: value != other,
    "$gt": lambda value, other: _number(value) > _number(other),
    "$gte": lambda value, other: _number(value) >= _number(other),
    "$lt": lambda value, other: _number(value) < _number(other),
    "$lte": lambda value, other: _number(value) <= _number(other),
}


class LangGraphStore(BaseStore):
    """Store of LangGraph's long-term memory over a satchel store.

    An item is an entry of one collection, whose key is its namespace and key, so that a namespace is read by a prefix.
    It has the asynchronous methods alone. A search filters and gives the items that were changed last first; it knows
    no vectors, and takes no `query`. What is asked of it is checked before anything is read.

    Args:
        store: A store with conditional writes that can list keys.
        collection: The collection; one that something else uses too is not for it.
        ttl: LangGraph's own settings of times to live, in minutes.

    Raises:
        ConfigurationError: `store` is no store.
        InvalidKeyError: `collection` is no name of a collection.
        UnsupportedOperationError: The store lacks a capability.
    """

    supports_ttl = True

    def __init__(
        self, store: AsyncKeyValue, *, collection: str = "langgraph/memory", ttl: TTLConfig | None = None
    ) -> None:
        self._store = require(store, Capability.CONDITIONAL | Capability.ENUMERATE_KEYS)
        self._collection = check_name(collection, "collection")
        self.ttl_config = ttl

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Refuse, since it would have to wait for the event loop: `abatch`, `aget`, `aput` and so on do not.

        Raises:
            UnsupportedOperationError: Always.
        """
        raise UnsupportedOperationError(
            "LangGraphStore has the asynchronous methods alone: await aget, asearch, aput, adelete, or abatch"
        )

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations: reads see the state before all writes, of which the last one of an item counts.

        Raises:
            UnsupportedOperationError: A search has a `query`.
            InvalidKeyError: A namespace and key are longer than the store takes.
            BatchError: Some items could not be read or written.
        """
        asked = list(ops)
        for op in asked:
            if isinstance(op, SearchOp) and op.query:
                raise UnsupportedOperationError("LangGraphStore has no vectors: search without query=, by filter=")
        reads = {_name(op.namespace, op.key): op for op in asked if isinstance(op, GetOp)}
        writes = {_name(op.namespace, op.key): op for op in asked if isinstance(op, PutOp)}
        found = await self._store.get_entries(self._collection, {**reads, **writes})
        results: list[Result] = []
        for op in asked:
            if isinstance(op, GetOp):
                entry = found.get(_name(op.namespace, op.key))
                results.append(None if entry is None else _item(op.namespace, op.key, entry.value))
            elif isinstance(op, SearchOp):
                results.append(await self._search(op))
            elif isinstance(op, ListNamespacesOp):
                results.append(await self._namespaces(op))
            else:
                results.append(None)
        await self._refresh({name: found[name] for name, op in reads.items() if op.refresh_ttl and name in found})
        await self._write(writes, found)
        return results

    async def _write(self, writes: dict[str, PutOp], found: dict[str, Entry]) -> None:
        now = datetime.now(UTC).isoformat()
        by_ttl: dict[float | None, dict[str, object]] = {}
        for name, op in writes.items():
            if op.value is not None:
                created = found[name].value["created_at"] if name in found else now
                record = {"format": 1, "value": dict(op.value), "created_at": created, "updated_at": now}
                by_ttl.setdefault(op.ttl, {})[name] = record if op.ttl is None else {**record, "ttl": op.ttl}
        gone = [name for name, op in writes.items() if op.value is None]
        await asyncio.gather(
            *(
                self._store.put_many(self._collection, items, ttl=None if minutes is None else 60 * minutes)
                for minutes, items in by_ttl.items()
            ),
            *([self._store.delete_many(self._collection, gone)] if gone else []),
        )

    async def _refresh(self, read: dict[str, Entry]) -> None:
        timed = {name: entry.value["ttl"] for name, entry in read.items() if "ttl" in entry.value}
        await asyncio.gather(
            *(self._store.touch(self._collection, name, ttl=60 * minutes) for name, minutes in timed.items())
        )

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        kept: list[tuple[str, Entry]] = []
        async for name, entry in self._entries(join(op.namespace_prefix)):
            if all(_fits(entry.value["value"].get(field), wanted) for field, wanted in (op.filter or {}).items()):
                kept.append((name, entry))
        kept.sort(key=lambda pair: pair[0])
        kept.sort(key=lambda pair: pair[1].value["updated_at"], reverse=True)
        shown = kept[op.offset : op.offset + op.limit]
        if op.refresh_ttl:
            await self._refresh(dict(shown))
        return [_search_item(name, entry.value) for name, entry in shown]

    async def _entries(self, prefix: str) -> Any:
        page: list[str] = []
        async for name in self._store.keys(self._collection, prefix=prefix):
            page.append(name)
            if len(page) == _PAGE:
                for pair in (await self._store.get_entries(self._collection, page)).items():
                    yield pair
                page.clear()
        for pair in (await self._store.get_entries(self._collection, page)).items():
            yield pair

    async def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        async for name in self._store.keys(self._collection):
            namespace = tuple(split(name)[:-1])
            if all(_matches(condition, namespace) for condition in op.match_conditions or ()):
                found.add(namespace[: op.max_depth])
        return sorted(found)[op.offset : op.offset + op.limit]


def _name(namespace: tuple[str, ...], key: str) -> str:
    # The colon keeps an item apart from a namespace: no part of a path that was joined has one.
    return f"{join(namespace)}:{join([key])}"


def _parts(name: str) -> tuple[tuple[str, ...], str]:
    *namespace, key = split(name)
    return tuple(namespace), key.removeprefix(":")


def _times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: datetime.fromisoformat(record[name]) for name in ("created_at", "updated_at")}


def _item(namespace: tuple[str, ...], key: str, record: dict[str, Any]) -> Item:
    return Item(value=record["value"], key=key, namespace=namespace, **_times(record))


def _search_item(name: str, record: dict[str, Any]) -> SearchItem:
    namespace, key = _parts(name)
    return SearchItem(namespace=namespace, key=key, value=record["value"], **_times(record))


def _matches(condition: MatchCondition, namespace: tuple[str, ...]) -> bool:
    count = len(condition.path)
    part = namespace[:count] if condition.match_type == "prefix" else namespace[len(namespace) - count :]
    return len(namespace) >= count and all(
        wanted in {"*", name} for name, wanted in zip(part, condition.path, strict=True)
    )


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        if any(name.startswith("$") for name in wanted):
            return all(_operator(name)(value, other) for name, other in wanted.items())
        return isinstance(value, dict) and all(_fits(value.get(name), other) for name, other in wanted.items())
    return bool(value == (list(wanted) if isinstance(wanted, tuple) else wanted))


def _operator(name: str) -> Any:
    if name not in _OPERATORS:
        raise ValueError(f"unknown operator {name}; known: {', '.join(_OPERATORS)}")
    return _OPERATORS[name]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")  # it is neither above nor below anything
