"""Connections of redis-py to one server: a few of the store's own, or those of a client that was passed in.

`converse` is the one place where commands are sent and replies are read. It goes past redis-py's `execute_command` and
pipelines, which cost more than the server does, and leaves no connection open on which a reply is still to come.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final

import hiredis
from redis.asyncio import RedisCluster, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError, ResponseError

from ..._contexts import task_in_empty_context
from ..._threads import offload
from ...backend.network import in_empty_context
from ...errors import StoreUnavailableError
from .._redislike.base import PAGE, Command
from .._redislike.errors import ServerError
from .._redislike.large import LargeReplies, is_large, packed_in_pieces, slices
from .._redislike.line import Line
from .url import Address

MAX_CONNECTIONS: Final = 4
"""One for reads, one for writes, and two for operations not on single entries."""
_REPLIES = (bytes, int, list, type(None), RedisError)
"""Types of replies that hiredis returns in RESP 2; any other type means that it has no reply yet."""
_SENT_AT_ONCE = 32 * 1024
"""What is no larger goes to the system in one step, and so is sent before a caller can be cancelled."""


async def converse(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send commands together and return the replies, error replies as `ServerError` among them.

    However it ends otherwise, cancelled too, the connection is closed: a reply to come would be taken for another's.
    """
    replies: list[Any] = []
    parser: Any = connection._parser
    stream = large = None
    if _is_read_by_hiredis(connection):
        stream = parser._stream
        large = parser._stream = LargeReplies(stream)
    try:
        await _exchange(connection, _packed(commands), len(commands), replies)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    finally:
        if large is not None:
            parser._stream = stream
    return replies if large is None else large.restored(replies)


def _packed(commands: Sequence[Command]) -> list[bytes]:
    try:
        # As redis-py does in the end, at a quarter of the cost.
        return [hiredis.pack_command(command) for command in commands]  # type: ignore[arg-type]  # its stub has tuples of one
    except TypeError:  # of an argument in pieces
        return [piece for command in commands for piece in packed_in_pieces(command)]


async def _exchange(connection: AbstractConnection, packed: list[bytes], count: int, replies: list[Any]) -> None:
    if is_large(packed):
        for part in slices(packed):
            await connection.send_packed_command(part, check_health=False)  # type: ignore[arg-type]  # any buffers do
            await asyncio.sleep(0)  # as long as the system takes it all, nothing else makes a pause
    else:
        await connection.send_packed_command(packed, check_health=False)
    await _receive(connection, count, replies)


async def _receive(connection: AbstractConnection, count: int, replies: list[Any]) -> None:
    """Append a number of replies; if it is cancelled, the rest can still be read."""
    while len(replies) < count:
        try:
            replies.append(await connection.read_response(disable_decoding=True, disconnect_on_error=False))
        except ResponseError as error:
            replies.append(server_error(error))
        if len(replies) < count:
            _take_what_came(connection, count, replies)


def _take_what_came(connection: AbstractConnection, count: int, replies: list[Any]) -> None:
    """Append the replies that need no waiting, up to so many: redis-py's way to each costs ten times the reading."""
    if not _is_read_by_hiredis(connection):
        return
    parser: Any = connection._parser
    reader = parser._reader
    while len(replies) < count and isinstance(reply := reader.gets(False), _REPLIES):
        if isinstance(reply, Disconnected):
            raise reply
        replies.append(server_error(reply) if isinstance(reply, RedisError) else reply)


def _is_read_by_hiredis(connection: AbstractConnection) -> bool:
    """Return whether replies are parsed by hiredis, and nothing can come among them, as it may in RESP 3."""
    return connection.protocol == 2 and isinstance(getattr(connection._parser, "_reader", None), hiredis.Reader)


async def ready(connection: AbstractConnection) -> None:
    """Connect a connection that is not, or that the server has closed, or that has what nobody asked for."""
    if connection.is_connected:
        try:
            if not await connection.can_read():
                return
        except (OSError, RedisError):
            pass  # it is as good as closed
        await connection.disconnect(nowait=True)
    await in_empty_context(connection.connect())  # type: ignore[no-untyped-call]  # redis-py has no annotation there


async def line(connection: AbstractConnection) -> Line:
    """Return a connection for watching; it is connected here."""
    try:
        await ready(connection)
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    reader, writer = connection._reader, connection._writer
    if reader is None or writer is None:
        raise Disconnected

    def close() -> None:
        writer.transport.abort()
        connection._close()  # type: ignore[no-untyped-call]  # redis-py has no annotation there

    return Line(reader, writer, close)


def is_broken(error: Exception) -> bool:
    """Return whether an error means that the connection broke, rather than that the server refused it."""
    return type(error) is Disconnected or isinstance(error, OSError)


