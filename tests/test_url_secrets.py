"""No part of a secret in a URL is shown, wherever it stands, percent-encoded or not: by no error, `repr` or log."""

import contextlib
import logging
import os
import re
import traceback
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from satchel import ConfigurationError, SatchelError, open_store
from satchel.stores.elasticsearch import ElasticsearchStore
from satchel.stores.http import HTTPStore
from satchel.stores.mongodb import MongoDBStore
from satchel.stores.nats import NATSStore
from satchel.stores.objectstore import ObjectStore
from satchel.stores.postgresql import PostgreSQLStore
from satchel.stores.redis import RedisStore
from satchel.stores.sql import SQLStore
from satchel.stores.valkey import ValkeyStore

IN_USERINFO = [
    "redis://:{}@host:6379/0",
    "redis://user:{}@host",
    "redis://user:{}@host:6379/0?prefix=shop&timeout=2",
    "rediss://user:{}@host/0?ssl_cert_reqs=none",
    "unix://:{}@/run/redis.sock",
    "unix://user:{}@/run/redis.sock?db=1",
    "unix:user:{}@/run/redis.sock",
    "redis+cluster://user:{}@one:7000,two:7001",
    "redis+sentinel://user:{}@one:1,two:2/primary",
    "valkey://user:{}@host:6379/0",
    "valkeys://user:{}@host",
    "valkey+cluster://user:{}@host:7000",
    "valkeys+cluster://user:{}@host:7000",
    "mongodb://user:{}@one:1,two:2/base?w=majority",
    "mongodb://user:{}@host",
    "mongodb+srv://user:{}@cluster.example/base",
    "nats://user:{}@one:1,two:2/bucket",
    "nats+tls://:{}@host",
    "postgresql://user:{}@one:1,two:2/base?sslmode=disable",
    "postgres://user:{}@host/base",
    "mysql://user:{}@host/base?table_name=cache",
    "postgresql+asyncpg://user:{}@host/base?ssl=require",
    "elasticsearch://user:{}@host:9200",
    "elasticsearch+https://user:{}@host/path?verify_certs=false",
    "http://user:{}@host:8377/path",
    "https://:{}@host",
    "s3://user:{}@bucket/prefix",
    "gs://user:{}@bucket",
    "az://user:{}@container",
    "memcached://user:{}@host:11211",
    "dynamodb://user:{}@table",
    "disk://user:{}@/var/lib",
    "file://user:{}@/var/lib",
    "memory://user:{}@",
    "null://user:{}@",
    "nosuch://user:{}@host",
]
AS_OPTION = [
    "redis://host?password={}",
    "redis://host?password={}&timeout=2",
    "redis://host?password={}&wrap=statistics",
    "rediss://host?username=user&password={}",
    "unix:///run/redis.sock?password={}",
    "redis+cluster://host?password={}",
    "redis+sentinel://host/primary?password={}",
    "valkey://host?username=user&password={}",
    "mongodb://host/?tlsCertificateKeyFilePassword={}",
    "mongodb://host/?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:{}",
    "mongodb://user:x@host/?proxyHost=h&proxyPassword={}",
    "postgresql://host/base?sslpassword={}",
    "postgresql://host/base?password={}",
    "elasticsearch://host?api_key={}",
    "http://host?token={}",
    "s3://bucket?access_key_id=id&secret_access_key={}",
    "s3://bucket?access_key_id=id&secret_access_key=x&session_token={}",
    "dynamodb://table?aws_access_key_id=id&aws_secret_access_key={}",
    "memory://?wrap=encryption(key={})",
    "memory://?wrap=encryption(key_env=APP_KEY,other_keys={})",
    "memory://?wrap=signing(key={})&wrap=statistics",
    "redis://host?password_env={}",
]
IN_THE_WRONG_PLACE = [
    "redis://host:{}",
    "redis://host/{}",
    "redis+cluster://one:1,two:{}",
    "unix:///run/redis.sock?db={}",
    "valkey://host:{}/0",
    "valkey://host/{}",
    "mongodb://one:1,two:{}/base",
    "mongodb://host/?maxPoolSize={}",
    "mongodb://host/?w=1&connectTimeoutMS={}",
    "postgresql://one,two:{}/base",
    "postgresql://host/base?port={}",
    "elasticsearch://host:{}",
    "memcached://host:{}",
    "redis://host?timeout={}",
    "valkey://host?timeout={}",
    "mongodb://host?timeout={}",
    "postgresql://host/base?timeout={}",
    "mysql://host:{}/base",
    "mysql://host/base?timeout={}",
    "elasticsearch://host?verify_certs={}",
    "http://host:{}",
    "https://host?verify_certs={}",
    "s3://bucket?timeout={}",
    "dynamodb://table?create_table={}",
    "memory://?max_bytes={}",
    "disk:///var/lib?durability={}",
    "memory://?default_ttl={}",
    "memory://?read_only={}",
    "memory://?wrap=ttl(default={})",
    "memory://?wrap=sanitization(preset={})",
    "memory://?wrap=compression(algorithm={},level=1)",
    "memory://?wrap=circuit_breaker(share={})",
]

TOKENS = st.text("abcdefghijkmnopqrstuvwxyz23456789", min_size=6, max_size=9).map(lambda text: f"zq{text}")
SEPARATORS = st.text(r""":/?#[]@!$&'()*+,;=% \"<>^`{}|~é""" + "\u2100\uff1a\n\t\x7f", min_size=1, max_size=3)
KNOWN = st.sampled_from(["&wrap=", "?wrap=", "=1&", "?a=1&b", "@", "?db=", "/", "&x=1&x=", "),wrap=(", ";x=", "?=@"])


