"""What a driver or server raises is known by its class or code: in other words, the store's error is the same."""

import asyncio
import sqlite3
import ssl
from pathlib import Path
from typing import Any

import asyncpg
import glide
import httpx
import nats.errors
import pytest
from aiohttp import ClientConnectorCertificateError
from aiohttp.client_reqrep import ConnectionKey
from botocore.exceptions import ClientError
from elastic_transport import TlsError
from obstore.exceptions import GenericError
from pymongo import errors as mongodb
from redis.exceptions import AuthenticationError, RedisClusterException, ResponseError
from redis.exceptions import ConnectionError as Disconnected

from satchel import ConfigurationError, IntegrityError, SatchelError, StoreError, StoreUnavailableError
from satchel.stores._redislike.errors import ServerError
from satchel.stores._redislike.errors import translate as translate_redis
from satchel.stores.dynamodb import errors as _dynamodb_errors
from satchel.stores.elasticsearch import errors as _elasticsearch_errors
from satchel.stores.http import errors as _http_errors
from satchel.stores.memcached.servers import OwnServer
from satchel.stores.mongodb import MongoDBStore
from satchel.stores.mongodb import errors as _mongodb_errors
from satchel.stores.nats import errors as _nats_errors
from satchel.stores.objectstore import errors as _object_errors
from satchel.stores.postgresql import PostgreSQLStore
from satchel.stores.postgresql import errors as _postgresql_errors
from satchel.stores.redis.errors import DriverErrors
from satchel.stores.sql import SQLStore
from satchel.stores.valkey import ValkeyStore

WORDS = "the words of another release"


def of_postgresql(error: Exception, pool: Any = None) -> str:
    found = _postgresql_errors.translate(error, "the database", "entries", pool)
    assert isinstance(found, StoreError | ConfigurationError)
    assert WORDS not in str(found)
    return f"{type(found).__name__}: {found}"


def test_a_server_without_tls_is_known_by_the_class_of_the_error() -> None:
    assert of_postgresql(ConnectionError(WORDS)).startswith("ConfigurationError: the database speaks no TLS")
    for lost in (ConnectionResetError(WORDS), ConnectionRefusedError(WORDS), BrokenPipeError(WORDS)):
        assert "cannot be reached" in of_postgresql(lost)


async def test_the_state_of_a_pool_is_known_by_the_pool() -> None:
    error = asyncpg.InterfaceError(WORDS)
    pool = asyncpg.create_pool("postgresql://user@127.0.0.1:1/base", min_size=0, max_size=1)
    assert "pool must be an open one" in of_postgresql(error, pool)
    await pool
    assert "the connection to the database was closed" in of_postgresql(error, pool)

    async def elsewhere() -> str:
        return of_postgresql(error, pool)

    assert "belongs to another event loop" in await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    await pool.close()
    assert "has been closed" in of_postgresql(error, pool)
    assert "the connection to the database was closed" in of_postgresql(error)


@pytest.mark.parametrize("state", ["28P01", "3D000", "42501", "53100", "57014", "25006"])
def test_what_postgresql_refuses_is_known_by_its_state(state: str) -> None:
    one, other = (asyncpg.PostgresError.new({"C": state, "M": words}) for words in ("some words", WORDS))
    assert of_postgresql(one) == of_postgresql(other)
    assert state not in of_postgresql(other)