def server_error(error: RedisError) -> ServerError:
    """Return a server's answer as it was sent; redis-py takes off the codes that it knows."""
    code = getattr(error, "status_code", None)
    twin = ServerError(f"{code} {error}" if code else str(error))
    twin.__cause__ = error
    return twin


def succeeded(replies: Sequence[Any]) -> Any:
    """Return the one reply, or raise it where it is an error."""
    (reply,) = replies
    if isinstance(reply, Exception):
        raise reply
    return reply


async def pages(ask: Callable[[Command], Awaitable[Any]], pattern: bytes) -> AsyncGenerator[list[bytes], None]:
    """Follow a scan's cursor to its end.

    Args:
        ask: Sends one command to the server that is scanned, and gives its reply.
        pattern: The pattern of the keys.
    """
    cursor = b"0"
    while True:
        cursor, page = await ask(("SCAN", cursor, "MATCH", pattern, "COUNT", str(PAGE)))
        yield page
        if cursor == b"0":
            return


class Connections(ABC):
    """Connections to one server, at most `MAX_CONNECTIONS`.

    A change that is cut off, because its caller was cancelled or its time is over, is waited for all the same before a
    later one is sent: so that none lands over a later one, and a lone write needs no task of its own to be safe.

    Args:
        pool: The pool that the connections come from.
        patience: For how many seconds later changes wait for one that was cut off. Then its connection is closed.
    """

    def __init__(self, pool: ConnectionPool, patience: float) -> None:
        self._pool = pool
        self._patience = patience
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._cut_off: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def _take(self) -> AbstractConnection:
        """Return a connection that is connected."""

    @abstractmethod
    async def _end(self, connection: AbstractConnection) -> None:
        """Take back what `_take` gave, and make room for another."""

    async def execute(self, commands: Sequence[Command], *, changes: bool) -> Sequence[Any]:
        """Carry out commands, as `RedisLikeStore._execute` does."""
        if changes:
            if self._cut_off:
                await self.settled()
            return await self._change(commands)
        try:
            return await self._look(commands)
        except Exception as error:
            if not is_broken(error):
                raise
        return await self._look(commands)

    async def settled(self) -> None:
        """Wait for the changes that were cut off."""
        while self._cut_off:
            await asyncio.wait(self._cut_off)

    def scan(self, pattern: bytes) -> AsyncGenerator[list[bytes], None]:
        """Give the keys that match a pattern, in pages."""
        return pages(self._ask, pattern)

    async def ping(self) -> None:
        """Ask for a sign of life."""
        await self._ask(("PING",))

    async def close(self) -> None:
        """Close the store's own connections."""
        await self.settled()

    async def lines(self) -> list[Line]:
        """Return a new connection for watching."""
        made: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no annotation there
        return [await line(made)]

    async def check_servers(self) -> None:
        """Return at once: Sentinel ends the connections to a server that is no primary any more."""

    async def _ask(self, command: Command) -> Any:
        return succeeded(await self.execute([command], changes=False))

    async def _look(self, commands: Sequence[Command]) -> list[Any]:
        connection = await self._begin()
        try:
            return await converse(connection, commands)
        finally:
            await self._end(connection)

    async def _change(self, commands: Sequence[Command]) -> list[Any]:
        connection = await self._begin()
        packed, replies = _packed(commands), list[Any]()
        rest: asyncio.Task[None] | None = None
        try:
            if sum(map(len, packed)) > _SENT_AT_ONCE:
                rest = task_in_empty_context(_exchange(connection, packed, len(commands), replies))
                await asyncio.shield(rest)
            else:
                await connection.send_packed_command(packed, check_health=False)
                await _receive(connection, len(commands), replies)
        except asyncio.CancelledError:
            rest = rest or task_in_empty_context(_receive(connection, len(commands) - len(replies), []))
            task = task_in_empty_context(self._outlast(connection, rest))
            self._cut_off.add(task)
            task.add_done_callback(self._cut_off.discard)
            raise
        except BaseException:
            await connection.disconnect(nowait=True)
            await self._end(connection)
            raise
        demoted = isinstance(connection, SentinelManagedConnection) and any(map(_was_demoted, replies))
        if demoted:
            await connection.disconnect(nowait=True)
        await self._end(connection)
        if demoted:
            raise StoreUnavailableError("the primary became a replica; try again, Sentinel will name the new primary")
        return replies

    async def _outlast(self, connection: AbstractConnection, rest: asyncio.Task[None]) -> None:
        """Wait for the rest of an exchange that was cut off, as long as there is patience."""
        try:
            await asyncio.wait([rest], timeout=self._patience)
        finally:
            if not rest.done() or rest.cancelled() or rest.exception() is not None:
                rest.cancel()
                await connection.disconnect(nowait=True)
            await self._end(connection)

    async def _begin(self) -> AbstractConnection:
        await self._room.acquire()
        try:
            return await self._take()
        except BaseException:
            self._room.release()
            raise