@st.composite
def passwords(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return a password and those parts of it that may not be shown."""
    tokens = draw(st.lists(TOKENS, min_size=1, max_size=4))
    text = tokens[0]
    for token in tokens[1:]:
        text += draw(SEPARATORS | KNOWN) + token
    return text, tokens


def shown_by_error(error: BaseException | None) -> Iterator[str]:
    """Give all that an error and those behind it show, also where a traceback leaves them out."""
    if error is not None:
        yield from traceback.format_exception(error)
    left, seen = [error], set[int]()
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield f"{one} {one!r} {one.args!r} {getattr(one, '__notes__', '')}"
        left += [one.__cause__, one.__context__]


def shown_by_store(store: Any) -> Iterator[str]:
    """Give all that a store shows of itself."""
    description = store.describe()
    yield f"{store} {store!r} {description} {description!r} {description.store!r} {description.wrappers!r}"


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


PASSWORDS = max(3, settings().max_examples // 4)
"""How many are tried in each place."""


def all_shown(make: Any, *arguments: Any) -> str:
    with logged() as lines:
        try:
            shown = [*shown_by_store(make(*arguments))]
        except SatchelError as error:
            shown = [*shown_by_error(error)]
    return "\n".join([*shown, *lines]).lower()


@pytest.mark.long
@pytest.mark.parametrize("encoded", [False, True], ids=["raw", "encoded"])
@pytest.mark.parametrize("form", IN_USERINFO + AS_OPTION + IN_THE_WRONG_PLACE)
def test_no_part_of_a_password_is_shown(form: str, encoded: bool) -> None:
    @settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=PASSWORDS)
    @example(("zqtop?zqsecret", ["zqtop", "zqsecret"]))
    @example(("zqtop?zqsecret=zqmore", ["zqtop", "zqsecret", "zqmore"]))
    @example(("zqtop&zqsecret=zqmore", ["zqtop", "zqsecret", "zqmore"]))
    @example(("zqtop/zqsecret", ["zqtop", "zqsecret"]))
    @example(("zqtop?wrap=zqsecret&zqmore", ["zqtop", "zqsecret", "zqmore"]))
    @example(("zqtop?x=1&x=zqsecret", ["zqtop", "zqsecret"]))
    @example(("123?prefix=zqsecret", ["zqsecret"]))
    @example(("123/zqsecret", ["zqsecret"]))
    @example(("a@/zqsecret", ["zqsecret"]))
    @example(("zqtop)&zqsecret=1", ["zqtop", "zqsecret"]))
    @example(("zqtop,zqsecret=1", ["zqtop", "zqsecret"]))
    @given(passwords())
    def check(password: tuple[str, list[str]]) -> None:
        text, tokens = password
        if form in IN_THE_WRONG_PLACE and not encoded:
            text = tokens[0]  # there the rest would be another part of the URL for certain
        url = form.format(quote(text, safe="") if encoded else text)
        shown = all_shown(open_store, url)
        assert [token for token in tokens if token in shown] == []

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "APP_KEY", "00" * 32)
        check()


@pytest.mark.parametrize(
    "scheme", ["redis", "valkey", "mongodb", "nats", "postgresql", "mysql", "elasticsearch", "memcached"]
)
def test_a_password_without_a_host_behind_it_is_not_shown(scheme: str) -> None:
    shown = all_shown(open_store, f"{scheme}://user:zqtop?zqsecret=zqmore&zqrest=1")
    assert re.findall("zqtop|zqsecret|zqmore|zqrest", shown) == []


DIRECT = {
    **dict.fromkeys(("redis", "rediss", "unix", "redis+cluster", "redis+sentinel"), RedisStore),
    **dict.fromkeys(("valkey", "valkeys", "valkey+cluster"), ValkeyStore),
    **dict.fromkeys(("mongodb", "mongodb+srv"), MongoDBStore),
    **dict.fromkeys(("nats", "nats+tls"), NATSStore),
    **dict.fromkeys(("postgresql", "postgres"), PostgreSQLStore),
    **dict.fromkeys(("mysql", "postgresql+asyncpg"), SQLStore),
    **dict.fromkeys(("elasticsearch", "elasticsearch+https"), ElasticsearchStore),
    **dict.fromkeys(("http", "https"), HTTPStore),
    **dict.fromkeys(("s3", "gs", "az"), ObjectStore),
}


@pytest.mark.parametrize("form", [form for form in IN_USERINFO + AS_OPTION if form.partition(":")[0] in DIRECT])
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=PASSWORDS)
@given(passwords(), st.booleans())
def test_no_constructor_shows_a_part_of_a_password(form: str, password: tuple[str, list[str]], encoded: bool) -> None:
    text, tokens = password
    url = form.format(quote(text, safe="") if encoded else text)
    shown = all_shown(lambda: DIRECT[form.partition(":")[0]](url=url))
    assert [token for token in tokens if token in shown] == []


DIGITS = "8274619350"
NUMBERS = [
    "redis://host:{}",
    "memory://?max_bytes=-{}",
    "redis://host?timeout=99{}",
    "memory://?default_ttl=99{}",
    "memory://?wrap=ttl(default=99{})",
    "memory://?wrap=ttl(default=-{})",
    "memory://?wrap=ttl(default=60,jitter={})",
    "memory://?wrap=circuit_breaker(share={})",
    "disk:///var/lib?max_size=-{}",
]


@pytest.mark.parametrize("form", NUMBERS)
def test_a_secret_of_digits_in_the_place_of_a_number_is_not_shown(form: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must be|refuses") as refused:
        open_store(form.format(DIGITS))
    assert DIGITS not in "".join(shown_by_error(refused.value))
