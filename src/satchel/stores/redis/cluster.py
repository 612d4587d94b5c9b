"""Connections of redis-py to a cluster: which node has which slot is redis-py's knowledge, the rest is done here.

redis-py's own pipeline goes on writing on other nodes after it has raised for one, and sends commands again that may
have been carried out; so it is not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, MovedError, RedisClusterException, TryAgainError
from redis.exceptions import ConnectionError as Disconnected

from ..._contexts import task_in_empty_context
from ...backend.network import in_empty_context
from ...errors import StoreUnavailableError
from .._redislike.base import Command
from .._redislike.errors import ServerError
from .._redislike.line import Line
from .connections import MAX_CONNECTIONS, converse, is_broken, line, pages, ready, succeeded
from .errors import DriverErrors

_ROUNDS = 6
_PAUSE = 0.05
_REDIRECTED = (MovedError, AskError, TryAgainError)
_ASKING: Command = ("ASKING",)
_SILENCE = 1.0
"""Seconds without an answer after which the other nodes are asked whether this one was replaced."""


class _ReplacedError(Disconnected):
    """The node did not answer, and the cluster has another one in its place."""


class ClusterConnections:
    """Connections to the nodes of a cluster, at most `MAX_CONNECTIONS` to each.

    Args:
        client: Knows the nodes and slots, and makes the connections.
        errors: Translates what a node's connection raises.
        own: The client was made for this store, and is to be closed with it.
    """

    def __init__(self, client: RedisCluster, errors: DriverErrors, *, own: bool) -> None:
        self._client = client
        self._errors = errors
        self._own = own
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._outdated = True
        self._slots: Any = None
        self._learning = asyncio.Lock()
        self._watched: list[ClusterNode] = []
        self._doubts: dict[AbstractConnection, asyncio.Task[None]] = {}

    async def execute(self, commands: Sequence[Command], *, changes: bool) -> Sequence[Any]:
        """Carry out commands, as `RedisLikeStore._execute` does: each on the node that has its keys' slot."""
        replies: list[Any] = [None] * len(commands)
        async with self._room:
            left: Sequence[int] = range(len(commands))
            for attempt in range(_ROUNDS):
                await self._learn()
                await self._send(commands, left, replies, changes=changes)
                left = [index for index in left if _is_redirected(replies[index])]
                if not left:
                    break
                await self._follow(commands, left, replies, changes=changes)
                left = [index for index in left if _is_redirected(replies[index])]
                if not left:
                    break
                if attempt:
                    await asyncio.sleep(_PAUSE * attempt)
        return replies

    async def scan(self, pattern: bytes) -> AsyncGenerator[list[bytes], None]:
        """Yield the keys that match a pattern, in pages, of one primary after the other."""
        for node in await self._primaries():
            async with aclosing(pages(partial(self._ask, node), pattern)) as found:
                async for page in found:
                    yield page

    async def ping(self) -> None:
        """Ask every primary for a sign of life."""
        for node in await self._primaries():
            await self._ask(node, ("PING",))

    async def settled(self) -> None:
        """Return at once: the base waits for what was cut off."""

    async def lines(self) -> list[Line]:
        """Return a new connection for watching to every primary."""
        self._watched = await self._primaries()
        made: list[Line] = []
        try:
            for node in self._watched:
                made.append(await line(node.connection_class(**node.connection_kwargs)))  # noqa: PERF401  # what was made is closed
        except BaseException:
            for connection in made:
                connection.close()
            raise
        return made

    async def check_servers(self) -> None:
        """Raise if the cluster has other primaries now than those that are watched."""
        if {node.name for node in await self._primaries()} != {node.name for node in self._watched}:
            raise StoreUnavailableError("the cluster has other primaries now; all of them are watched again")

    async def close(self) -> None:
        """Close the store's own connections."""
        if self._own:
            await self._client.nodes_manager.aclose()
            await self._client.nodes_manager.aclose("startup_nodes")

    async def _primaries(self) -> list[ClusterNode]:
        """Return the nodes that hold all keys among them, those too that joined since the last time."""
        await self._learn()
        if not self._client.get_primaries():
            self._outdated = True
            raise StoreUnavailableError("the cluster has no primary now; try again")
        slots = await self._ask(self._client.get_primaries()[0], ("CLUSTER", "SLOTS"))
        if slots != self._slots:
            self._outdated = True
            await self._learn()
            self._slots = slots
        return self._client.get_primaries()

    async def _ask(self, node: ClusterNode, command: Command) -> Any:
        async with self._room:
            try:
                return succeeded(await self._converse(node, [command], changes=False))
            except Exception:
                self._outdated = True
                raise

    async def _learn(self) -> None:
        """Ask the cluster which node has which slot, unless that is known."""
        async with self._learning:
            if self._outdated:
                await in_empty_context(self._client.nodes_manager.initialize())
                self._outdated = False

    async def _send(
        self, commands: Sequence[Command], indexes: Sequence[int], replies: list[Any], *, changes: bool
    ) -> None:
        """Send commands to their nodes, all nodes at once, and wait until each has answered or failed."""
        shares: dict[ClusterNode, list[int]] = {}
        for index in indexes:
            try:
                node = self._client.get_node_from_key(_key(commands[index]))
            except RedisClusterException:
                node = None
            if node is None:
                self._outdated = True
                replies[index] = StoreUnavailableError("no node of the cluster has this key's slot now; try again")
            else:
                shares.setdefault(node, []).append(index)
        exchanges = [self._exchange(node, commands, share, replies, changes=changes) for node, share in shares.items()]
        if len(exchanges) == 1:
            await exchanges[0]
        else:
            await asyncio.gather(*exchanges)

    async def _exchange(
        self, node: ClusterNode, commands: Sequence[Command], share: Sequence[int], replies: list[Any], *, changes: bool
    ) -> None:
        try:
            answers = await self._converse(node, [commands[index] for index in share], changes=changes)
        except Exception as error:  # it concerns the keys of this node alone
            self._outdated = True
            self._client.nodes_manager.move_node_to_end_of_cached_nodes(node.name)
            failure = self._errors.translate(error)
            if failure is None:
                raise
            failure.__cause__ = error
            answers = [failure] * len(share)
        for index, answer in zip(share, answers, strict=True):
            replies[index] = answer
            if isinstance(answer, ServerError) and answer.code in ("CLUSTERDOWN", "READONLY"):
                self._outdated = True

    async def _converse(self, node: ClusterNode, commands: Sequence[Command], *, changes: bool) -> list[Any]:
        try:
            return await self._attempt(node, commands)
        except Exception as error:
            if changes or not is_broken(error):
                raise
        return await self._attempt(node, commands)

    async def _attempt(self, node: ClusterNode, commands: Sequence[Command]) -> list[Any]:
        """Send commands to a node, and return its replies.

        One that is frozen or cut off says nothing, and nothing closes its connection. It is waited for until the
        others have replaced it.
        """
        connection = node.acquire_connection()
        patience, connection.socket_timeout = connection.socket_timeout, None  # that is for asking which node has what
        timer = asyncio.get_running_loop().call_later(_SILENCE, self._begin_to_doubt, node, connection)
        try:
            await node.disconnect_if_needed(connection)
            await ready(connection)
            return await converse(connection, commands)
        except Disconnected as error:
            if (doubt := self._doubts.get(connection)) is not None and doubt.done():
                raise _ReplacedError from error
            raise
        finally:
            timer.cancel()
            if (doubt := self._doubts.pop(connection, None)) is not None:
                doubt.cancel()
            connection.socket_timeout = patience
            node.release(connection)

    def _begin_to_doubt(self, node: ClusterNode, connection: AbstractConnection) -> None:
        self._doubts[connection] = task_in_empty_context(self._doubt(node, connection))

    async def _doubt(self, node: ClusterNode, connection: AbstractConnection) -> None:
        """Cut a connection off once the cluster has another node for what it was asked."""
        while not await self._is_replaced(node):  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(_SILENCE)
        self._outdated = True
        if connection._writer is not None:
            connection._writer.transport.abort()

    async def _is_replaced(self, node: ClusterNode) -> bool:
        """Return whether other nodes know that a node is no primary any more."""
        manager = self._client.nodes_manager
        for other in list(manager.nodes_cache.values()):
            if other is node:
                continue
            connection = other.connection_class(**other.connection_kwargs)
            try:
                async with asyncio.timeout(_SILENCE):
                    await ready(connection)
                    slots = succeeded(await converse(connection, [("CLUSTER", "SLOTS")]))
            except Exception:  # noqa: S112  # this one cannot tell, whatever the reason
                continue
            finally:
                await connection.disconnect(nowait=True)
            primaries = [
                manager.remap_host_port(primary[0].decode() or other.host, primary[1]) for _, _, primary, *_ in slots
            ]
            return (node.host, node.port) not in primaries
        return False

    async def _follow(
        self, commands: Sequence[Command], indexes: Sequence[int], replies: list[Any], *, changes: bool
    ) -> None:
        """Learn from redirections where keys are; those being moved are asked for where they go."""
        asked: dict[ClusterNode, list[int]] = {}
        for index in indexes:
            redirection = replies[index].__cause__
            if isinstance(redirection, MovedError):
                await self._client.nodes_manager.move_slot(redirection)
            elif isinstance(redirection, AskError):
                node = self._client.get_node(host=redirection.host, port=redirection.port)
                if node is None:
                    self._outdated = True
                else:
                    asked.setdefault(node, []).append(index)
        for node, share in asked.items():
            pairs = [command for index in share for command in (_ASKING, commands[index])]
            answers: list[Any] = [None] * len(pairs)
            await self._exchange(node, pairs, range(len(pairs)), answers, changes=changes)
            for position, index in enumerate(share):
                replies[index] = answers[2 * position + 1]


def _key(command: Command) -> Any:
    return command[3] if command[0] in ("EVAL", "EVALSHA") else command[1]


def _is_redirected(reply: Any) -> bool:
    return isinstance(reply, ServerError) and isinstance(reply.__cause__, _REDIRECTED)
