"""Recorded calls and keys of their index: what is damaged is reported or passed over, by every use of them."""

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any

from satchel import (
    DigestError,
    IntegrityError,
    InvalidKeyError,
    KeyMissingError,
    MemoryStore,
    SatchelError,
    SerializationError,
)
from satchel.content import ANY, Calls, ContentStore, Digest, FunctionCall, memoize
from satchel.content.calls import RecordedCall
from satchel.testing import FakeClock
from tests.fuzz import harness
from tests.fuzz.harness import json_of, run, text_of

INPUTS = 100
SEPARATOR = b"\r\n\r\n"
RECORD, INDEX = 0xF0, 0xF1
"""First byte of a piece that is an entry of its own; a smaller one replaces an entry of the store."""


def area(width: int, height: int) -> int:
    return width * height


CALLS = [
    FunctionCall(
        "area", {"width": 2, "height": 3}, 6, tags={"lab": "B", "n": 1.5}, metadata={"runtime": {"seconds": 1}}
    ),
    FunctionCall("area", {"width": 1, "height": 6}, 6, recorded_at=1.5),
    FunctionCall("other" * 20, {"x" * 40: [1]}, {"a": "b"}, version=1, tags={"lab": None}),
]


@cache
def stored() -> tuple[list[tuple[str, str, Any]], list[Digest]]:
    """Return the entries of a store with recorded calls, those that are to be damaged first, and the calls' digests."""

    async def build() -> tuple[list[tuple[str, str, Any]], list[Digest]]:
        clock = FakeClock()
        store = MemoryStore(clock=clock)
        calls = calls_of(store, clock)
        recorded = [await calls.record(call) for call in CALLS]
        places = ("calls", "calls/index", "content/roots", "content/settings", "content")
        names = [(c, k) for c in places async for k in store.keys(c)]
        return [(c, k, await store.get(c, k)) for c, k in names], recorded

    return run(build())


def calls_of(store: MemoryStore, clock: FakeClock) -> Calls:
    return Calls(ContentStore(store, clock=clock), clock=clock)


def __getattr__(name: str) -> Any:  # the tokens are digests, which are not made when pytest collects tests
    if name == "TOKENS":
        return tokens()
    raise AttributeError(name)


@cache
def tokens() -> list[bytes]:
    entries, recorded = stored()
    fields = ("format", "name", "version", "arguments", "roots", "tags", "metadata", "at", "width", "lab", "runtime")
    return [
        *(json.dumps(name).encode() + b":" for name in fields),
        *(json.dumps(name).encode() for name in ("area", "width", str(recorded[0]), entries[0][2]["roots"][0])),
        *(SEPARATOR + bytes([place]) for place in (0, 1, 3, 6, RECORD, INDEX)),
        *(
            b"\0",
            b"fn\0area\0",
            b"arg\0width\0",
            b"result\0",
            b"tag\0lab\0",
            recorded[0].encode(),
            recorded[1].encode(),
        ),
        *(b"null", b"-1", b"0", b"1e308", b"true", b"9" * 30, b"9" * 400, b'""', b"[]", b"{}", b"[[]]", b'{"x":[]}'),
        *(b'["x"]', b'"\\ud800"', b'"\xff"', b"[" * 90 + b"]" * 90, b'"' + b"0" * 64 + b'"', b"1e-320", b'"\\u0000"'),
    ]


def seeds() -> Sequence[bytes]:
    entries, recorded = stored()
    good = entries[0][2]
    inputs = [
        bytes([place]) + json.dumps(value).encode()
        for place, (_, _, value) in enumerate(entries)
        if type(value) is dict
    ]
    changes = [{"arguments": "xy"}, {"tags": []}, {"at": "x"}, {"metadata": {"x": 1}}, {"name": 1}, {"version": []}]
    inputs += [b"\0" + json.dumps(good | change).encode() for change in changes]
    inputs += [
        bytes([RECORD]) + key + b"\0\0" + json.dumps(good).encode() for key in (b"x", b"0" * 64, recorded[0].encode())
    ]
    end = b"\0%016x\0%s" % (1, recorded[0].encode())
    keys = (
        b"fn\0area" + end,
        b"fn\0area\0",
        b"fn\0",
        b"fn\0x",
        b"fn\0area\0\0",
        b"arg\0width\0\0area" + end,
        b"result\0" + end,
    )
    inputs += [bytes([INDEX]) + key + b'\0\0{"format":1}' for key in keys]
    return inputs


