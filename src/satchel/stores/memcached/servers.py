"""Requests of a `MemcachedStore`: a batch goes to all servers at once, each with its own keys."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..._contexts import task_in_empty_context
from ..._shortage import shortage
from ...backend.lifecycle import close_at_end_of_loop
from ...backend.network import in_empty_context
from ...errors import SatchelError, StoreError, StoreUnavailableError, ValueTooLargeError
from .protocol import Connection, Greeting, Lines, RefusedError, Reply, Settings, Values

if TYPE_CHECKING:
    import emcache


MAX_CONNECTIONS = 4
"""Maximum number of a store's own open connections, however many calls wait."""

_USUAL_LIMIT = 1024 * 1024
_ITEM_OVERHEAD = 64
"""More than memcached adds to a key and a value: an item's head, the CAS token, flags and line ends."""


class Server(ABC):
    """Server that answers questions, one a connection at a time.

    Args:
        where: The name of the server in messages.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._largest: int | None = None
        self._unsettled: set[asyncio.Task[None]] = set()

    async def ask(self, request: bytes, reply: Reply) -> None:
        """Send a command that changes nothing.

        Raises:
            StoreUnavailableError: The server cannot be reached, or hung up.
            StoreError: It gave another answer than memcached's.
        """
        try:
            await self._ask(request, reply, changing=False)
        except (OSError, RefusedError) as error:
            raise self._failure(error) from error

    async def change(self, request: bytes, count: int) -> list[bytes]:
        """Carry out commands, and return the line that answers each; raises what `ask` does.

        What an earlier change sent and heard no answer to has been carried out by then, or never will be.
        """
        while self._unsettled:
            await asyncio.wait(self._unsettled)
        reply = Lines(count)
        try:
            await self._ask(request, reply, changing=True)
        except (OSError, RefusedError) as error:
            raise self._failure(error) from error
        return reply.lines

    async def largest(self) -> int:
        """Return how many bytes a key and its value may have together."""
        if self._largest is None:
            settings = Settings()
            try:
                await self.ask(b"stats settings\r\n", settings)
            except StoreUnavailableError:
                raise
            except StoreError:  # a proxy, or a service that hides its settings
                settings.found.clear()
            limit = settings.found.get(b"item_size_max", b"")
            self._largest = (int(limit) if limit.isdigit() else _USUAL_LIMIT) - _ITEM_OVERHEAD
        return self._largest

    async def check(self) -> None:
        """Return when the server has identified itself as memcached."""
        await self.ask(b"version\r\n", Greeting())

    def too_large(self, size: int, largest: int) -> SatchelError:
        """Return the error for an entry that the server would refuse, dropping the existing one."""
        return ValueTooLargeError(
            f"the encoded value has {size} bytes with its header and key, {self.where} takes at most {largest}; "
            "start memcached with a larger -I, or put less"
        )

    def refusal(self, line: bytes) -> SatchelError:
        """Return the error for an answer that is none; the answer is not in it, for it may be part of a value."""
        # The protocol has three codes, and no more. In other words these are failures for a time, or of a command.
        if line.startswith(b"SERVER_ERROR out of memory"):
            return StoreError(
                f"{self.where} is out of memory, and has removed the entry under this key: give memcached more (-m), "
                "or start it without -M so that it evicts"
            )
        if line.startswith(b"SERVER_ERROR object too large"):
            self._largest = None  # it was restarted with another limit
            return ValueTooLargeError(
                f"the encoded value is larger than {self.where} accepts; the entry under this key is gone"
            )
        if line.startswith(b"SERVER_ERROR"):
            return StoreUnavailableError(f"{self.where} failed temporarily (SERVER_ERROR); try again later")
        if line.startswith(b"CLIENT_ERROR unauthenticated"):
            return StoreError(
                f"{self.where} requires a user and a password: pass them to emcache.create_client, and that as client="
            )
        if line.startswith((b"CLIENT_ERROR", b"ERROR")):
            return StoreError(f"{self.where} refused a command; it must be memcached 1.4 or later")
        return StoreError(f"{self.where} does not answer as memcached does; check host and port")

    def _failure(self, error: OSError | RefusedError) -> SatchelError:
        if isinstance(error, RefusedError):
            return self.refusal(error.line)
        what = "hung up" if isinstance(error, ConnectionResetError) else "cannot be reached"
        return shortage(error) or StoreUnavailableError(f"{self.where} {what}; is memcached running there?")

    @abstractmethod
    async def _ask(self, request: bytes, reply: Reply, *, changing: bool) -> None:
        """Ask over any connection, and cut it when that fails."""

    def _give_up(self, connection: Connection, *, changing: bool) -> None:
        """Cut a connection on which a question was not answered."""
        if changing:
            self._settle(connection)
        connection.cut()

    def _settle(self, connection: Connection) -> None:
        """Begin to wait until the server is done with what was sent: it then closes its end."""
        try:
            end = socket.socket(fileno=socket.dup(connection.transport.get_extra_info("socket").fileno()))
        except OSError:
            return  # the connection has ended
        connection.cut()  # what has not been sent yet never will be
        task = task_in_empty_context(_until_closed(end))
        self._unsettled.add(task)
        task.add_done_callback(self._unsettled.discard)

    async def close(self) -> None:
        """Release the resources opened here."""
        for task in self._unsettled:
            task.cancel()
        if self._unsettled:
            await asyncio.wait(self._unsettled)


class OwnServer(Server):
    """Server to which the store connects by itself."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"memcached at {host}:{port}")
        self._host, self._port = host, port
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)

    async def _ask(self, request: bytes, reply: Reply, *, changing: bool) -> None:
        async with self._free:
            while (connection := self._unused()) is None:
                # In an empty context: what reads from it would keep alive what this caller's variables hold.
                await in_empty_context(self._connect())
            try:
                await connection.ask(request, reply)
            except BaseException:
                self._give_up(connection, changing=changing)
                raise
            self._idle.append(connection)

    def _unused(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self) -> None:
        """Add a connection to those that are idle, where it is also found when the caller has gone meanwhile."""
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self._port)
        try:
            await connection.ask(b"version\r\n", Greeting())
        except BaseException:
            connection.cut()
            raise
        self._idle.append(connection)

    async def close(self) -> None:
        """Cut the idle connections, and wait until they have ended."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.cut()
            await connection.ended()
        await super().close()


class LentServer(Server):
    """Server of an emcache client, over whose connections questions are asked.

    Args:
        node: emcache's own object for it.
        patience: Seconds to wait for a connection, which emcache does forever; None for no limit.
    """

    def __init__(self, node: Any, patience: float | None) -> None:
        address = node.memcached_host_address
        super().__init__("memcached at " + (getattr(address, "path", "") or f"{address.address}:{address.port}"))
        self._node = node
        self._patience = patience

    async def _ask(self, request: bytes, reply: Reply, *, changing: bool) -> None:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._patience):
                lent = await stack.enter_async_context(self._node.connection())
            transport = lent._transport
            connection = Connection(transport)
            own = transport.get_protocol()
            transport.set_protocol(connection)
            try:
                await connection.ask(request, reply)
            except BaseException:
                self._give_up(connection, changing=changing)
                raise
            finally:
                transport.set_protocol(own)


async def _until_closed(end: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        end.setblocking(False)
        end.shutdown(socket.SHUT_WR)
        while await loop.sock_recv(end, 65536):
            pass
    except OSError:
        pass  # it was reset, which ends it too
    finally:
        end.close()


T = TypeVar("T")

STORED, DELETED = b"STORED", b"DELETED"
MISSED = frozenset((b"NOT_STORED", b"EXISTS", b"NOT_FOUND"))
"""The answers that say that a condition did not hold."""

_ANSWERS = MISSED | {STORED, DELETED}


class Command(NamedTuple):
    """One change of one key.

    Attributes:
        verb: `set`, `add`, `cas` or `delete`.
        key: The key.
        value: The value to store.
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
    """All servers of a store: one outcome for each read or command, an error where its server failed.

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
        if self._only is not None:
            return await _outcomes(_gets, self._only, keys)
        return await self._spread(keys, keys, _gets)

    async def carry_out(self, commands: Sequence[Command]) -> list[bytes | SatchelError]:
        """Return the answer to each command: `STORED`, `DELETED` or one of `MISSED`."""
        if self._only is not None:
            return await _outcomes(_change, self._only, commands)
        return await self._spread([command.key for command in commands], commands, _change)

    async def check(self) -> None:
        """Return when every server answers."""
        servers = [self._only] if self._only is not None else [self._of(node) for node in self._nodes().nodes]
        await asyncio.gather(*[server.check() for server in servers])

    async def _spread(
        self, keys: Sequence[bytes], items: Sequence[Any], work: Callable[[Server, Any], Awaitable[Sequence[T]]]
    ) -> list[T | SatchelError]:
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
    if not items:
        return []
    # As outcomes and not raised: nothing is wrong with single items, so that a batch need not be halved to find them.
    try:
        return list(await work(server, items))
    except SatchelError as error:
        return [error] * len(items)


async def _gets(server: Server, keys: Sequence[bytes]) -> list[tuple[bytes, int] | None]:
    reply = Values()
    await server.ask(b"gets %b\r\n" % b" ".join(keys), reply)
    return [reply.found.get(key) for key in keys]


async def _change(server: Server, commands: Sequence[Command]) -> list[bytes | SatchelError]:
    largest = await server.largest()
    outcomes: list[bytes | SatchelError | None] = [None] * len(commands)
    requests = []
    for index, command in enumerate(commands):
        size = len(command.key) + len(command.value)
        if size > largest:  # memcached itself would drop the existing entry
            outcomes[index] = server.too_large(size, largest)
        else:
            requests.append(command.request())
    lines = iter(await server.change(b"".join(requests), len(requests)) if requests else ())
    answers = [next(lines) if outcome is None else outcome for outcome in outcomes]
    return [line if line in _ANSWERS or isinstance(line, SatchelError) else server.refusal(line) for line in answers]
