"""The servers behind a `MemcachedStore`: one of its own, or those of an emcache client, which lends its connections."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from contextvars import Context
from typing import Any

from ..backend.network import apart
from ..errors import SatchelError, StoreError, StoreUnavailableError, ValueTooLargeError
from ._memcached_protocol import Connection, Greeting, Lines, RefusedError, Reply, Settings

MAX_CONNECTIONS = 4
"""So many connections of a store's own are open at once, however many calls wait."""

_USUAL_LIMIT = 1024 * 1024
_ITEM_OVERHEAD = 64
"""More than memcached adds to a key and a value: an item's head, the CAS token, flags and line ends."""


class Server(ABC):
    """Answers questions, one a connection at a time.

    Args:
        where: How messages call the server.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._largest: int | None = None
        self._unsettled: set[asyncio.Task[None]] = set()

    async def ask(self, request: bytes, reply: Reply) -> None:
        """Ask what changes nothing.

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
        """Return when the server says that it is memcached."""
        await self.ask(b"version\r\n", Greeting())

    def too_large(self, size: int, largest: int) -> SatchelError:
        """Return the error for an entry that the server would not take, and would drop what is there for."""
        return ValueTooLargeError(
            f"the encoded value has {size} bytes with its header and key, {self.where} takes at most {largest}; "
            "start memcached with a larger -I, or put less"
        )

    def refusal(self, line: bytes) -> SatchelError:
        """Return the error for an answer that is none; the answer is not in it, for it may be part of a value."""
        if line.startswith(b"SERVER_ERROR out of memory"):
            return StoreError(
                f"{self.where} is out of memory, and what was under this key is gone: give memcached more (-m), "
                "or start it without -M so that it evicts"
            )
        if line.startswith(b"SERVER_ERROR object too large"):
            self._largest = None  # it was restarted with another limit
            return ValueTooLargeError(f"the encoded value is larger than {self.where} takes; what was there is gone")
        if line.startswith(b"SERVER_ERROR"):
            return StoreUnavailableError(f"{self.where} could not do it now (SERVER_ERROR); try again later")
        if line.startswith(b"CLIENT_ERROR unauthenticated"):
            return StoreError(
                f"{self.where} wants a user and a password: give them to emcache.create_client, and that as client="
            )
        if line.startswith((b"CLIENT_ERROR", b"ERROR")):
            return StoreError(f"{self.where} refused a command; it must be memcached 1.4 or later")
        return StoreError(f"{self.where} does not answer as memcached does; check host and port")

    def _failure(self, error: OSError | RefusedError) -> SatchelError:
        if isinstance(error, RefusedError):
            return self.refusal(error.line)
        what = "hung up" if isinstance(error, ConnectionResetError) else "cannot be reached"
        return StoreUnavailableError(f"{self.where} {what}; is memcached running there?")

    @abstractmethod
    async def _ask(self, request: bytes, reply: Reply, *, changing: bool) -> None:
        """Ask over any connection, and cut it when that fails."""

    async def _ask_over(self, connection: Connection, request: bytes, reply: Reply, *, changing: bool) -> None:
        try:
            await connection.ask(request, reply)
        except BaseException:
            if changing:
                self._settle(connection)
            connection.cut()
            raise

    def _settle(self, connection: Connection) -> None:
        """Begin to wait until the server is done with what was sent: it then closes its end."""
        try:
            end = socket.socket(fileno=socket.dup(connection.transport.get_extra_info("socket").fileno()))
        except OSError:
            return  # the connection has ended
        connection.cut()  # what has not been sent yet never will be
        task = asyncio.create_task(_until_closed(end), context=Context())
        self._unsettled.add(task)
        task.add_done_callback(self._unsettled.discard)

    async def close(self) -> None:
        """Release what was opened here."""
        for task in self._unsettled:
            task.cancel()
        if self._unsettled:
            await asyncio.wait(self._unsettled)


class OwnServer(Server):
    """Is a server to which this store connects by itself."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"memcached at {host}:{port}")
        self._host, self._port = host, port
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)

    async def _ask(self, request: bytes, reply: Reply, *, changing: bool) -> None:
        async with self._free:
            while (connection := self._unused()) is None:
                # In an empty context: what reads from it would keep alive what this caller's variables hold.
                await apart(self._connect())
            await self._ask_over(connection, request, reply, changing=changing)
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
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.cut()
            await connection.ended()
        await super().close()


class LentServer(Server):
    """Is a server of an emcache client's, over whose connections questions are asked.

    Args:
        node: emcache's own object for it.
        patience: Seconds to wait for a connection, which emcache does for ever; None for no end.
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
                await self._ask_over(connection, request, reply, changing=changing)
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
