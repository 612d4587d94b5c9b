"""A store of your own, over any mapping of bytes to bytes that answers at once, such as a dict or an LMDB table."""

from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from typing import Any

from satchel import KeyedStore
from satchel.backend.record import Record, pack, unpack

Ref = tuple[str, str]


class MappingStore(KeyedStore):
    """Keeps packed entries in a mapping that belongs to the caller."""

    _shield_writes = False  # no hook waits for anything, so that nothing can be cut off

    def __init__(self, mapping: MutableMapping[bytes, bytes], **options: Any) -> None:
        super().__init__(**options)
        self._mapping = mapping

    def _name(self, ref: Ref) -> bytes:
        collection, key = ref
        return f"{len(collection)}:{collection}{key}".encode()  # without the length, ("a", "bk") would be ("ab", "k")

    def _names(self) -> Iterator[Ref]:
        for name in list(self._mapping):
            length, _, both = name.decode().partition(":")
            yield both[: int(length)], both[int(length) :]

    def _living(self, ref: Ref, now: float) -> Record | None:
        packed = self._mapping.get(self._name(ref))
        record = None if packed is None else unpack(packed)
        return record if record is not None and record.deadline > now else None

    async def _read_one(self, ref: Ref) -> Record | None:
        packed = self._mapping.get(self._name(ref))
        return None if packed is None else unpack(packed)

    async def _write_one(self, ref: Ref, record: Record) -> None:
        self._mapping[self._name(ref)] = pack(record)

    async def _delete_one(self, ref: Ref, now: float) -> bool:
        lived = self._living(ref, now) is not None
        self._mapping.pop(self._name(ref), None)
        return lived

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        yield [
            key
            for place, key in self._names()
            if place == collection and key.startswith(prefix) and self._living((place, key), now)
        ]

    async def _cull(self, now: float) -> int:
        expired = [ref for ref in self._names() if self._living(ref, now) is None]
        for ref in expired:
            del self._mapping[self._name(ref)]
        return len(expired)