class OwnConnections(Connections):
    """Connections that the store made.

    Args:
        pool: The pool that makes the connections; nothing else of it is used.
        patience: As for `Connections`.
    """

    def __init__(self, pool: ConnectionPool, patience: float) -> None:
        super().__init__(pool, patience)
        self._idle: list[AbstractConnection] = []

    async def _take(self) -> AbstractConnection:
        connection: AbstractConnection
        connection = self._idle.pop() if self._idle else self._pool.make_connection()  # type: ignore[no-untyped-call]  # as above
        try:
            await ready(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def _end(self, connection: AbstractConnection) -> None:
        self._idle.append(connection)
        self._room.release()

    async def close(self) -> None:
        """Disconnect, after the exchanges under way."""
        await super().close()
        await asyncio.gather(*(connection.disconnect() for connection in self._idle), return_exceptions=True)
        self._idle = []
        if isinstance(self._pool, SentinelConnectionPool):
            await self._pool.sentinel_manager.aclose()


class BorrowedConnections(Connections):
    """Connections from the pool of a client that was passed in, borrowed for one exchange each and never closed."""

    async def _take(self) -> AbstractConnection:
        connection: AbstractConnection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # as above
        return connection

    async def _end(self, connection: AbstractConnection) -> None:
        try:
            await self._pool.release(connection)
        finally:
            self._room.release()


class TLSConnection(SSLConnection):
    """Reads certificates in a worker thread, as redis-py's own does not."""

    async def _connect(self) -> None:
        await offload(self.ssl_context.get)
        await super()._connect()  # type: ignore[no-untyped-call]  # as above


class SentinelTLSConnection(SentinelManagedConnection, TLSConnection):
    """Connection behind Sentinel that reads certificates in a worker thread."""


def _was_demoted(reply: Any) -> bool:
    """Return whether a command or a script was told that the server became a replica."""
    if isinstance(reply, list):
        return any(isinstance(item, bytes) and item.startswith(b"READONLY") for item in reply)
    return isinstance(reply, ServerError) and reply.code == "READONLY"


_CONNECTING = 0.9
"""Of the timeout, so that redis-py's own error comes first: it knows that it was connecting."""
_CONNECTING_TO_ONE = 0.3
"""The same where there are others to try."""


def connection_pool(address: Address, timeout: float | None) -> ConnectionPool:
    """Return the pool of connections to one server, given directly or named by Sentinel."""
    options = _options(address, None if timeout is None else timeout * _CONNECTING)
    options["db"] = address.db
    if address.path:
        return ConnectionPool(connection_class=UnixDomainSocketConnection, path=address.path, **options)
    if address.kind == "sentinel":
        each = None if timeout is None else timeout * _CONNECTING_TO_ONE
        asking = {"socket_timeout": each, "socket_connect_timeout": each, "driver_info": None, "protocol": 2}
        tls = SentinelTLSConnection if address.tls is not None else SentinelManagedConnection
        sentinel = Sentinel(address.hosts, sentinel_kwargs=asking | {"retry": options["retry"]})  # type: ignore[no-untyped-call]  # redis-py has no annotation there
        return SentinelConnectionPool(address.service, sentinel, connection_class=tls, **options)  # type: ignore[no-untyped-call]  # as above
    ((host, port),) = address.hosts
    kind = Connection if address.tls is None else TLSConnection
    return ConnectionPool(connection_class=kind, host=host, port=port, **options)


def cluster_client(address: Address, timeout: float | None) -> RedisCluster:
    """Return what knows the nodes and slots of a cluster; it looks up names, so call it in a worker thread."""
    options = _options(address, None if timeout is None else timeout * _CONNECTING_TO_ONE)
    # A node that is frozen lets clients connect and says nothing; then another one is asked which node has what.
    options["socket_timeout"] = options["socket_connect_timeout"]
    if address.tls is not None:
        options["ssl"] = True
    nodes = [ClusterNode(host, port) for host, port in address.hosts]
    client = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **options)
    if address.tls is not None:
        client.nodes_manager.connection_kwargs["connection_class"] = TLSConnection
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = TLSConnection
    return client


def _options(address: Address, connecting: float | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "protocol": 2,
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": connecting,
        "username": address.username,
        "password": address.password,
    }
    return options | dict(address.tls or {})
