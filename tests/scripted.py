"""Stores over an engine with latency, for tests: every wait is one the test decides on.

The engine carries out what it was sent even when the client has gone, as a server does. `in_order` says whether one
request waits for the one before it, or each takes its own time.
"""

import asyncio
from collections import Counter
from contextvars import Context

import msgspec

from satchel import BaseStore, KeyedStore
from satchel.backend.base import ABSENT, UNPROCESSED
from satchel.clock import system_clock


class Server:
    def __init__(self, *, in_order=False, delay=lambda: 1):
        self.in_order = in_order
        self.delay = delay
        self.data = {}
        self.calls = []
        self.faults = {}
        self.unprocessed = Counter()
        self.gate = None
        self.loses_answer = lambda: False
        self._last = None

    def sizes(self, kind):
        return [len(refs) for sent, refs in self.calls if sent == kind]

    async def request(self, kind, items, work):
        """Carry out `work` for each item; an item begins with its names."""
        refs = [item[0] for item in items]
        self.calls.append((kind, refs))
        for ref in refs:
            if ref[1] in self.faults:
                await asyncio.sleep(0)
                raise self.faults[ref[1]]
        task = asyncio.get_running_loop().create_task(self._carry_out(self._last, items, work), context=Context())
        self._last = task
        outcomes = await asyncio.shield(task)
        if self.loses_answer():
            raise ConnectionResetError
        return outcomes

    async def _carry_out(self, previous, items, work):
        if self.in_order and previous is not None:
            await asyncio.wait([previous])
        if self.gate is not None:
            await self.gate.wait()
        outcomes = []
        for item in items:
            await self._pause()
            if self.unprocessed[item[0][1]] > 0:
                self.unprocessed[item[0][1]] -= 1
                outcomes.append(UNPROCESSED)
            else:
                outcomes.append(work(*item))
        await self._pause()
        return outcomes

    async def _pause(self):
        for _ in range(self.delay()):
            await asyncio.sleep(0)

    # What the engine does with one item, in one step.

    def read(self, ref):
        return self.data.get(ref)

    def write(self, ref, record):
        self.data[ref] = record

    def delete(self, ref, now):
        record = self.data.pop(ref, None)
        return record is not None and record.deadline > now

    def put_if(self, ref, record, condition, now):
        met = self._meets(ref, condition, now)
        if met:
            self.data[ref] = record
        return met

    def delete_if(self, ref, version, now):
        met = self._meets(ref, version, now)
        if met:
            del self.data[ref]
        return met

    def touch(self, ref, deadline, now):
        record = self.data.get(ref)
        if record is None or record.deadline <= now:
            return False
        self.data[ref] = msgspec.structs.replace(record, deadline=deadline)
        return True

    def cull(self, now):
        gone = [ref for ref, record in self.data.items() if record.deadline <= now]
        for ref in gone:
            del self.data[ref]
        return len(gone)

    def _meets(self, ref, condition, now):
        record = self.data.get(ref)
        living = record is not None and record.deadline > now
        return not living if condition is ABSENT else living and record.version == condition


class _Scripted:
    def __init__(self, server=None, *, clock=system_clock, **settings):
        for name, setting in settings.items():
            setattr(self, f"_{name}", setting)
        self.server = server or Server()
        self.events = []
        super().__init__(clock=clock)

    async def _open(self):
        self.events.append("open")

    async def _close(self):
        self.events.append("close")

    def _discard(self):
        self.events.append("abandon")

    async def _ping(self):
        await self.server.request("ping", [], None)

    async def _keys(self, collection, prefix, now):
        self.events.append("keys")
        yield [key for name, key in list(self.server.data) if name == collection and key.startswith(prefix)]

    async def _collections(self, now):
        yield list({name for name, _ in self.server.data})

    async def _destroy_collection(self, collection, now):
        self.server.calls.append(("destroy_collection", []))
        refs = [ref for ref in self.server.data if ref[0] == collection]
        for ref in refs:
            del self.server.data[ref]
        return bool(refs)

    async def _destroy(self, now):
        self.server.calls.append(("destroy", []))
        there = bool(self.server.data)
        self.server.data.clear()
        return there

    async def _cull(self, now):
        self.events.append("cull")
        return self.server.cull(now)


class BatchStore(_Scripted, BaseStore):
    """Takes many items in one request."""

    async def _read(self, refs):
        return await self.server.request("read", [(ref,) for ref in refs], self.server.read)

    async def _write(self, records):
        return await self.server.request("write", records, self.server.write)

    async def _delete(self, refs, now):
        return await self.server.request("delete", [(ref, now) for ref in refs], self.server.delete)

    async def _put_if(self, items, now):
        return await self.server.request("put_if", [(*item, now) for item in items], self.server.put_if)

    async def _delete_if(self, items, now):
        return await self.server.request("delete_if", [(*item, now) for item in items], self.server.delete_if)

    async def _touch(self, items, now):
        return await self.server.request("touch", [(*item, now) for item in items], self.server.touch)


class SingleStore(_Scripted, KeyedStore):
    """Takes one item a request."""

    async def _read_one(self, ref):
        return (await self.server.request("read", [(ref,)], self.server.read))[0]

    async def _write_one(self, ref, record):
        return (await self.server.request("write", [(ref, record)], self.server.write))[0]

    async def _delete_one(self, ref, now):
        return (await self.server.request("delete", [(ref, now)], self.server.delete))[0]

    async def _put_if_one(self, ref, record, condition, now):
        return (await self.server.request("put_if", [(ref, record, condition, now)], self.server.put_if))[0]

    async def _delete_if_one(self, ref, version, now):
        return (await self.server.request("delete_if", [(ref, version, now)], self.server.delete_if))[0]

    async def _touch_one(self, ref, deadline, now):
        return (await self.server.request("touch", [(ref, deadline, now)], self.server.touch))[0]


def held(store):
    """Make the store's engine wait until the returned event is set."""
    store.server.gate = asyncio.Event()
    return store.server.gate


async def turns(count):
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)
