"""Errors of the server come back as satchel's, each to the caller at fault; other servers are recognised."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import httpx
import pytest

from satchel import (
    BatchError,
    CircuitOpenError,
    ConfigurationError,
    InvalidKeyError,
    MemoryStore,
    ReadOnlyError,
    SatchelError,
    SerializationError,
    SignedPickleCodec,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    ValueTooLargeError,
)
from satchel._rest import ERRORS
from satchel.server import Token, create_app
from satchel.stores.http import HTTPStore
from satchel.testing import FlakyStore
from tests.certificates import make_certificate

TOKEN = "a-token-that-nobody-guesses"


class FailingStore(MemoryStore):
    """Store whose every call raises what it is told to."""

    failure: SatchelError

    async def get_entries(self, collection, keys):
        raise self.failure

    async def put_if_absent(self, collection, key, value, *, ttl=None):
        raise self.failure


@pytest.mark.parametrize("kind", [kind for _, kind in ERRORS.values()], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("retryable", [True, False])
async def test_what_the_servers_store_raises_comes_back(serving, kind, retryable):
    inner = FailingStore()
    inner.failure = kind("said by the inner store")
    if isinstance(inner.failure, StoreError):
        inner.failure.retryable = retryable
    if isinstance(inner.failure, CircuitOpenError):
        inner.failure.retry_after = 2.5
    async with HTTPStore(serving.mount(f"{kind.__name__}{retryable}", lambda: inner)) as store:
        for call in (store.get("c", "k"), store.put_if_absent("c", "k", 1)):
            with pytest.raises(SatchelError, match="said by the inner store") as failed:
                await call
            assert type(failed.value) is kind
            if isinstance(failed.value, StoreError):
                assert failed.value.retryable is retryable
                assert (failed.value.store, failed.value.key) == (repr(store), "k")
            assert getattr(failed.value, "retry_after", 2.5) == 2.5


async def test_a_token_opens_the_server_and_is_not_shown(serving, caplog):
    caplog.set_level("DEBUG")
    url = serving.mount("locked", MemoryStore, tokens=[TOKEN])
    async with HTTPStore(url, token=TOKEN) as store:
        await store.put("c", "k", 1)
        assert await store.get("c", "k") == 1
        assert TOKEN not in f"{store!r}{store.describe()}{caplog.text}"
    for wrong in (None, TOKEN[:-1] + "x"):
        async with HTTPStore(url, token=wrong) as store:
            with pytest.raises(ConfigurationError, match="refuses the token, or needs one") as refused:
                await store.get("c", "k")
            assert TOKEN[:-1] not in f"{refused.value!r}{refused.value.__cause__!r}"


async def test_a_call_that_is_refused_refuses_no_other(serving):
    tokens = [Token(TOKEN, prefix="mine")]
    async with HTTPStore(serving.mount("scoped", MemoryStore, tokens=tokens), token=TOKEN) as store:
        await store.put("mine", "first", 1)
        calls = [store.put(("mine", "theirs")[number % 2], str(number), number) for number in range(20)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[::2] == [None] * 10
        for refused in outcomes[1::2]:
            assert type(refused) is StoreError
            assert "begin with 'mine'" in str(refused)
        assert await store.count("mine") == 11
        assert [name async for name in store.collections()] == ["mine"]


async def test_a_read_only_server_refuses_every_change(serving):
    inner = MemoryStore()
    await inner.put("c", "k", 1)
    async with HTTPStore(serving.mount("read-only", lambda: inner, read_only=True)) as store:
        assert await store.get("c", "k") == 1
        with pytest.raises(ReadOnlyError):
            await store.put("c", "k", 2)
        with pytest.raises(BatchError) as failed:
            await store.put_many("c", {"k": 2, "l": 3})
        assert {type(error) for error in failed.value.failed.values()} == {ReadOnlyError}
        with pytest.raises((ReadOnlyError, UnsupportedOperationError)):
            await store.put_if_absent("c", "l", 2)
        assert await store.get("c", "k") == 1


class PlainStore(MemoryStore):
    """Store without conditional writes and enumeration, and with short keys."""

    _put_if = None
    _keys = None
    max_key_bytes = 10


async def test_the_capabilities_and_limits_of_the_server_are_learned_at_open(serving):
    inner = PlainStore()
    async with HTTPStore(serving.mount("plain", lambda: inner)) as store:
        assert store.max_value_bytes is None
        await store.ping()
        assert store.capabilities == inner.capabilities
        assert store.max_key_bytes == 10
        assert store.max_value_bytes == 16 << 20
        with pytest.raises(InvalidKeyError):
            await store.get("c", "k" * 11)
        with pytest.raises(UnsupportedOperationError, match="touch"):
            await store.touch("c", "k", ttl=1)
    async with HTTPStore(serving.mount("plain", lambda: inner)) as store:
        calls = [store.put("c", key, 1) for key in ("a", "k" * 11, "b")]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)  # the limit was not known at the first call
        assert [type(outcome) for outcome in outcomes] == [type(None), InvalidKeyError, type(None)]
        with pytest.raises(UnsupportedOperationError, match="keys"):
            await anext(store.keys("c"))


async def test_batches_keep_to_the_limits_of_the_server(serving):
    async with HTTPStore(serving.mount("tight", MemoryStore, max_body=64 * 1024)) as store:
        values = {f"key-{number}": "x" * 5_000 for number in range(100)}
        await store.put_many("c", values)
        assert await store.get_many("c", values) == values
        assert await store.get_many("c", values) == values
        with pytest.raises(ValueTooLargeError):
            await store.put("c", "k", b"x" * 70_000)
        await store.put("c", "key-0", b"x" * 60_000)  # in base64 it would be above the limit
        assert await store.get("c", "key-0") == b"x" * 60_000
        assert await store.count("c") == 100


async def test_large_values_go_under_any_name_and_condition(serving):
    async with HTTPStore(serving.mount("large", MemoryStore)) as store:
        for key in ("..", ".", "a/../b", "%2e", "\u00e9", "\x00", " "):
            value = [key, "x" * 300_000]
            version = await store.put_if_absent("..", key, value, ttl=60)
            entry = await store.get_entry("..", key)
            assert (entry.value, entry.version) == (value, version)
            assert entry.expires_at is not None
            assert await store.put_if_absent("..", key, value) is None
            assert await store.compare_and_put("..", key, value, version="other") is None
            changed = await store.compare_and_put("..", key, bytes(300_000), version=version)
            assert (await store.get_entry("..", key)).version == changed
        assert await store.count("..") == 7


async def test_what_cannot_be_shown_as_json_is_refused_for_its_caller_alone(serving):
    codec = SignedPickleCodec(signing_key=bytes(32))
    inner = MemoryStore(codec=codec)
    await inner.put_many("c", {"set": {1, 2}, "other": 2})
    async with HTTPStore(serving.mount("pickling", lambda: inner)) as store:
        await store.ping()
        outcomes = await asyncio.gather(store.get("c", "set"), store.get("c", "other"), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [SerializationError, int]


async def test_a_server_that_is_overloaded_is_asked_again():
    app = create_app(FlakyStore(latency=0.05), max_requests=1)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        one, other = HTTPStore(client=client), HTTPStore(client=client)
        await one.ping()
        await other.ping()
        await asyncio.gather(one.put("c", "a", 1), other.put("c", "b", 2))
        assert await one.get_many("c", ["a", "b"]) == {"a": 1, "b": 2}


async def test_a_client_of_the_callers_stays_open():
    app = create_app(MemoryStore(), tokens=[TOKEN])
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers
    ) as client:
        async with HTTPStore(client=client) as store:
            await store.put("c", "k", 1)
        assert not client.is_closed
        async with HTTPStore(client=client) as store:
            assert await store.get("c", "k") == 1
    with pytest.raises(ConfigurationError, match="excludes url, token"):
        HTTPStore("http://host", client=client, token="x")
    with pytest.raises(ConfigurationError, match="base_url"):
        HTTPStore(client=httpx.AsyncClient())


@asynccontextmanager
async def answering(answer: bytes, **options):
    async def handle(reader, writer):
        await reader.read(1000)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    async with server:
        yield server.sockets[0].getsockname()[1]


PAGE = b"Content-Length: 5\r\nContent-Type: text/html\r\n\r\nhello"


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nServer: nginx/1.24.0\r\n", ConfigurationError, "not satchel's server but nginx"),
        (b"HTTP/1.1 404 Not Found\r\nServer: Apache\r\n", ConfigurationError, "but Apache, with status 404"),
        (b"HTTP/1.1 200 OK\r\n", ConfigurationError, "not satchel's server, with status 200"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://e.org\r\n", ConfigurationError, "redirects elsewhere"),
        (b"HTTP/1.1 502 Bad\r\nServer: cloudflare\r\n", StoreUnavailableError, "but cloudflare, with status 502"),
        (b"HTTP/1.1 200 OK\r\nSatchel-API: 2\r\n", ConfigurationError, "speaks version 2 of the REST interface"),
        (b"HTTP/1.1 200 OK\r\nSatchel-API: 1\r\n", StoreError, "not as the REST interface has it"),
        (b"HTTP/1.1 500 Oh\r\nSatchel-API: 1\r\n", StoreError, "answered with status 500"),
        (b"-ERR unknown command 'GET'\r\n", ConfigurationError, "does not speak HTTP"),
    ],
)
async def test_another_server_is_recognised_and_refused(answer, kind, message):
    async with answering(answer + PAGE) as port, HTTPStore(f"http://127.0.0.1:{port}") as store:
        with pytest.raises(kind, match=message) as refused:
            await store.get("c", "k")
        assert "hello" not in str(refused.value)


@pytest.mark.long
async def test_a_certificate_that_is_not_trusted_is_named(tmp_path):
    certificate, key = await asyncio.to_thread(make_certificate, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    await asyncio.to_thread(context.load_cert_chain, certificate, key)
    page = b"HTTP/1.1 200 OK\r\nServer: nginx\r\n" + PAGE
    async with answering(page, ssl=context) as port:
        url = f"https://127.0.0.1:{port}"
        for options, message in [
            ({}, "not trusted; give ca_certs="),
            ({"ca_certs": certificate}, "but nginx"),
            ({"verify_certs": False}, "but nginx"),
            ({"ca_certs": key}, "must be a file of certificates"),
        ]:
            async with HTTPStore(url, **options) as store:
                with pytest.raises(ConfigurationError, match=message):
                    await store.get("c", "k")
    async with answering(page) as port, HTTPStore(f"https://127.0.0.1:{port}") as store:
        with pytest.raises(ConfigurationError, match="begins with http://"):
            await store.get("c", "k")
