"""What a user of `MemcachedStore` gets wrong is said by name; what others wrote is refused, and never shown."""

import asyncio

import emcache
import pytest

from satchel import (
    BatchError,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    open_store,
)
from satchel.backend.record import Record, pack
from satchel.stores.memcached import MemcachedStore
from scripts.test_servers.server import free_port
from tests.stores.memcached.wire import HOST, memcached_with, raw, shared_port, speaking, store_raw

pytestmark = pytest.mark.server("memcached")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": ""}, "host must be a name or an address"),
        ({"host": 7}, "host must be a name or an address"),
        ({"port": "11211"}, "port must be an int of 1 to 65535, got a str"),
        ({"port": 0}, "port must be an int"),
        ({"port": 65536}, "port must be an int"),
        ({"port": True}, "port must be an int"),
        ({"prefix": ""}, "prefix must be 1 to 88 visible ASCII characters without spaces"),
        ({"prefix": "a b"}, "prefix must be"),
        ({"prefix": "a\n"}, "prefix must be"),
        ({"prefix": "é"}, "prefix must be"),
        ({"prefix": "x" * 89}, "prefix must be"),
        ({"prefix": None}, "prefix must be"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"client": object()}, "client must be an emcache client.*got object"),
        ({"client": object(), "port": 1}, "client excludes port"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MemcachedStore(**options)


async def test_a_url_opens_it() -> None:
    async with open_store(f"memcached://{HOST}:{shared_port()}?prefix=url&timeout=5") as store:
        assert repr(store) == f"MemcachedStore(host='127.0.0.1', port={shared_port()})"
        await store.put("a", "k", 1)
        assert await store.get("a", "k") == 1
    with pytest.raises(ConfigurationError, match="has a username, but"):
        open_store("memcached://user:secret@host:11211")


async def test_a_port_where_nobody_listens_is_unavailable() -> None:
    port = free_port()
    async with MemcachedStore(port=port) as store:
        with pytest.raises(StoreUnavailableError, match=f"memcached at 127.0.0.1:{port} cannot be reached") as failure:
            await store.ping()
        assert isinstance(failure.value.__cause__, ConnectionRefusedError | StoreUnavailableError)


async def test_a_host_without_an_address_is_unavailable() -> None:
    async with MemcachedStore(host="no-such-host.invalid") as store:
        with pytest.raises(StoreUnavailableError, match=r"memcached at no-such-host\.invalid:11211 cannot be reached"):
            await store.get("a", "k")


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\nsecret", b"-ERR unknown command 'version'\r\n", b"x" * 5000],
    ids=["http", "redis", "a-long-line"],
)
async def test_a_server_that_is_not_memcached_is_called_so(answer: bytes) -> None:
    async with speaking(lambda _: answer) as port, MemcachedStore(port=port) as store:
        for call in (store.get("a", "k"), store.put("a", "k", "value"), store.ping(), store.delete("a", "k")):
            with pytest.raises(StoreError, match="does not answer as memcached does; check host and port") as failure:
                await call
            assert not failure.value.retryable
            assert "secret" not in repr(failure.value)
            assert "secret" not in repr(failure.value.__cause__)


async def test_a_server_that_hangs_up_or_says_nothing_is_no_hang() -> None:
    async with speaking(lambda _: None) as port, MemcachedStore(port=port) as store:
        with pytest.raises(StoreUnavailableError, match="hung up; is memcached running there"):
            await store.get("a", "k")
    async with speaking(lambda _: b"") as port, MemcachedStore(port=port, timeout=0.1) as store:
        with pytest.raises(StoreTimeoutError):
            await store.get("a", "k")