def check(data: bytes) -> None:
    run(use(data))


async def use(data: bytes) -> None:
    """Use recorded calls of which some entries have become others."""
    entries, recorded = stored()
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    for collection, key, value in entries:
        await store.put(collection, key, value)
    asked: list[Any] = list(recorded)
    for piece in data.split(SEPARATOR)[:200]:
        await damage(store, entries, asked, piece)
    calls = calls_of(store, clock)
    for text in asked:
        await read(calls, text)
    await query(calls)
    await change(calls, store, clock)


async def damage(store: MemoryStore, entries: list[tuple[str, str, Any]], asked: list[Any], piece: bytes) -> None:
    if not piece:
        return
    place, value = piece[0], piece[1:]
    if place < RECORD:
        collection, key, _ = entries[place % len(entries)]
    else:
        collection = "calls/index" if place % 2 else "calls"
        name, _, value = value.partition(b"\0\0")
        key = text_of(name)
        asked.append(key)
    decoded = json_of(value)
    try:
        await store.put(collection, key, value if decoded is None else decoded)
    except (InvalidKeyError, SerializationError):
        return


async def reported(use: Callable[[], Awaitable[Any]], *errors: type[SatchelError]) -> Any:
    """Return what something returns, or the error of one that may be raised: always that of damage."""
    return await harness.reported(use, IntegrityError, *errors)


async def read(calls: Calls, text: str) -> None:
    """Use a call by its digest, or by a text that is given as one."""
    await reported(lambda: calls.expand(text[:8]), InvalidKeyError, KeyMissingError)
    try:
        Digest(text)
    except DigestError:
        assert type(await reported(lambda: calls.load(text), DigestError)) is DigestError
        return
    await reported(lambda: calls.contains(text))
    call = await reported(lambda: calls.load(text), KeyMissingError)
    if isinstance(call, RecordedCall):
        assert call == await calls.get(text)
        assert repr(call)
        assert hash(call) is not None
        assert call.replace().arguments == call.argument_digests
        await reported(call.load, KeyMissingError)


async def query(calls: Calls) -> None:
    by_index: list[dict[str, Any]] = [
        *({"fn": "area"}, {"args": {"width": 2}}, {"args": {"width": ANY}}, {"result": 6, "since": 1.0}),
        {"tags": {"lab": "B"}},
    ]
    for conditions in by_index:
        found = calls.query(**conditions)
        await reported(lambda found=found: found.sorted(lambda call: call.recorded_at))  # type: ignore[misc]  # mypy wants to know its type
    found = calls.query()
    for use in (found.latest, found.first, found.rows, lambda: found.group_by(lambda call: call.name)):
        await reported(use)
    await reported(lambda: results(found))
    await reported(lambda: found.copy_to(Calls(ContentStore(MemoryStore()))))


async def results(found: Any) -> None:
    async for _ in found.results():
        pass


async def change(calls: Calls, store: MemoryStore, clock: FakeClock) -> None:
    async def run_area(width: int, height: int) -> int:
        return area(width, height)

    remembered = memoize(calls, name="area")(run_area)
    await reported(lambda: remembered(2, 3))
    await reported(lambda: remembered(5, 5))
    await reported(
        lambda: calls.transform(lambda call: call.replace(version=2) if call.version is None else None), KeyMissingError
    )
    clock.advance(7200)
    before = {key async for key in store.keys("content")}
    if isinstance(await reported(calls.content.gc), IntegrityError):
        assert {key async for key in store.keys("content")} == before
    await reported(calls.query().delete)
    clock.advance(7200)
    for call in CALLS:  # whatever was damaged, it is recorded anew
        key = await reported(lambda call=call: calls.record(call))  # type: ignore[misc]  # mypy wants to know its type
        if not isinstance(key, SatchelError):
            assert await (await calls.load(key)).result() == call.result
