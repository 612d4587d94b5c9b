"""`KeyedStore`: base class of stores whose engine takes one item per request."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from ..capability import Capability
from ..names import Ref
from .base import BaseStore, ChangeResult, Condition, ReadResult, WriteResult, optional
from .record import Record


class KeyedStore(BaseStore):
    """Base class for backends that take one item a request; up to `_max_inflight` requests run at once.

    A subclass writes `_read_one`, `_write_one`, `_delete_one`, and all three of `_put_if_one`, `_delete_if_one` and
    `_touch_one` if its engine can honour them. What a hook raises fails its own item. The other hooks are those of
    `BaseStore`.
    """

    _max_inflight: ClassVar[int] = 64
    _max_items: ClassVar[int] = 1
    _hooks = BaseStore._hooks | {Capability.CONDITIONAL: ("_put_if_one", "_delete_if_one", "_touch_one")}

    @abstractmethod
    async def _read_one(self, ref: Ref) -> ReadResult:
        """Return a record, None for nothing there."""

    async def _read_head_one(self, ref: Ref) -> ReadResult:
        """Return the record as `_read_one` does, but with any payload: nobody looks at it."""
        return await self._read_one(ref)

    @abstractmethod
    async def _write_one(self, ref: Ref, record: Record) -> WriteResult:
        """Store a record, replacing any existing one and its deadline."""

    @abstractmethod
    async def _delete_one(self, ref: Ref, now: float) -> ChangeResult:
        """Remove an entry; return whether it existed and live."""

    @optional
    async def _put_if_one(self, ref: Ref, record: Record, condition: Condition, now: float) -> ChangeResult:
        """Store a record where the condition holds; return whether it did, in one atomic step."""
        raise self._unsupported("put_if_absent")

    @optional
    async def _delete_if_one(self, ref: Ref, version: str, now: float) -> ChangeResult:
        """Remove an entry that has the version; return whether it had, in one atomic step."""
        raise self._unsupported("compare_and_delete")

    @optional
    async def _touch_one(self, ref: Ref, deadline: float, now: float) -> ChangeResult:
        """Give a live entry a new deadline, and nothing else; return whether there was one."""
        raise self._unsupported("touch")

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return [await self._read_one(ref) for ref in refs]

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return [await self._read_head_one(ref) for ref in refs]

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        return [await self._write_one(ref, record) for ref, record in records]

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        return [await self._delete_one(ref, now) for ref in refs]

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        return [await self._put_if_one(ref, record, condition, now) for ref, record, condition in items]

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        return [await self._delete_if_one(ref, version, now) for ref, version in items]

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        return [await self._touch_one(ref, deadline, now) for ref, deadline in items]
