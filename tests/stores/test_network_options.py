"""What all network stores refuse before any I/O, and that no part of a password shows, however the URL is misspelt."""

import pytest

from satchel import ConfigurationError
from satchel.stores.dynamodb import DynamoDBStore
from satchel.stores.elasticsearch import ElasticsearchStore
from satchel.stores.http import HTTPStore
from satchel.stores.memcached import MemcachedStore
from satchel.stores.mongodb import MongoDBStore
from satchel.stores.nats import NATSStore
from satchel.stores.objectstore import ObjectStore
from satchel.stores.postgresql import PostgreSQLStore
from satchel.stores.redis import RedisStore
from satchel.stores.sql import SQLStore
from satchel.stores.valkey import ValkeyStore

SECRET = "hunter2"
BY_URL = {
    "redis": RedisStore,
    "redis+cluster": RedisStore,
    "valkey": ValkeyStore,
    "mongodb": MongoDBStore,
    "nats": NATSStore,
    "elasticsearch": ElasticsearchStore,
    "http": HTTPStore,
    "https": HTTPStore,
    "postgresql": PostgreSQLStore,
    "mysql": SQLStore,
}


@pytest.mark.parametrize("scheme", BY_URL)
@pytest.mark.parametrize(
    "place",
    [
        f"user:12/{SECRET}@host:1",  # up to the slash it looks like a host and a port
        f"user:12?{SECRET}@host:1",
        f"user:12#{SECRET}@host:1",
        f"user:{SECRET}/12@host:1",
        f"user:{SECRET}?12@host:1",
        f"user:{SECRET}@[::1",
        f"user:{SECRET}@host:99999",
    ],
)
def test_a_password_that_is_not_percent_encoded_is_refused_and_not_shown(scheme, place):
    with pytest.raises(ConfigurationError, match=r"percent-encode") as refused:
        BY_URL[scheme](url=f"{scheme}://{place}")
    assert SECRET not in str(refused.value)


def test_what_may_hold_an_at_sign_may_still():
    assert repr(RedisStore("unix:///run/a@b.sock")) == "RedisStore(unix:///run/a@b.sock)"
    url = "postgresql://user@host/base?application_name=me%40home"
    assert str(PostgreSQLStore(url=url).describe()) == url
    assert repr(PostgreSQLStore(url="postgresql://one:1,two:2/base"))
    assert repr(PostgreSQLStore(url="postgresql://%2Fvar%2Frun:5433/base"))


@pytest.mark.parametrize("kind", [RedisStore, ValkeyStore, MemcachedStore])
@pytest.mark.parametrize(
    "option",
    [{"host": ""}, {"host": 5}, {"port": 0}, {"port": "6379"}, {"port": 65536}, {"port": True}],
    ids=str,
)
def test_a_host_or_port_that_is_none_is_refused(kind, option):
    with pytest.raises(ConfigurationError, match=f"{next(iter(option))} must be"):
        kind(**option)


@pytest.mark.parametrize("kind", [RedisStore, ValkeyStore, MemcachedStore])
@pytest.mark.parametrize("host", [f"redis://user:{SECRET}@host:1", f"user:{SECRET}@host", f"host/{SECRET}"])
def test_a_url_in_place_of_a_host_is_refused_and_not_shown(kind, host):
    with pytest.raises(ConfigurationError, match="a URL is given as url") as refused:
        kind(host=host)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (RedisStore, {"password": 8274619350}),
        (RedisStore, {"username": 8274619350}),
        (ValkeyStore, {"password": 8274619350}),
        (DynamoDBStore, {"table_name": "table", "aws_access_key_id": "id", "aws_secret_access_key": 8274619350}),
        (ObjectStore, {"url": "s3://bucket", "secret_access_key": 8274619350}),
    ],
    ids=str,
)
def test_a_secret_of_another_type_is_refused_and_not_shown(kind, options):
    with pytest.raises(ConfigurationError, match="must be a str that is not empty, got an int") as refused:
        kind(**options)
    assert "8274619350" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (RedisStore, {"password": SECRET.encode()}),
        (RedisStore, {"username": 5}),
        (RedisStore, {"db": "1"}),
        (ValkeyStore, {"password": SECRET.encode()}),
        (ValkeyStore, {"username": 5, "password": SECRET}),
        (ValkeyStore, {"db": "1"}),
        (ValkeyStore, {"db": -1}),
        (ValkeyStore, {"url": "valkey://host/-1"}),
        (ValkeyStore, {"url": "valkey://host/0?db=1"}),
        (ValkeyStore, {"tls": "yes"}),
        (ElasticsearchStore, {"url": "elasticsearch+https://host", "verify_certs": "no"}),
        (HTTPStore, {}),
        (HTTPStore, {"url": 5}),
        (HTTPStore, {"url": "ftp://host"}),
        (HTTPStore, {"url": "http://"}),
        (HTTPStore, {"url": "http://one,two"}),
        (HTTPStore, {"url": "http://host?a=b"}),
        (HTTPStore, {"url": f"http://user:{SECRET}@host"}),
        (HTTPStore, {"url": "http://host", "token": SECRET.encode()}),
        (HTTPStore, {"url": "http://host", "token": f"{SECRET}\n"}),
        (HTTPStore, {"url": "http://host", "token": ""}),
        (HTTPStore, {"url": "http://host", "verify_certs": False}),
        (HTTPStore, {"url": "http://host", "ca_certs": "file"}),
        (HTTPStore, {"url": "https://host", "verify_certs": "no"}),
        (HTTPStore, {"client": "a client"}),
        (DynamoDBStore, {"table_name": "table", "region_name": 5}),
        (DynamoDBStore, {"table_name": "table", "endpoint_url": 5}),
        (DynamoDBStore, {"table_name": "table", "endpoint_url": f"http://user:{SECRET}@host"}),
        (NATSStore, {"credentials": ""}),
        (NATSStore, {"replicas": "1"}),
        (ObjectStore, {"url": "s3://bucket", "endpoint": 5}),
        (ObjectStore, {"url": "s3://bucket", "region": 5}),
    ],
    ids=str,
)
def test_an_option_of_another_type_is_refused(kind, options):
    with pytest.raises(ConfigurationError) as refused:
        kind(**options)
    assert SECRET not in str(refused.value)
