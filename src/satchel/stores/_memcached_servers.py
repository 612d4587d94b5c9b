"""What a `MemcachedStore` asks of memcached: a batch goes to each server at once, with the keys that are its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..backend.lifecycle import close_at_end_of_loop
from ..errors import SatchelError, StoreError
from ._memcached_protocol import Values
from ._memcached_server import LentServer, OwnServer, Server

if TYPE_CHECKING:
    import emcache

T = TypeVar("T")

STORED, DELETED = b"STORED", b"DELETED"
MISSED = frozenset((b"NOT_STORED", b"EXISTS", b"NOT_FOUND"))
"""The answers that say that a condition did not hold."""

_ANSWERS = MISSED | {STORED, DELETED}


class Command(NamedTuple):
    """Is one change of one key.

    Attributes:
        verb: `set`, `add`, `cas` or `delete`.
        key: The key.
        value: What to store.
        expiry: When memcached may forget it: seconds since the Unix epoch, 0 for never, -1 for at once.
        token: The CAS token that the key must have, with `cas`.
    """

    verb: bytes
    key: bytes
    value: bytes = b""
    expiry: int = 0
    token: int | None = None

    def request(self) -> bytes:
        """Return the bytes to send."""
        if self.verb == b"delete":
            return b"delete %b\r\n" % self.key
        token = b"" if self.token is None else b" %d" % self.token
        return b"%b %b 0 %d %d%b\r\n%b\r\n" % (self.verb, self.key, self.expiry, len(self.value), token, self.value)


class Servers:
    """Carries out reads and commands; one outcome for each, an error where its server failed.

    Args:
        client: An emcache client, whose servers these are.
        host: Where the only server is, without a client.
        port: Its port.
        timeout: Seconds that a batch may take. A server of the client that cannot be reached takes half of them, so
            that the others can still answer.
    """

    def __init__(self, client: emcache.Client | None, host: str, port: int, timeout: float | None) -> None:
        self._client: Any = client
        self._patience = None if timeout is None else timeout / 2
        self._only = None if client is not None else OwnServer(host, port)
        self._lent: dict[object, LentServer] = {}
        self._guard = close_at_end_of_loop(self._end)

    async def open(self) -> None:
        """Be ready to connect, which happens when something is asked."""
        await anext(self._guard)

    async def close(self) -> None:
        """Close the connections that were opened here."""
        await self._guard.aclose()

    async def _end(self) -> None:
        for server in (*self._lent.values(), *([] if self._only is None else [self._only])):
            await server.close()

    async def gets(self, keys: Sequence[bytes]) -> list[tuple[bytes, int] | SatchelError | None]:
        """Return the value and the CAS token of each key, None for those that are not there."""

        async def ask(server: Server, own: Sequence[bytes]) -> list[tuple[bytes, int] | None]:
            reply = Values()
            await server.ask(b"gets %b\r\n" % b" ".join(own), reply)
            return [reply.found.get(key) for key in own]

        return await self._spread(keys, keys, ask)

    async def carry_out(self, commands: Sequence[Command]) -> list[bytes | SatchelError]:
        """Return the answer to each command: `STORED`, `DELETED` or one of `MISSED`."""
        return await self._spread([command.key for command in commands], commands, _change)

    async def check(self) -> None:
        """Return when every server answers."""
        servers = [self._only] if self._only is not None else [self._of(node) for node in self._nodes().nodes]
        await asyncio.gather(*[server.check() for server in servers])

    async def _spread(
        self, keys: Sequence[bytes], items: Sequence[Any], work: Callable[[Server, Any], Awaitable[Sequence[T]]]
    ) -> list[T | SatchelError]:
        if not keys:
            return []
        if self._only is not None:
            return await _outcomes(work, self._only, items)
        cluster = self._nodes()
        groups: dict[object, list[int]] = {}
        for index, key in enumerate(keys):
            groups.setdefault(cluster.pick_node(key), []).append(index)
        # To the end of them all, also when one raises: a change under way must not outlast the call.
        answers = await asyncio.gather(
            *[_outcomes(work, self._of(node), [items[i] for i in own]) for node, own in groups.items()],
            return_exceptions=True,
        )
        outcomes: list[Any] = [None] * len(keys)
        for own, some in zip(groups.values(), answers, strict=True):
            if isinstance(some, BaseException):
                raise some
            for index, outcome in zip(own, some, strict=True):
                outcomes[index] = outcome
        return outcomes

    def _nodes(self) -> Any:
        if self._client.closed:
            raise StoreError("the emcache client has been closed; make a new one, and a new store")
        return self._client._cluster

    def _of(self, node: object) -> LentServer:
        server = self._lent.get(node)
        if server is None:
            server = self._lent[node] = LentServer(node, self._patience)
        return server


async def _outcomes(
    work: Callable[[Server, Any], Awaitable[Sequence[T]]], server: Server, items: Sequence[Any]
) -> list[T | SatchelError]:
    # As outcomes and not raised: nothing is wrong with single items, so that a batch need not be halved to find them.
    try:
        return list(await work(server, items))
    except SatchelError as error:
        return [error] * len(items)


async def _change(server: Server, commands: Sequence[Command]) -> list[bytes | SatchelError]:
    largest = await server.largest()
    outcomes: list[bytes | SatchelError | None] = [None] * len(commands)
    requests = []
    for index, command in enumerate(commands):
        size = len(command.key) + len(command.value)
        if size > largest:  # memcached itself would drop what is there
            outcomes[index] = server.too_large(size, largest)
        else:
            requests.append(command.request())
    lines = iter(await server.change(b"".join(requests), len(requests)) if requests else ())
    answers = [next(lines) if outcome is None else outcome for outcome in outcomes]
    return [line if line in _ANSWERS or isinstance(line, SatchelError) else server.refusal(line) for line in answers]
