"""Over TLS ValkeyStore checks the server's certificate, by the authorities of the system or one that it is told."""

import pytest

from satchel import ConfigurationError, StoreUnavailableError, open_store
from satchel.stores.valkey import ValkeyStore
from tests.stores.redis.servers import redis_over_tls

pytestmark = [pytest.mark.server("valkey"), pytest.mark.server("redis")]


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server that speaks TLS alone, Redis of the distribution, and its certificate."""
    with redis_over_tls(tmp_path_factory.mktemp("tls")) as server:
        yield server


async def test_the_certificate_is_checked_by_the_authority_that_is_given(tls):
    server, certificate = tls
    async with open_store(f"valkeys://localhost:{server.port}/0?ca_certs={certificate}&prefix=tls", timeout=5) as store:
        await store.put_many("c", {str(number): number for number in range(50)})
        assert len(await store.get_many("c", map(str, range(50)))) == 50


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls):
    server, _ = tls
    async with ValkeyStore(f"valkeys://localhost:{server.port}/0", timeout=2) as store:
        with pytest.raises(StoreUnavailableError, match="ca_certs"):
            await store.get("c", "k")


async def test_a_file_that_is_not_there_is_named_as_the_trouble():
    async with ValkeyStore("valkeys://localhost:1/0", ca_certs="/nowhere/ca.pem", timeout=2) as store:
        with pytest.raises(ConfigurationError, match="ca_certs"):
            await store.get("c", "k")


def test_an_authority_needs_tls():
    with pytest.raises(ConfigurationError, match="ca_certs needs TLS"):
        ValkeyStore("valkey://localhost", ca_certs="/nowhere/ca.pem")
