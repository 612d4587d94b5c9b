"""`NullStore`: accepts everything, holds nothing (`null://`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ..backend.base import ABSENT, BaseStore, Condition
from ..backend.record import Record
from ..names import Ref


class NullStore(BaseStore):
    """Store that accepts every legal write and keeps nothing: a disabled cache, or a double in tests.

    Arguments are checked as in every store. It behaves as a store
    whose entries expire at once: `put_if_absent` succeeds, reads and `compare_and_put` find nothing.
    """

    _checksums = "none"
    _native_expiry = True
    _shield_writes = False
    _any_loop = True

    async def _read(self, refs: Sequence[Ref]) -> Sequence[None]:
        return [None] * len(refs)

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[None]:
        return [None] * len(records)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[bool]:
        return [False] * len(refs)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[bool]:
        return [condition is ABSENT for _, _, condition in items]

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[bool]:
        return [False] * len(items)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[bool]:
        return [False] * len(items)

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return
        yield

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        return
        yield

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return False

    async def _destroy(self, now: float) -> bool:
        return False

    async def _cull(self, now: float) -> int:
        return 0
