"""The commands about single entries and their names: get, put, rm, ls, info, touch, pop."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import msgspec

from .._batches import in_order
from .._update import remaining
from ..capability import Capability
from ..codec import UNDECODABLE
from ..copying import checked_filter
from ..protocol import SupportsConditional, require
from . import output
from .outcome import ABSENT, DONE, UsageError, say
from .places import opened

_TTL = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


async def get(place: str | None, collection: str, key: str, file: str, *, as_json: bool) -> int:
    """Write a value."""
    async with await opened(place) as store:
        entry = await store.get_entry(collection, key)
        if entry is None:
            return _absent(collection, key)
        described = output.described(collection, key, entry)
        content = output.as_bytes(described if as_json else entry.value)
        async with _sink(file) as write:
            await write(content)
        return DONE


async def put(
    place: str | None,
    collection: str,
    key: str,
    value: str | None,
    file: str | None,
    ttl: str | None,
    *,
    form: str,
    as_json: bool,
) -> int:
    """Store a value."""
    if (value is None) == (file is None):
        raise UsageError("put needs a value, or -i with a file (- for standard input), and not both")
    lifetime = None if ttl is None else seconds(ttl)
    content = value.encode("utf-8", "surrogateescape") if value is not None else await _read(str(file))
    meant = _meant(content, form)
    async with await opened(place) as store:
        await store.put(collection, key, meant, ttl=lifetime)
    if as_json:
        output.json_line({"collection": collection, "key": key, "put": True})
    return DONE


async def rm(place: str | None, collection: str, keys: Sequence[str], *, as_json: bool) -> int:
    """Remove entries."""
    unique = list(dict.fromkeys(keys))
    async with await opened(place) as store:
        removed = await store.delete_many(collection, unique)
    if as_json:
        output.json_line({"collection": collection, "removed": removed, "absent": len(unique) - removed})
    if removed < len(unique):
        say(f"{len(unique) - removed} of {len(unique)} keys are absent in {output.name(collection)}")
        return ABSENT
    return DONE


async def ls(
    place: str | None,
    collection: str | None,
    prefix: str,
    exclude: str | None,
    glob: str | None,
    depth: int | None,
    limit: int | None,
    after: str | None,
    *,
    as_json: bool,
) -> int:
    """List the collections, or the keys of one."""
    if collection is None and (prefix or exclude or glob or depth):
        raise UsageError("--prefix, --exclude, --glob and --depth select keys: name a collection")
    checked_filter(prefix=prefix, exclude_prefix=exclude, glob=glob, depth=depth)
    most = None if limit is None else limit + 1
    begin = after if after is not None or limit is None else ""
    last = ""
    async with await opened(place) as store:
        if collection is not None:
            names = store.collection(collection).keys(
                prefix=prefix, exclude_prefix=exclude, glob=glob, depth=depth, limit=most, after=begin
            )
        elif begin is None:
            names = require(store, Capability.ENUMERATE_COLLECTIONS).collections()
        else:
            names = in_order(require(store, Capability.ENUMERATE_COLLECTIONS).collections, begin, most)
        count = 0
        async for name in names:
            count += 1
            if count == most:
                sys.stdout.flush()
                say(f"there are more; the next page is --after {output.name(last)}")
                break
            if not as_json:
                output.line(output.name(name))
            else:
                output.json_line(
                    {"collection": name} if collection is None else {"collection": collection, "key": name}
                )
            last = name
    return DONE


async def info(place: str | None, collection: str, key: str, *, as_json: bool) -> int:
    """Show type, size, times and version of an entry."""
    async with await opened(place) as store:
        entry = await store.get_entry(collection, key)
    if entry is None:
        return _absent(collection, key)
    about: dict[str, object] = {
        "collection": collection,
        "key": key,
        "type": output.kind(entry.value),
        "size": entry.size,
        "updated_at": output.moment(entry.updated_at),
        "expires_at": None if entry.expires_at is None else output.moment(entry.expires_at),
        "ttl": entry.ttl,
        "version": entry.version,
    }
    if as_json:
        output.json_line(about)
        return DONE
    ttl = "never" if entry.ttl is None else f"{about['expires_at']} (in {entry.ttl:.0f} s)"
    shown = {**about, "collection": output.name(collection), "key": output.name(key), "size": f"{entry.size} bytes"}
    shown = {"expires" if title == "expires_at" else title: text for title, text in shown.items() if title != "ttl"}
    for title, text in (shown | {"expires": ttl}).items():
        output.line(f"{title.removesuffix('_at'):<10}  {text}")
    return DONE


async def touch(place: str | None, collection: str, key: str, ttl: str | None, *, never: bool, as_json: bool) -> int:
    """Give an entry a new deadline."""
    if (ttl is None) is not never:
        raise UsageError("touch needs --ttl with a time, or --never, and not both")
    lifetime = None if ttl is None else seconds(ttl)
    async with await opened(place) as store:
        found = await require(store, Capability.CONDITIONAL).touch(collection, key, ttl=lifetime)
    if not found:
        return _absent(collection, key)
    if as_json:
        output.json_line({"collection": collection, "key": key, "touched": True})
    return DONE


async def pop(place: str | None, collection: str, key: str, file: str, *, as_json: bool) -> int:
    """Remove an entry and write its value."""
    async with await opened(place) as store:
        conditional: SupportsConditional = require(store, Capability.CONDITIONAL)
        while (entry := await conditional.get_entry(collection, key)) is not None:
            content = output.as_bytes(output.described(collection, key, entry) if as_json else entry.value)
            async with _sink(file) as write:  # a file is opened before the entry is removed
                if not await conditional.compare_and_delete(collection, key, version=entry.version):
                    continue
                try:
                    await write(content)
                except OSError:
                    await conditional.put_if_absent(collection, key, entry.value, ttl=remaining(entry))
                    raise
                return DONE
    return _absent(collection, key)


def seconds(text: str) -> float:
    """Return the seconds of a time to live such as `90`, `15m`, `2h` or `7d`."""
    found = _TTL.fullmatch(text)
    if found is None:
        raise UsageError("a ttl is written as seconds, or with a unit: 90, 15m, 2h, 7d, 2w")
    return float(found[1]) * _SECONDS[found[2]]


def _meant(content: bytes, form: str) -> object:
    """Return the value that bytes from the command line or a file represent."""
    if form == "bytes":
        return content
    try:
        if form == "text":
            return content.decode()
        return msgspec.json.decode(content)
    except UNDECODABLE:
        other = "not UTF-8; use --bytes" if form == "text" else "not JSON; use --text or --bytes to store it as it is"
    raise UsageError(f"the value is {other}")


def _absent(collection: str, key: str) -> int:
    say(f"key {key!r} of collection {collection!r} is absent")
    return ABSENT


async def _read(file: str) -> bytes:
    if file == output.STREAM:
        return await anyio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
    return await anyio.Path(file).read_bytes()


@asynccontextmanager
async def _sink(file: str) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Give a function that writes to a file, which is opened, or to standard output."""
    if file == output.STREAM:
        sys.stdout.flush()

        async def write(content: bytes) -> None:
            sys.stdout.buffer.write(content)  # nothing else runs on this loop
            sys.stdout.buffer.flush()

        yield write
        return
    async with await anyio.open_file(file, "wb") as opened_file:

        async def write_file(content: bytes) -> None:
            await opened_file.write(content)
            await opened_file.flush()

        yield write_file
