"""What the tests of Redis share: a suite that cleans up, as a listing looks at everything that a server holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
import redis
from redis.asyncio import Redis

from satchel import Clock
from satchel.stores.redis import RedisStore
from satchel.testing import StoreConformance
from scripts.test_servers.install import program
from scripts.test_servers.server import HOST, Server, is_open
from tests.certificates import make_certificate
from tests.servers import server_url


class RedisConformance(StoreConformance):
    __test__ = False
    persistent = True
    server: ClassVar[str]
    prefixes: ClassVar[set[bytes]] = set()

    def make_store(self, clock: Clock, place: Path) -> RedisStore:
        self.prefixes.add(place.name.encode())
        return RedisStore(server_url(self.server), prefix=place.name, clock=clock)

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def clean_server(cls) -> Iterator[None]:
        yield
        with plain_client(server_url(cls.server)) as client:
            for key in list(client.scan_iter("satchel-*", count=1000)):
                if key.partition(b":")[0] in cls.prefixes:
                    client.unlink(key)


def plain_client(url: str) -> redis.Redis | redis.RedisCluster:
    """Return a client that blocks, for what a test does beside the store."""
    parts = urlsplit(url)
    if parts.scheme == "redis+cluster":
        return redis.RedisCluster(host=parts.hostname, port=parts.port)
    if parts.scheme == "redis+sentinel":
        return redis.Sentinel([(parts.hostname, parts.port)]).master_for(parts.path.strip("/"))
    return redis.Redis.from_url(url)


@contextmanager
def redis_with(*options: str) -> Iterator[Server]:
    """Start a Redis of the distribution with options of its own; one with a certificate speaks TLS alone."""
    with Server("redis", partial(_begin, options)) as server:
        server.start()
        yield server


def _begin(options: tuple[str, ...], server: Server) -> str:
    port = server.port_for("main")
    place = ["--bind", HOST, "--dir", str(server.folder("data")), "--save", ""]
    listen = ["--port", "0", "--tls-port", str(port)] if "--tls-cert-file" in options else ["--port", str(port)]
    server.spawn([program("redis-server", "redis-server"), *listen, *place, *options])
    server.wait_until(lambda: is_open(port))
    return f"redis://{HOST}:{port}/0"


async def tell(server: Server, *command: str) -> Any:
    """Send a command to a server, beside the store."""
    async with Redis(host=HOST, port=server.port, driver_info=None) as client:
        return await client.execute_command(*command)


@contextmanager
def redis_over_tls(place: Path) -> Iterator[tuple[Server, str]]:
    """Start a Redis that speaks TLS alone, and give the certificate that it shows."""
    certificate, key = make_certificate(place)
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
    with redis_with(*files, "--tls-auth-clients", "no") as server:
        yield server, certificate
