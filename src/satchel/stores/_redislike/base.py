"""`RedisLikeStore`: the hooks of stores over servers that speak Redis's commands, whatever client library asks them.

A subclass writes `_execute` (send commands, give a reply each), `_execute_as_one` (the same in one atomic step),
`_scan` (the server's keys in pages), `_lines` (connections to all servers that hold keys), `_open`, `_close`,
`_discard` and `_ping`, and sets `_clustered` when its server is a cluster. The rest is here and in

* `_redis_layout`: names to Redis keys and back, cluster slots,
* `_redis_scripts`: the Lua scripts, and what they answer,
* `_redis_errors`: the server's errors in satchel's.

The header of an entry alone decides whether it lives, by the store's clock. The server's own expiry only reclaims
space, a while after the deadline, so that clocks may differ.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, TypeVar

from ..._checks import check_seconds
from ..._threads import offload
from ...backend.base import BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.network import DEFAULT_TIMEOUT
from ...backend.record import HEADER_SIZE, Record, pack, pack_deadline, pack_in_two, unpack_outcome, unpack_pieces
from ...backend.watching import Feed
from ...clock import NEVER, Clock
from ...codec import LARGE, Codec
from ...errors import IntegrityError, SatchelError
from ...names import Ref
from .errors import NOT_OURS, ServerError, translate
from .large import Pieces
from .layout import Layout, slot_of
from .line import Line
from .scripts import CLEAR, DELETE, FOREIGN, LOOK, PUT, PUT_IF, TOUCH, Script
from .watching import report

T = TypeVar("T")
Argument = str | bytes | tuple[bytes, bytes]
Command = tuple[Argument, ...]
"""A command as it is sent: its name as `str`, then its arguments, each as `bytes` or ASCII, or a large one in two."""

PAGE = 1000
"""How many keys a server is to look at for one page of a listing."""

CLOCK_SKEW = 1.0
"""Default of the maximum difference of clients' clocks, in seconds."""

_LONGEST_GRACE = 60.0
_ANY = b""
_NO_VERSION = b"-"  # shorter than any version, so that it equals none
_REMEMBERED = 5000
_FREED = 64
_LAST_OF_HEADER = b"%d" % (HEADER_SIZE - 1)


