"""`MemcachedStore`: entries in memcached (`memcached://host:port`)."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from ...backend.base import ABSENT, BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.network import DEFAULT_TIMEOUT, check_host, check_one_way, check_port
from ...backend.record import Record, pack, unpack
from ...clock import NEVER, Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, ConflictError, IntegrityError, SatchelError, StoreError, safe_repr
from ...names import Escaping, Ref
from .servers import DELETED, MISSED, Command, Servers

if TYPE_CHECKING:
    import emcache


MAX_KEY = 250
"""The most bytes of a key that memcached takes."""

GRACE = 60
"""Seconds that memcached keeps an expired entry: the deadline in the header decides, by clocks that may differ."""

_SEPARATOR = "|"
_SAFE = frozenset(map(chr, range(0x21, 0x7F))) - {"%", _SEPARATOR}
_COLLECTION = 80
_LONGEST_PREFIX = MAX_KEY - 2 * len(_SEPARATOR) - 2 * _COLLECTION
_LAST_MOMENT = 2**31 - 1
_HASHED = b"%-"
_PLAIN = re.compile(f"[{re.escape(''.join(sorted(_SAFE - {'.'})))}]+").fullmatch  # such a key escapes to itself


class Layout:
    """Form of one store's names in memcached.

    Args:
        prefix: Prefix of all its keys.

    Raises:
        ConfigurationError: Memcached would not take keys that begin with it.
    """

    def __init__(self, prefix: str) -> None:
        if not isinstance(prefix, str) or not 0 < len(prefix) <= _LONGEST_PREFIX or not _is_visible(prefix):
            raise ConfigurationError(
                f"prefix must be 1 to {_LONGEST_PREFIX} visible ASCII characters without spaces, "
                f"got {safe_repr(prefix)}"
            )
        self._prefix = prefix + _SEPARATOR
        self._room = MAX_KEY - _COLLECTION - len(self._prefix) - len(_SEPARATOR)
        self._escape_collection = lru_cache(256)(Escaping(_SAFE, _COLLECTION).escape)
        self._escape_key = Escaping(_SAFE, self._room).escape

    def key(self, ref: Ref) -> bytes:
        """Return the key under which an entry is kept."""
        collection, key = ref
        if len(key) > self._room or not _PLAIN(key):
            key = self._escape_key(key)
        return f"{self._prefix}{self._escape_collection(collection)}{_SEPARATOR}{key}".encode()

    def hidden_names(self, ref: Ref) -> Ref | None:
        """Return the names if the key does not determine them."""
        return ref if _HASHED in self.key(ref) else None


def expiry(deadline: float, now: float) -> int:
    """Return when memcached may forget an entry, in seconds since the Unix epoch; 0 for never.

    It is said as a moment, for memcached takes more than 30 days for one; and by the system's clock, for a store's own
    may be any other.
    """
    if deadline == NEVER:
        return 0
    moment = math.ceil(time.time() + max(deadline - now, 0)) + GRACE
    return moment if moment <= _LAST_MOMENT else 0


def _is_visible(text: str) -> bool:
    return all("!" <= mark <= "~" for mark in text)


_DEFAULT_HOST, _DEFAULT_PORT = "127.0.0.1", 11211
_MOST_ROUNDS = 32
_GONE_AT_ONCE = -1

Found = tuple[Record, int] | SatchelError | None
"""A record with its CAS token, an error, or None if there is no item."""


class MemcachedStore(BaseStore):
    """Store that keeps entries in memcached.

    It forgets them when it restarts, and may forget any when its memory is full.

    Without a client, it opens connections of its own: one for reads and one for writes, four at most.

    Args:
        client: An open emcache client, instead of host and port: its servers and its connections are used, and it
            stays open.
        host: Host of memcached; `127.0.0.1` by default.
        port: Its port; 11211 by default.
        prefix: Prefix of the store's keys: 1 to 88 visible ASCII characters.
        timeout: Seconds that a request may take; None for no limit.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other.
    """

    url_parts = {"host": "host", "port": "port"}  # noqa: RUF012  # the base says ClassVar
    _checksums = "wire"
    _native_expiry: ClassVar[bool] = True
    _shield_writes: ClassVar[bool] = False  # the next change waits until what was cut off has been carried out, or not

    def __init__(
        self,
        *,
        client: emcache.Client | None = None,
        host: str | None = None,
        port: int | None = None,
        prefix: str = "satchel",
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        check_one_way("client", client, host=host, port=port)
        self._client = None if client is None else _client(client)
        self._lent = None if client is None else "a client"
        check_port(port)
        self._host, self._port = _host(host), port or _DEFAULT_PORT
        self._layout = Layout(prefix)
        self._servers: Servers | None = None
        super().__init__(codec=codec, clock=clock, timeout=timeout)

    def __repr__(self) -> str:
        where = "client=..." if self._client is not None else f"host={self._host!r}, port={self._port}"
        return f"MemcachedStore({where})"

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return [item[0] if isinstance(item, tuple) else item for item in await self._find(refs)]

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        now = self.clock()
        lines = await self._open_servers.carry_out([self._storing(b"set", ref, record, now) for ref, record in records])
        return [line if isinstance(line, SatchelError) else None for line in lines]

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        outcomes: list[ChangeResult] = [False] * len(refs)
        commands: dict[int, Command] = {}
        for index, item in enumerate(await self._find(refs)):
            # An expired entry is absent already, and another writer may be putting a fresh one.
            if isinstance(item, IntegrityError) or (isinstance(item, tuple) and item[0].deadline > now):
                commands[index] = Command(b"delete", self._layout.key(refs[index]))
            elif isinstance(item, SatchelError):
                outcomes[index] = item
        lines = await self._open_servers.carry_out(list(commands.values()))
        for index, line in zip(commands, lines, strict=True):
            outcomes[index] = line if isinstance(line, SatchelError) else line == DELETED
        return outcomes

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        def choose(index: int, found: tuple[Record, int] | None) -> Command | None:
            ref, record, condition = items[index]
            if (found[0].version if found is not None and found[0].deadline > now else None) != condition:
                return None
            # An expired one is swapped, so that a fresh one put meanwhile by another writer stays.
            verb, token = (b"add", None) if found is None else (b"cas", found[1])
            return self._storing(verb, ref, record, now, token)

        # Most often nothing is there where nothing should be: then one request does it.
        hope = [None] * len(items) if all(condition is ABSENT for _, _, condition in items) else None
        return await self._swap([ref for ref, _, _ in items], choose, hope)

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        def choose(index: int, found: tuple[Record, int] | None) -> Command | None:
            ref, version = items[index]
            if found is None or found[0].deadline <= now or found[0].version != version:
                return None
            return Command(b"cas", self._layout.key(ref), b"", _GONE_AT_ONCE, found[1])

        return await self._swap([ref for ref, _ in items], choose)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        def choose(index: int, found: tuple[Record, int] | None) -> Command | None:
            ref, deadline = items[index]
            if found is None or found[0].deadline <= now:
                return None
            return self._storing(b"cas", ref, msgspec.structs.replace(found[0], deadline=deadline), now, found[1])

        return await self._swap([ref for ref, _ in items], choose)

    async def _ping(self) -> None:
        await self._open_servers.check()

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return self._layout.hidden_names(ref)

    async def _find(self, refs: Sequence[Ref]) -> list[Found]:
        keys = [self._layout.key(ref) for ref in refs]
        items = await self._open_servers.gets(keys)
        return [
            self._found(ref, key, *item) if isinstance(item, tuple) else item
            for ref, key, item in zip(refs, keys, items, strict=True)
        ]

    def _found(self, ref: Ref, key: bytes, value: bytes, token: int) -> Found:
        try:
            record = unpack(value)
        except IntegrityError as error:
            return error
        if record.names != (ref if _HASHED in key else None):
            return IntegrityError("the stored entry belongs to another key: another program copied it here")
        return record, token

    def _storing(self, verb: bytes, ref: Ref, record: Record, now: float, token: int | None = None) -> Command:
        return Command(verb, self._layout.key(ref), pack(record), expiry(record.deadline, now), token)

    async def _swap(
        self,
        refs: Sequence[Ref],
        choose: Callable[[int, tuple[Record, int] | None], Command | None],
        found: Sequence[Found] | None = None,
    ) -> list[ChangeResult]:
        """Read entries and change those that the condition holds for, again where another writer was faster.

        Args:
            refs: The names.
            choose: Function from an index and the current item to a command; None if the condition does not hold.
            found: The current items, if they need not be read the first time.
        """
        outcomes: list[ChangeResult] = [False] * len(refs)
        left = list(range(len(refs)))
        for _ in range(_MOST_ROUNDS):
            commands: dict[int, Command] = {}
            found = found or await self._find([refs[index] for index in left])
            for index, item in zip(left, found, strict=True):
                chosen = item if isinstance(item, SatchelError) else choose(index, item)
                if isinstance(chosen, Command):
                    commands[index] = chosen
                elif chosen is not None:
                    outcomes[index] = chosen
            left, found = [], None
            lines = await self._open_servers.carry_out(list(commands.values()))
            for index, line in zip(commands, lines, strict=True):
                if line in MISSED:
                    left.append(index)
                else:
                    outcomes[index] = line if isinstance(line, SatchelError) else True
            if not left:
                return outcomes
        lost = ConflictError(f"other writers changed this key {_MOST_ROUNDS} times meanwhile; try again")
        return [lost if index in left else outcome for index, outcome in enumerate(outcomes)]

    # Opening and closing.

    @property
    def _open_servers(self) -> Servers:
        if self._servers is None:
            raise StoreError(f"{self!r} is not open")
        return self._servers

    async def _open(self) -> None:
        self._servers = Servers(self._client, self._host, self._port, self._timeout)
        await self._servers.open()

    async def _close(self) -> None:
        await self._open_servers.close()

    def _discard(self) -> None:
        self._servers = None

    def _map_error(self, error: Exception) -> SatchelError | None:
        kind = type(error)
        if kind.__module__.partition(".")[0] == "emcache":
            return StoreError(f"emcache cannot connect ({kind.__name__}); check the arguments of its client")
        return None


def _client(client: Any) -> Any:
    if not hasattr(client, "_cluster") or not hasattr(client, "closed"):
        raise ConfigurationError(
            f"client must be an emcache client: client=await emcache.create_client(...), got {type(client).__name__}"
        )
    return client


def _host(host: object) -> str:
    if host is not None and (not isinstance(host, str) or not host):
        raise ConfigurationError(f"host must be a name or an address, got {safe_repr(host)}")
    check_host(host)
    return host or _DEFAULT_HOST
