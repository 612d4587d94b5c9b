"""What redis-py needs to make connections of the store's own, from an address.

Nothing is sent twice behind the store's back: redis-py's retries are off, and its timeouts but for connecting, as the
base bounds each request. RESP 2 needs no greeting, and servers of all ages and proxies speak it.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import ConnectionPool, RedisCluster, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import NoBackoff

from ._redis_connections import SentinelTLSConnection, TLSConnection
from ._redis_url import Address

_CONNECTING = 0.9
"""Of the timeout, so that redis-py's own error comes first: it knows that it was connecting."""
_CONNECTING_TO_ONE = 0.3
"""The same where there are others to try."""


def connection_pool(address: Address, timeout: float | None) -> ConnectionPool:
    """Return what makes connections to one server, by itself or the one that Sentinel names."""
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
