"""`SatchelSaver`: checkpoints of LangGraph's graphs in a satchel store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec

from ...capability import Capability
from ...clock import seconds
from ...codec import UNDECODABLE
from ...errors import IntegrityError, missing_extra
from ...names import check_name
from ...protocol import AsyncKeyValue, require
from .names import join, split

try:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        WRITES_IDX_MAP,
        BaseCheckpointSaver,
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
        get_checkpoint_id,
        get_checkpoint_metadata,
    )
    from langgraph.checkpoint.serde.base import SerializerProtocol
except ModuleNotFoundError as error:
    raise missing_extra("SatchelSaver", "langgraph", error) from error

Typed = tuple[str, bytes]
"""What a serializer of LangGraph's makes of an object: the name of a format, and bytes."""


class _Checkpoint(msgspec.Struct, array_like=True, frozen=True):
    format: int
    checkpoint: Typed
    metadata: Typed
    parent: str | None


class _Write(msgspec.Struct, array_like=True, frozen=True):
    format: int
    channel: str
    value: Typed
    task_path: str


_FORMAT = 1


class SatchelSaver(BaseCheckpointSaver[str]):
    """Saver of the checkpoints of LangGraph's graphs in a satchel store.

    It has the asynchronous methods alone: use `ainvoke` and `astream`. A checkpoint is one entry, and so is each
    pending write; the keys begin with thread and namespace, so that those of one thread are read by a prefix.

    Args:
        store: A store with conditional writes that can list keys.
        collection: The collection of the checkpoints; their writes are in `{collection}/writes`.
        ttl: Seconds that a checkpoint is kept for after it was saved; None keeps it until it is deleted.
        serde: A serializer of LangGraph's instead of its usual one, such as one that encrypts.

    Raises:
        ConfigurationError: `store` is no store.
        InvalidKeyError, InvalidTTLError: `collection` is no name of a collection, or the ttl is not legal.
        UnsupportedOperationError: The store lacks a capability.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        *,
        collection: str = "langgraph/checkpoints",
        ttl: float | None = None,
        serde: SerializerProtocol | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self._store = require(store, Capability.CONDITIONAL | Capability.ENUMERATE_KEYS)
        self._collection = check_name(collection, "collection")
        self._writes = check_name(f"{collection}/writes", "collection")
        self._ttl = None if ttl is None else seconds(ttl)

    def get_next_version(self, current: str | float | None, channel: None) -> str:
        """Return the version of a channel after another one."""
        number = 0 if current is None else int(str(current).split(".")[0])
        return f"{number + 1:032}"

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint that a configuration names, or the last one of its thread; None where there is none."""
        thread, namespace, asked = _place(config)
        last = asked
        if last is None:
            async for name in self._store.keys(self._collection, prefix=join([thread, namespace])):
                last = max(last or "", split(name)[2])
        if last is None:
            return None
        record = await self._store.get(self._collection, join([thread, namespace, last]))
        return None if record is None else await self._tuple(thread, namespace, last, _decode(record, _Checkpoint))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Iterate over checkpoints, those of a namespace from the last one back.

        Args:
            config: Names a thread, and if need be a namespace and a checkpoint; None for all.
            filter: What the metadata must have.
            before: Names a checkpoint; earlier ones alone are wanted.
            limit: How many are wanted at most.
        """
        earlier_than = get_checkpoint_id(before) if before else None
        for thread, namespace, identity in await self._names(config):
            if limit is not None and limit <= 0:
                return
            if earlier_than and identity >= earlier_than:
                continue
            wire = await self._store.get(self._collection, join([thread, namespace, identity]))
            if wire is None:
                continue
            record = _decode(wire, _Checkpoint)
            metadata = self.serde.loads_typed(record.metadata)
            if any(metadata.get(name) != wanted for name, wanted in (filter or {}).items()):
                continue
            limit = None if limit is None else limit - 1
            yield await self._tuple(thread, namespace, identity, record)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, and return the configuration that names it."""
        thread, namespace, parent = _place(config)
        record = _Checkpoint(
            _FORMAT,
            self.serde.dumps_typed(checkpoint),
            self.serde.dumps_typed(get_checkpoint_metadata(config, metadata)),
            parent,
        )
        name = join([thread, namespace, checkpoint["id"]])
        await self._store.put(self._collection, name, msgspec.msgpack.encode(record), ttl=self._ttl)
        return _config(thread, namespace, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save what a task wrote after a checkpoint; what it saved before stays, but for errors and interrupts."""
        thread, namespace, identity = _place(config)
        kept: dict[str, bytes] = {}
        replaced: dict[str, object] = {}
        for number, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, number)
            name = join([thread, namespace, identity or "", task_id, str(index)])
            wire = msgspec.msgpack.encode(_Write(_FORMAT, channel, self.serde.dumps_typed(value), task_path))
            if index < 0:
                replaced[name] = wire
            else:
                kept.setdefault(name, wire)
        await asyncio.gather(
            *(self._store.put_if_absent(self._writes, name, wire, ttl=self._ttl) for name, wire in kept.items()),
            self._store.put_many(self._writes, replaced, ttl=self._ttl),
        )

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete the checkpoints and writes of a thread."""
        await self._delete([join([str(thread_id)])])

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that runs have made, with their writes; every checkpoint is read for it."""
        gone: list[str] = []
        for thread, namespace, identity in await self._names(None):
            name = join([thread, namespace, identity])
            wire = await self._store.get(self._collection, name)
            if wire is not None:
                metadata = self.serde.loads_typed(_decode(wire, _Checkpoint).metadata)
                gone += [name] * (metadata.get("run_id") in run_ids)
        await self._delete(gone)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy all checkpoints and writes of a thread to another one."""
        source, target = join([str(source_thread_id)]), join([str(target_thread_id)])
        for collection in (self._writes, self._collection):  # a checkpoint is there when all that belongs to it is
            names = [name async for name in self._store.keys(collection, prefix=source)]
            for name in names:
                wire = await self._store.get(collection, name)
                if wire is not None:
                    await self._store.put(collection, target + name.removeprefix(source), wire, ttl=self._ttl)

    async def _names(self, config: RunnableConfig | None) -> list[tuple[str, str, str]]:
        """Return thread, namespace and identity of the checkpoints that a configuration names, the last ones first."""
        given = config["configurable"] if config else {}
        parts = [str(given[name]) for name in ("thread_id", "checkpoint_ns") if name in given]
        found = [split(name) async for name in self._store.keys(self._collection, prefix=join(parts))]
        asked = get_checkpoint_id(config) if config else None
        names = [(part[0], part[1], part[2]) for part in found if asked in {None, part[2]}]
        names.sort(key=lambda name: name[2], reverse=True)
        return sorted(names, key=lambda name: name[:2])

    async def _tuple(self, thread: str, namespace: str, identity: str, record: _Checkpoint) -> CheckpointTuple:
        return CheckpointTuple(
            config=_config(thread, namespace, identity),
            checkpoint=self.serde.loads_typed(record.checkpoint),
            metadata=self.serde.loads_typed(record.metadata),
            parent_config=_config(thread, namespace, record.parent) if record.parent else None,
            pending_writes=await self._pending(join([thread, namespace, identity])),
        )

    async def _pending(self, prefix: str) -> list[tuple[str, str, Any]]:
        names = [name async for name in self._store.keys(self._writes, prefix=prefix)]
        wires = await self._store.get_many(self._writes, names)
        found = [(*split(name)[3:5], _decode(wire, _Write)) for name, wire in wires.items()]
        found.sort(key=lambda write: (write[2].task_path, write[0], int(write[1])))  # as LangGraph's writes_sort_key
        return [(task, write.channel, self.serde.loads_typed(write.value)) for task, _, write in found]

    async def _delete(self, prefixes: Iterable[str]) -> None:
        for prefix in prefixes:
            for collection in (self._collection, self._writes):
                names = [name async for name in self._store.keys(collection, prefix=prefix)]
                await self._store.delete_many(collection, names)


def _place(config: RunnableConfig) -> tuple[str, str, str | None]:
    given = config["configurable"]
    return str(given["thread_id"]), str(given.get("checkpoint_ns", "")), get_checkpoint_id(config)


def _config(thread: str, namespace: str, identity: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": identity}}


def _decode(wire: Any, kind: Any) -> Any:
    try:
        record = msgspec.msgpack.decode(wire, type=kind)
    except (*UNDECODABLE, TypeError):
        record = None
    if record is None or record.format != _FORMAT:
        raise IntegrityError("an entry among LangGraph's checkpoints is none that this version of satchel wrote")
    return record