async def test_a_reply_that_no_memcached_gives_is_refused_and_the_connection_given_up() -> None:
    replies = iter([b"VALUE k 0 x 1\r\n", b"VALUE k 0 1 1\r\nabEND\r\n", b"END\r\nEND\r\n", b"SERVER_ERROR busy\r\n"])
    connections = 0

    def answer(question: bytes) -> bytes:
        nonlocal connections
        connections += question == b"version\r\n"
        return b"VERSION 1\r\n" if question == b"version\r\n" else next(replies)

    async with speaking(answer) as port, MemcachedStore(port=port) as store:
        for _ in range(3):
            with pytest.raises(StoreError, match="does not answer as memcached"):
                await store.get("a", "k")
        with pytest.raises(StoreUnavailableError, match="failed temporarily"):
            await store.get("a", "k")
    assert connections == 4


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "0 bytes are too few"),
        (b"somebody else's secret value, which is quite long", "something else wrote it"),
        (b"\x89S\x02" + bytes(60), "upgrade this one"),
        (pack(Record(b"1", 1, "00" * 16, 0.0))[:-1] + b"2", "checksum"),
        (pack(Record(b"1", 1, "00" * 16, 0.0, names=("other", "key"))), "belongs to another key"),
    ],
    ids=["empty", "foreign", "newer", "damaged", "misplaced"],
)
async def test_a_value_that_is_not_ours_is_refused_alone_and_can_be_replaced(value: bytes, message: str) -> None:
    async with MemcachedStore(port=shared_port(), prefix="foreign") as store:
        for repair in ("put", "delete"):
            await store.put("a", "good", 1)
            store_raw(shared_port(), b"foreign|a|k", value)
            with pytest.raises(IntegrityError, match=message) as failure:
                await store.get("a", "k")
            assert "secret" not in str(failure.value)
            found = await asyncio.gather(store.get("a", "good"), store.get("a", "k"), return_exceptions=True)
            assert found[0] == 1
            assert isinstance(found[1], IntegrityError)
            if message != "checksum":
                with pytest.raises(IntegrityError):
                    await store.put_if_absent("a", "k", 1)
            if repair == "put":
                await store.put("a", "k", 2)
                assert await store.get("a", "k") == 2
            else:
                assert await store.delete("a", "k") is True
                assert await store.get("a", "k") is None


async def test_a_key_under_which_names_are_needed_must_have_them() -> None:
    async with MemcachedStore(port=shared_port(), prefix="hashed") as store:
        key = "k" * 1000
        await store.put("a", key, 1)
        store_raw(shared_port(), store._layout.key(("a", key)), pack(Record(b"1", 1, "00" * 16, 0.0)))
        with pytest.raises(IntegrityError, match="belongs to another key"):
            await store.get("a", key)


async def test_out_of_memory_says_what_to_do_and_is_not_retryable() -> None:
    with memcached_with("-m", "2", "-M") as port:
        async with MemcachedStore(port=port) as store:
            with pytest.raises(BatchError) as failure:
                await store.put_many("a", {str(number): bytes(10_000) for number in range(1000)})
            assert not failure.value.retryable
            for error in failure.value.failed.values():
                assert type(error) is StoreError
                assert "out of memory" in str(error)
                assert "give memcached more (-m)" in str(error)
            assert await store.get("a", "0") == bytes(10_000)


async def test_a_user_and_a_password_are_asked_for_and_come_with_a_client() -> None:
    with memcached_with(users="ada:hunter2\n") as port:
        async with MemcachedStore(port=port) as store:
            with pytest.raises(StoreError, match=r"requires a user and a password.*client="):
                await store.get("a", "k")
        address = emcache.MemcachedHostAddress(HOST, port)
        client = await emcache.create_client([address], username="ada", password="hunter2")
        async with MemcachedStore(client=client) as store:
            await store.put("a", "k", 1)
            assert await store.get("a", "k") == 1
        await client.close()
        client = await emcache.create_client([address], username="ada", password="hunter3")
        async with MemcachedStore(client=client, timeout=5) as store:
            with pytest.raises(StoreError, match=r"emcache cannot connect \(AuthenticationError\)") as failure:
                await store.get("a", "k")
            assert "hunter" not in str(failure.value)
        await client.close()


async def test_writers_that_are_always_faster_end_in_a_conflict() -> None:
    entry = pack(Record(b"1", 1, "00" * 16, 0.0))

    def answer(question: bytes) -> bytes:
        verb = question.split()[0]
        found = b"VALUE satchel|a|k 0 %d 7\r\n%b\r\nEND\r\n" % (len(entry), entry)
        replies = {b"version": b"VERSION 1\r\n", b"gets": found, b"cas": b"EXISTS\r\n", b"stats": b"ERROR\r\n"}
        return replies[verb]

    async with speaking(answer) as port, MemcachedStore(port=port) as store:
        with pytest.raises(ConflictError, match="32 times") as failure:
            await store.compare_and_put("a", "k", 2, version="00" * 16)
        assert failure.value.retryable
        with pytest.raises(ConflictError):
            await store.touch("a", "k", ttl=1)


def test_the_shared_server_speaks_as_the_tests_expect() -> None:
    assert raw(shared_port(), b"gets no-such-key\r\n") == b"END\r\n"