class RedisLikeStore(BaseStore):
    """Base class for stores over a server that speaks Redis's commands.

    Args:
        prefix: Prefix of the store's keys on the server.
        codec, clock, timeout: As for `BaseStore`.
    """

    _checksums = "wire"
    _native_expiry: ClassVar[bool] = True
    _max_value_bytes = 512 * 1024 * 1024 - HEADER_SIZE  # a Redis string has at most 512 MiB
    _pipelines: ClassVar[bool] = False
    """Many commands sent together cost the client library little more than one. Then many entries are written by a SET
    each, which takes a server half as long as a script that does the same."""
    _sends_in_pieces: ClassVar[bool] = False
    """An argument of a command may be a tuple of the two parts of a large one."""
    _clustered = False
    """Whether the keys of one command must be in one slot."""

    def __init__(
        self, *, prefix: str, codec: Codec | None, clock: Clock, timeout: float | None, clock_skew: float
    ) -> None:
        check_seconds("clock_skew", clock_skew)
        self._clock_skew = clock_skew
        self._layout = Layout(prefix)
        super().__init__(codec=codec, clock=clock, timeout=timeout)

    # To be written by a subclass.

    @abstractmethod
    async def _execute(self, commands: Sequence[Command], *, changes: bool) -> Sequence[Any]:
        """Send commands together, and return the reply to each, in order, bulk strings as `bytes`.

        A reply that is an error is returned, not raised: as a `ServerError`, or as a `SatchelError` for a command whose
        cluster node cannot be reached. A raised error means that all commands failed.

        Args:
            commands: Those that look up or change entries; the keys of each are in one slot of a cluster.
            changes: Some change something, so that none may be sent a second time once it may have been carried out.
        """

    @abstractmethod
    async def _execute_as_one(self, commands: Sequence[Command]) -> Sequence[Any] | ServerError:
        """Look up entries with several commands in one atomic step; an error where the server refused it.

        It is not called for a cluster.
        """

    @abstractmethod
    def _scan(self, pattern: bytes) -> AsyncGenerator[list[bytes], None]:
        """Give the server's keys that match a pattern of SCAN's, one page a request; a key may come repeatedly."""

    @abstractmethod
    async def _lines(self) -> Sequence[Line]:
        """Return new connections to all servers that hold keys, each a primary."""

    async def _check_servers(self) -> None:
        """Raise if other servers hold the keys now than when `_lines` was called."""

    # Items.

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        keys = [self._layout.key(ref) for ref in refs]
        found = None if self._clustered or len(keys) == 1 else await self._find(keys)
        if found is None:
            found = await self._execute([("GET", key) for key in keys], changes=False)
        if Pieces in map(type, found):
            return [await offload(_large, reply) if type(reply) is Pieces else _outcome(reply) for reply in found]
        return [_outcome(reply) for reply in found]

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        commands: list[Command] = [("GETRANGE", self._layout.key(ref), b"0", _LAST_OF_HEADER) for ref in refs]
        return [_head(reply) for reply in await self._execute(commands, changes=False)]

    async def _find(self, keys: Sequence[bytes]) -> Sequence[Any] | None:
        """Read many keys; None if only a GET of each can tell what they hold.

        MGET costs both sides far less than many GETs. It gives nothing for a key of another type too: which shows in
        the number of keys that exist, at the same moment.
        """
        answers = await self._execute_as_one([("MGET", *keys), ("EXISTS", *keys)])
        if isinstance(answers, ServerError):
            # A user may be forbidden one of the keys, or a transaction; a proxy may know none.
            return None if answers.code in ("NOPERM", "EXECABORT", "ERR") else [answers] * len(keys)
        found, count = answers
        return found if isinstance(found, list) and count == len(keys) - found.count(None) else None

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        if len(records) > 1 and not self._pipelines:
            keys = [self._layout.key(ref) for ref, _ in records]
            each = [
                (self._wire(record), self._milliseconds(record.deadline, record.updated_at)) for _, record in records
            ]
            return [None if answer == 1 else _error(answer) for answer in await self._run(PUT, keys, (), each)]
        replies = await self._execute([self._set(ref, record) for ref, record in records], changes=True)
        return [_error(reply) if isinstance(reply, Exception) else None for reply in replies]

    def _wire(self, record: Record) -> Argument:
        in_two = self._sends_in_pieces and len(record.payload) >= LARGE
        return pack_in_two(record) if in_two else pack(record)

    def _set(self, ref: Ref, record: Record) -> Command:
        command: Command = ("SET", self._layout.key(ref), self._wire(record))
        if record.deadline == NEVER:
            return command
        return (*command, "PX", self._milliseconds(record.deadline, record.updated_at))

    def _milliseconds(self, deadline: float, now: float) -> bytes:
        """Return after how long the server may drop an entry; nothing for never.

        It is a length of time, so that the server's clock does not matter. It is longer than the time to live, for a
        client whose clock is behind; by no more than that itself, so that short-lived entries take no multiple of their
        memory.
        """
        if deadline == NEVER:
            return b""
        left = max(deadline - now, 0)
        return b"%d" % ((left + max(min(left, _LONGEST_GRACE), self._clock_skew)) * 1000)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        return await self._change(DELETE, refs, now, [(_ANY,)] * len(refs))

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        each = [
            (_version(condition), self._wire(record), self._milliseconds(record.deadline, record.updated_at))
            for _, record, condition in items
        ]
        return await self._change(PUT_IF, [ref for ref, _, _ in items], now, each)

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        return await self._change(
            DELETE, [ref for ref, _ in items], now, [(_version(version),) for _, version in items]
        )

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        each = [(pack_deadline(deadline), self._milliseconds(deadline, now)) for _, deadline in items]
        return await self._change(TOUCH, [ref for ref, _ in items], now, each)

    async def _change(
        self, script: Script, refs: Sequence[Ref], now: float, each: Sequence[tuple[Argument, ...]]
    ) -> list[ChangeResult]:
        keys = [self._layout.key(ref) for ref in refs]
        answers = await self._run(script, keys, (_time(now),), each)
        return [bool(answer) if answer in (0, 1) else _error(answer) for answer in answers]

    # Listing and destroying.

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        repeated = _Repeated()
        async with aclosing(self._scan(self._layout.pattern(collection, prefix))) as pages:
            async for page in pages:
                living = await self._living(self._ours(page), now)
                yield [key for _, key in living if not repeated(key)]

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        given: set[str] = set()
        async with aclosing(self._scan(self._layout.pattern())) as pages:
            async for page in pages:
                unknown = {key: ref for key, ref in self._ours(page).items() if ref[0] not in given}
                found = dict.fromkeys(collection for collection, _ in await self._living(unknown, now))
                given.update(found)
                yield list(found)

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._clear(self._layout.pattern(collection), now)

    async def _destroy(self, now: float) -> bool:
        return await self._clear(self._layout.pattern(), now)

    async def _clear(self, pattern: bytes, now: float) -> bool:
        lived = False
        async with aclosing(self._scan(pattern)) as pages:
            while (page := await self._with_timeout(anext(pages, None))) is not None:
                answers = await self._with_timeout(self._survey(CLEAR, list(self._ours(page)), now))
                lived = lived or 1 in answers
        return lived

    def _ours(self, page: Sequence[bytes]) -> dict[bytes, Ref]:
        return {key: ref for key in page if (ref := self._layout.ref(key)) is not None}

    async def _living(self, names: dict[bytes, Ref], now: float) -> list[Ref]:
        answers = await self._survey(LOOK, list(names), now)
        return [ref for ref, answer in zip(names.values(), answers, strict=True) if answer == 1]

    async def _survey(self, script: Script, keys: list[bytes], now: float) -> list[Any]:
        """Run a script over keys that a scan found, which may hold what is not ours; that alone is no failure."""
        answers = await self._run(script, keys, (_time(now),), [()] * len(keys))
        for answer in answers:
            if isinstance(answer, Exception) or (isinstance(answer, bytes) and not answer.startswith(b"WRONGTYPE")):
                raise _error(answer)
        return answers

    async def _watch(self, feed: Feed) -> None:
        lines = await self._within_limit(self._lines())
        await report(lines, feed, self._layout, self._within_limit, self._check_servers)

    async def _within_limit(self, request: Awaitable[T]) -> T:
        """Await a request that must end also for a store without a timeout: only that shows that a server is gone."""
        return await self._time_limit.bound(request, self._timeout or DEFAULT_TIMEOUT)

    # Commands for many keys.

    async def _run(
        self, script: Script, keys: Sequence[bytes], common: Command, each: Sequence[tuple[Argument, ...]]
    ) -> list[Any]:
        """Run a script, and return its answer for each key. A server that lacks it is sent its text."""

        def call(name: str, text: str, group: Sequence[int]) -> Command:
            arguments = [argument for index in group for argument in each[index]]
            return (name, text, b"%d" % len(group), *[keys[index] for index in group], *common, *arguments)

        changes = script is not LOOK
        answers = await self._call(keys, lambda group: call("EVALSHA", script.digest, group), changes=changes)
        lost = [i for i, answer in enumerate(answers) if isinstance(answer, ServerError) and answer.code == "NOSCRIPT"]
        if lost:
            again = await self._call(
                [keys[index] for index in lost],
                lambda group: call("EVAL", script.text, [lost[index] for index in group]),
                changes=changes,
            )
            for index, answer in zip(lost, again, strict=True):
                answers[index] = answer
        return answers

    async def _call(
        self, keys: Sequence[bytes], command: Callable[[Sequence[int]], Command], *, changes: bool
    ) -> list[Any]:
        """Send the commands that `command` makes of groups of keys, and return the answer for each key."""
        answers: list[Any] = [None] * len(keys)
        groups = self._groups(keys)
        while groups:
            replies = await self._execute([command(group) for group in groups], changes=changes)
            apart: list[Sequence[int]] = []
            for group, reply in zip(groups, replies, strict=True):
                if isinstance(reply, ServerError) and reply.code == "NOPERM" and len(group) > 1:
                    apart += [(index,) for index in group]  # one key that the user may not touch refused them all
                    continue
                items = [reply] * len(group) if isinstance(reply, Exception) else reply
                for index, item in zip(group, items, strict=True):
                    answers[index] = item
            groups = apart
        return answers

    def _groups(self, keys: Sequence[bytes]) -> list[Sequence[int]]:
        if not self._clustered:
            return [range(len(keys))] if keys else []
        slots: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            slots.setdefault(slot_of(key), []).append(index)
        return list(slots.values())

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error) if isinstance(error, ServerError) else None


