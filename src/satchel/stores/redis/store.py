"""`RedisStore`: entries in Redis, alone, behind Sentinel or in a cluster (`redis://` and others)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from ..._threads import offload
from ...backend.lifecycle import close_at_end_of_loop
from ...backend.network import DEFAULT_TIMEOUT, check_one_way
from ...clock import Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, SatchelError, missing_extra
from .._redislike.base import CLOCK_SKEW, Command, RedisLikeStore
from .._redislike.errors import ServerError
from .._redislike.line import Line
from .url import OPTIONS, address_of

try:
    from redis.asyncio import Redis, RedisCluster

    from .cluster import ClusterConnections
    from .connections import BorrowedConnections, Connections, OwnConnections, cluster_client, connection_pool
    from .errors import DriverErrors
except ModuleNotFoundError as error:  # of redis, or of hiredis, which comes with the extra alone
    raise missing_extra("RedisStore", "redis", error) from error


class RedisStore(RedisLikeStore):
    """Store that keeps entries in Redis: one server, servers behind Sentinel, or a cluster.

    Args:
        url: `redis://user:password@host:port/db`, `rediss://` for TLS, `unix:///path`, `redis+cluster://host:port` or
            `redis+sentinel://host:port/service`. None: the server is at `host` and `port`.
        client: Your own `redis.asyncio.Redis` or `RedisCluster` instead. It is never closed, and its own retries and
            timeouts are not used.
        host: The server; `localhost` by default.
        port: Its port; 6379 by default.
        db: The number of its database; 0 by default.
        username: The user; the server's default user if omitted.
        password: The password.
        tls: Encrypt the connection; with a URL its scheme decides.
        ca_certs: The file with the certificate authority to trust; by default those of the system.
        prefix: Prefix of the store's keys on the server. Stores with different prefixes are independent.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.
        timeout: Seconds that a request may take; None for no limit.
        clock_skew: Maximum difference of clients' clocks in seconds: the server keeps an expired entry at least that
            long.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: the server refuses the
            user, is not a cluster, or does not speak TLS or Redis's protocol.
    """

    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar
    url_query = OPTIONS
    _pipelines = True
    _sends_in_pieces = True

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | RedisCluster | None = None,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool | None = None,
        ca_certs: str | None = None,
        prefix: str = "satchel",
        codec: Codec | None = None,
        clock: Clock = system_clock,
        timeout: float | None = DEFAULT_TIMEOUT,
        clock_skew: float = CLOCK_SKEW,
    ) -> None:
        entry = {"db": db, "username": username, "password": password, "ca_certs": ca_certs}
        check_one_way("client", client, url=url, host=host, port=port, tls=tls, **entry)
        check_one_way("url", url, host=host, port=port, tls=tls)
        if client is not None and not isinstance(client, (Redis, RedisCluster)):
            raise ConfigurationError(
                f"client must be a redis.asyncio.Redis or RedisCluster, got {type(client).__module__}."
                f"{type(client).__name__}"
            )
        self._given_client = client
        self._address = address_of(url, host, port, db, username, password, tls=tls, ca_certs=ca_certs)
        self._clustered = isinstance(client, RedisCluster) or (client is None and self._address.kind == "cluster")
        self._where = str(self._address) if client is None else f"client={type(client).__name__}(...)"
        self._errors = DriverErrors(self._where, tls=self._address.tls is not None)
        self._held: AsyncGenerator[None] | None = None
        self._shield_writes = self._clustered  # type: ignore[misc]  # elsewhere `Connections` keeps the order
        super().__init__(prefix=prefix, codec=codec, clock=clock, timeout=timeout, clock_skew=clock_skew)

    def __repr__(self) -> str:
        return f"RedisStore({self._where})"

    async def _execute(self, commands: Sequence[Command], *, changes: bool) -> Sequence[Any]:
        return await self._connections.execute(commands, changes=changes)

    async def _execute_as_one(self, commands: Sequence[Command]) -> Sequence[Any] | ServerError:
        replies = await self._connections.execute([("MULTI",), *commands, ("EXEC",)], changes=False)
        refusals = [reply for reply in replies if isinstance(reply, ServerError)]
        answers: Sequence[Any] = replies[-1]
        return refusals[0] if refusals else answers

    def _scan(self, pattern: bytes) -> AsyncGenerator[list[bytes], None]:
        return self._connections.scan(pattern)

    async def _lines(self) -> Sequence[Line]:
        return await self._connections.lines()

    async def _check_servers(self) -> None:
        await self._connections.check_servers()

    async def _ping(self) -> None:
        await self._connections.ping()

    async def _open(self) -> None:
        self._connections = await self._connect()
        self._held = close_at_end_of_loop(self._connections.close)
        await anext(self._held)

    async def _close(self) -> None:
        if self._held is not None:
            await self._held.aclose()

    def _discard(self) -> None:
        self._held = None

    async def _clear(self, pattern: bytes, now: float) -> bool:
        await self._with_timeout(self._connections.settled())
        return await super()._clear(pattern, now)

    async def _connect(self) -> Connections | ClusterConnections:
        patience = self._timeout or DEFAULT_TIMEOUT
        self._lent = None if self._given_client is None else "a client"
        if isinstance(self._given_client, RedisCluster):
            await self._given_client.initialize()
            return ClusterConnections(self._given_client, self._errors, own=False)
        if self._given_client is not None:
            return BorrowedConnections(self._given_client.connection_pool, patience)
        if self._clustered:
            client = await offload(cluster_client, self._address, self._timeout)
            return ClusterConnections(client, self._errors, own=True)
        return OwnConnections(await offload(connection_pool, self._address, self._timeout), patience)

    def _map_error(self, error: Exception) -> SatchelError | None:
        return self._errors.translate(error)
