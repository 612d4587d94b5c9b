"""Over TLS ValkeyStore checks the server's certificate, by the authorities of the system or one that it is told."""

import subprocess

import pytest

from satchel import ConfigurationError, StoreUnavailableError, open_store
from satchel.stores.valkey import ValkeyStore
from scripts.test_servers.install import program
from tests.stores.redis_servers import redis_with

pytestmark = [pytest.mark.server("valkey"), pytest.mark.server("redis")]


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A server that speaks TLS alone, Redis of the distribution, and its certificate."""
    place = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=place, check=True, capture_output=True,
    )  # fmt: skip
    key, certificate = str(place / "key.pem"), str(place / "cert.pem")
    with redis_with(
        "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
        "--tls-auth-clients", "no",
    ) as server:  # fmt: skip
        yield server, certificate


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