class _Repeated:
    """Memory of the last few thousand names.

    SCAN repeats keys only when the server shrinks its table, and then those of the bucket where the cursor is: names
    that it gave a moment ago. So that remembering some thousand, however long the listing, gives each once.
    """

    def __init__(self) -> None:
        self._now: set[str] = set()
        self._before: set[str] = set()

    def __call__(self, name: str) -> bool:
        if name in self._now or name in self._before:
            return True
        self._now.add(name)
        if len(self._now) >= _REMEMBERED:
            self._now, self._before = set(), self._now
        return False


def _outcome(answer: Any) -> ReadResult:
    return _error(answer) if isinstance(answer, Exception) else unpack_outcome(answer)


def _large(pieces: Pieces) -> ReadResult:
    try:
        return unpack_pieces(pieces)
    except IntegrityError as error:
        return error
    finally:
        while pieces:
            del pieces[-_FREED:]  # to free them all at once, and on the event loop, would take long


def _head(answer: Any) -> ReadResult:
    """Return what the beginning of a string says; nothing is there where that is empty, as the scripts have it too."""
    return _error(answer) if isinstance(answer, Exception) else unpack_outcome(answer or None, whole=False)


def _error(answer: Any) -> SatchelError:
    """Return the error that a reply, or what a script gave for one key, stands for."""
    if isinstance(answer, SatchelError):
        return answer
    if isinstance(answer, ServerError):
        return translate(answer)
    if answer == FOREIGN:
        return IntegrityError(NOT_OURS)
    return translate(ServerError(answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)))


def _time(now: float) -> bytes:
    return repr(now).encode()


def _version(condition: Condition) -> bytes:
    if condition is None:
        return _ANY
    try:
        version = bytes.fromhex(condition)
    except ValueError:
        return _NO_VERSION
    return version if version.hex() == condition and len(version) == 16 else _NO_VERSION