def test_an_untrusted_certificate_is_known_by_the_class_behind_the_error() -> None:
    key = ConnectionKey("host", 9200, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
    for cause in (ssl.SSLCertVerificationError(WORDS), ClientConnectorCertificateError(key, Exception(WORDS))):
        for error in (TlsError(WORDS, errors=(cause,)), TlsError(WORDS, errors=(TlsError(WORDS, errors=(cause,)),))):
            assert "not trusted; give ca_certs=" in str(_elasticsearch_errors.translate(error))
    other = TlsError("CERTIFICATE_VERIFY_FAILED", errors=(ssl.SSLError(WORDS),))
    assert "does not speak TLS" in str(_elasticsearch_errors.translate(other))


def test_a_server_that_is_no_node_of_a_cluster_is_known_by_the_class_behind_the_error() -> None:
    errors = DriverErrors("redis+cluster://host:1", tls=False)
    for cause, said in (
        (ResponseError(WORDS), "is no cluster"),
        (AuthenticationError(WORDS), "has no password for this user"),
        (Disconnected(WORDS), "no node of the cluster answers"),
    ):
        error = RedisClusterException(WORDS)
        error.__cause__ = cause
        assert said in str(errors.translate(error))
    assert "no node of the cluster answers" in str(errors.translate(RedisClusterException("mode is not enabled")))


@pytest.mark.parametrize("error", [mongodb.InvalidOperation(WORDS), RuntimeError(WORDS)], ids=repr)
def test_a_closed_client_or_one_of_another_loop_is_known_by_the_class(error: Exception) -> None:
    found = _mongodb_errors.translate(error, "base.entries")
    assert isinstance(found, StoreError)
    assert "was closed, or belongs to another event loop" in str(found)
    assert _mongodb_errors.translate(NotImplementedError(WORDS), "base.entries") is None


@pytest.mark.parametrize("code", [13, 18, 26, 50, 11600])
def test_what_mongodb_refuses_is_known_by_its_code(code: int) -> None:
    one, other = (_mongodb_errors.translate(mongodb.OperationFailure(words, code), "b.e") for words in ("a", WORDS))
    assert (type(one), str(one)) == (type(other), str(other))
    assert WORDS not in str(other)


def test_an_option_of_a_url_that_mongodb_refuses_is_found_without_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from pymongo import common  # noqa: PLC0415  # the table by which the driver checks values

    def refuse(option: str, value: object) -> object:
        raise mongodb.ConfigurationError(WORDS)

    monkeypatch.setitem(common.URI_OPTIONS_VALIDATOR_MAP, "maxpoolsize", refuse)
    with pytest.raises(ConfigurationError, match="refuses the value of maxPoolSize in the url") as refused:
        MongoDBStore(url="mongodb://one,two/base?appName=a&maxPoolSize=5&replicaSet=r")
    assert WORDS not in str(refused.value)
    with pytest.raises(ConfigurationError, match="unknown option of a URL of MongoDB 'maxPoolSise'"):
        MongoDBStore(url="mongodb://host/base?maxPoolSise=5")


def test_an_option_that_asyncpg_would_take_for_a_setting_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown option of a URL of PostgreSQL 'sslmod'; did you mean 'sslmo"):
        PostgreSQLStore(url="postgresql://host/base?sslmod=require")


async def test_a_missing_table_of_sqlite_is_known_by_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3.OperationalError, "__str__", lambda _: WORDS)
    url = f"sqlite+aiosqlite:///{tmp_path}/data"
    async with SQLStore(url=url, table_name="Shop") as store:
        assert await store.get("c", "k") is None
        assert await store.get_many("c", ["k", "l"]) == {}
        assert await store.delete("c", "k") is False
        await store.put_many("c", {"k": 1, "l": 2})
        assert await store.get("c", "k") == 1
    async with SQLStore(url=url, table_name="attached.shop") as store:
        for call in (store.get("c", "k"), store.put("c", "k", 1)):
            with pytest.raises(ConfigurationError, match="not as satchel makes it, or its schema is not attached"):
                await call
    async with SQLStore(url=url, table_name="other") as store:
        await store.ping()
        with sqlite3.connect(tmp_path / "data") as connection:
            connection.execute("CREATE TABLE other (name)")
        connection.close()
        with pytest.raises(ConfigurationError, match="another table_name"):
            await store.get("c", "k")


@pytest.mark.parametrize("before", ["An error was signalled by the server: - ", "", f"{WORDS} - "])
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("WRONGTYPE: Operation against a key", IntegrityError),
        ("ResponseError: wrong number of arguments", StoreError),
        ("BusyLoadingError: loading", StoreUnavailableError),
        ("PermissionDenied: no", StoreError),
    ],
)
def test_what_valkey_refuses_is_known_by_its_code_wherever_the_client_puts_it(
    before: str, said: str, kind: type[SatchelError]
) -> None:
    error = ValkeyStore(host="host")._map_error(glide.RequestError(before + said))
    assert type(error) is kind
    assert WORDS not in str(error)


def refused_by_dynamodb(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": WORDS}}, "PutItem")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (translate_redis(ServerError(f"ERR {WORDS}")), StoreError),
        (_http_errors.translate(httpx.RemoteProtocolError(WORDS), "http://host"), StoreUnavailableError),
        (_nats_errors.translate(nats.errors.Error(WORDS), "bucket", "host:4222"), StoreUnavailableError),
        (_object_errors.translate(GenericError(WORDS), "bucket"), StoreUnavailableError),
        (_dynamodb_errors.translate(refused_by_dynamodb("ValidationException"), "table", "region"), StoreError),
        (_dynamodb_errors.translate(refused_by_dynamodb("InvalidSignatureException"), "table", "region"), StoreError),
        (OwnServer("host", 1).refusal(f"SERVER_ERROR {WORDS}".encode()), StoreUnavailableError),
        (OwnServer("host", 1).refusal(f"CLIENT_ERROR {WORDS}".encode()), StoreError),
    ],
)
def test_where_words_alone_tell_a_reason_others_end_in_a_general_error(error: object, kind: type[StoreError]) -> None:
    assert type(error) is kind
    assert WORDS not in str(error)
