"""A NATS server that dies, hangs and loses replies; what is found out then, and what is not."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
import pytest

from satchel import (
    ConfigurationError,
    IntegrityError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
    open_store,
)
from satchel.stores.nats import NATSStore
from satchel.stores.nats.bucket import Bucket
from satchel.stores.nats.errors import ApiError
from satchel.testing import FakeClock
from tests.patience import until
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url
from tests.stores.killed_under_load import Writers
from tests.stores.late import LateProxy

pytestmark = pytest.mark.server("nats")


def port() -> int:
    return urlsplit(server_url("nats")).port or 4222


@pytest.fixture
async def proxy() -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(port()) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: FaultyProxy, tmp_path: Path) -> AsyncIterator[NATSStore]:
    async with NATSStore(f"nats://127.0.0.1:{proxy.port}/{tmp_path.name}", timeout=3) as store:
        await store.put("c", "k", "before")
        yield store


@pytest.fixture
async def client() -> AsyncIterator[nats.NATS]:
    client = await nats.connect(server_url("nats"))
    yield client
    await client.close()


async def test_a_silent_server_is_a_timeout_and_no_answer_reaches_another_call(
    proxy: FaultyProxy, store: NATSStore
) -> None:
    await store.put("c", "other", "theirs")
    proxy.silent = True
    with pytest.raises(StoreTimeoutError) as failure:
        await store.get("c", "k")
    assert failure.value.retryable
    proxy.silent = False
    assert await store.get("c", "other") == "theirs"
    assert await store.get("c", "k") == "before"


async def test_a_refusal_by_a_former_leader_is_not_believed(store: NATSStore, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = await store.get_entry("c", "k")
    assert entry is not None
    real = store._connection.request

    async def overtaken(subject: str, *rest: Any) -> Any:
        answer = await real(subject, *rest)
        if subject.startswith("$KV."):  # the leader has written it, and the former one answers first
            raise ApiError({"code": 400, "err_code": 10071})
        return answer

    monkeypatch.setattr(store._connection, "request", overtaken)
    assert await store.compare_and_put("c", "k", "after", version=entry.version) is not None
    assert await store.put_if_absent("c", "new", 1) is not None
    assert await store.put_if_absent("c", "new", 2) is None
    assert await store.get("c", "k") == "after"


@pytest.mark.long
async def test_a_server_that_says_nothing_any_more_is_left_for_another(tmp_path: Path) -> None:
    async with FaultyProxy(port()) as first, FaultyProxy(port()) as second:
        url = f"nats://127.0.0.1:{first.port},127.0.0.1:{second.port}"
        async with NATSStore(url, bucket=tmp_path.name, timeout=3) as store:
            await store.put("c", "k", 1)
            (first if first.connections else second).silent = True

            async def until_written() -> None:
                while True:
                    with suppress(StoreError):
                        await store.put("c", "k", 2)
                        return

            await asyncio.wait_for(until_written(), 30)
            assert await store.get("c", "k") == 2
            await store.destroy()


async def test_a_lost_connection_fails_the_calls_under_way_at_once_and_is_made_anew(
    proxy: FaultyProxy, store: NATSStore
) -> None:
    proxy.silent, answered = True, proxy.answered
    call = asyncio.create_task(store.get("c", "k"))
    await until(lambda: proxy.answered > answered)
    proxy.silent = False
    proxy.cut()
    with pytest.raises(StoreUnavailableError):
        await call
    await store.put("c", "k", "after")
    assert await store.get("c", "k") == "after"


async def test_a_listing_whose_connection_is_lost_ends_with_an_error(proxy: FaultyProxy, store: NATSStore) -> None:
    await store.put_many("c", {str(number): number for number in range(1200)})
    listing = store.keys("c")
    assert await anext(listing)
    proxy.cut()
    with pytest.raises(StoreUnavailableError):
        _ = [key async for key in listing]
    assert len([key async for key in store.keys("c")]) == 1201


@pytest.mark.parametrize("size", range(0, 900, 90))
async def test_a_lost_reply_to_a_conditional_write_does_not_make_it_a_refusal(
    proxy: FaultyProxy, store: NATSStore, size: int
) -> None:
    async def change(call: Callable[[], Awaitable[object]]) -> object:
        # Somewhere in this range the reply to the look ends, and the one to the write begins.
        proxy.cut_replies_after(size)
        try:
            return await call()
        except StoreUnavailableError:  # it was the look
            proxy.cut_replies_after(10**9)
            return await call()

    version = await change(partial(store.put_if_absent, "c", "new", 1))
    assert version is not None
    version = await change(partial(store.compare_and_put, "c", "new", 2, version=version))
    assert version is not None
    assert await change(partial(store.touch, "c", "new", ttl=60)) is True
    assert await change(partial(store.compare_and_delete, "c", "new", version=version)) is True
    proxy.cut_replies_after(10**9)
    assert [key async for key in store.keys("c")] == ["k"]


async def test_the_reply_to_a_write_that_was_lost_is_found_out(
    proxy: FaultyProxy, store: NATSStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    read = Bucket.read

    async def counted(self: Bucket, subject: str) -> object:
        nonlocal looks
        looks += 1
        return await read(self, subject)

    monkeypatch.setattr(Bucket, "read", counted)
    proxy.cut_replies_after(0)
    assert await store.put_if_absent("c", "new", 1) is not None
    assert looks == 1
    assert await store.put_if_absent("c", "new", 2) is None


async def test_a_put_whose_connection_was_lost_is_not_sent_again_and_acknowledged(tmp_path: Path) -> None:
    async with (
        LateProxy(port()) as proxy,
        NATSStore(f"nats://127.0.0.1:{proxy.port}/{tmp_path.name}") as store,
    ):
        await store.put("c", "k", "old")
        proxy.holding = True
        putting = asyncio.create_task(store.put("c", "k", "early"))
        await asyncio.wait_for(proxy.received(b'"early"\r\n'), 50)
        proxy.holding = False
        proxy.cut()
        with pytest.raises(StoreUnavailableError):  # so that nobody takes it for done
            await putting
        await store.put("c", "k", "later")
        assert await store.get("c", "k") == "later"
        assert proxy.held.count(b"HPUB") == 1


@pytest.mark.long
async def test_a_server_killed_and_restarted_under_load_loses_nothing_acknowledged() -> None:
    with private_server("nats") as server:
        async with NATSStore(server.url, timeout=2) as store, Writers(store) as writers:
            await writers.write(40)
            await asyncio.to_thread(server.kill)
            await writers.fail()
            await asyncio.to_thread(server.start)
            await writers.write(40)
            await writers.stop()


async def test_a_server_that_is_not_there_is_unavailable_at_once() -> None:
    async with NATSStore("nats://127.0.0.1:1,127.0.0.1:2", timeout=30) as store:
        with pytest.raises(StoreUnavailableError, match="cannot be reached"):
            await store.get("c", "k")


async def test_a_value_beyond_the_servers_limit_is_too_large_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with NATSStore(server_url("nats"), bucket=tmp_path.name, max_payload=8 * 1024 * 1024) as store:
        assert store.max_value_bytes == 8 * 1024 * 1024 - 16 * 1024
        for write in (store.put, store.put_if_absent):
            with pytest.raises(ValueTooLargeError, match="max_payload"):
                await write("c", "k", b"x" * 2_000_000)
        assert await store.get("c", "k") is None
    async with NATSStore(server_url("nats"), bucket=tmp_path.name) as store:
        largest = b"x" * (store.max_value_bytes or 0)
        await store.put("/" * 4096, "é" * 2048, largest)
        assert await store.get("/" * 4096, "é" * 2048) == largest


async def test_a_bucket_of_others_with_a_history_is_refused(client: nats.NATS, tmp_path: Path) -> None:
    await client.jetstream().create_key_value(bucket=tmp_path.name, history=5)
    async with NATSStore(client=client, bucket=tmp_path.name) as store:
        with pytest.raises(ConfigurationError, match="history of 1"):
            await store.get("c", "k")


async def test_a_bucket_that_the_client_made_is_used_and_left_open(client: nats.NATS, tmp_path: Path) -> None:
    bucket = await client.jetstream().create_key_value(bucket=tmp_path.name)
    async with NATSStore(client=client, bucket=tmp_path.name) as store:
        await store.put("users", "ada", {"name": "Ada"}, ttl=60)
        assert (await bucket.get("users.ada")).value == b'{"name":"Ada"}'
        assert await store.delete("users", "ada") is True
        assert await store.get("users", "ada") is None
    assert client.is_connected


async def test_what_other_programs_put_is_refused_and_not_listed(client: nats.NATS, tmp_path: Path) -> None:
    async with NATSStore(client=client, bucket=tmp_path.name) as store:
        await store.put("users", "ada", 1)
        bucket = await client.jetstream().key_value(tmp_path.name)
        await bucket.put("users.bob", b"1")
        with pytest.raises(IntegrityError, match="something else wrote it"):
            await store.get("users", "bob")
        assert [key async for key in store.keys("users")] == ["ada"]


async def test_a_deleted_entry_is_one_for_the_tools_of_nats(client: nats.NATS, tmp_path: Path) -> None:
    async with NATSStore(client=client, bucket=tmp_path.name) as store:
        await store.put("users", "ada", 1)
        await store.delete("users", "ada")
        bucket = await client.jetstream().key_value(tmp_path.name)
        with pytest.raises(nats.js.errors.KeyNotFoundError):
            await bucket.get("users.ada")
        assert await store.put_if_absent("users", "ada", 2) is not None


async def test_the_server_removes_an_entry_after_its_time(client: nats.NATS, tmp_path: Path) -> None:
    async with NATSStore(client=client, bucket=tmp_path.name) as store:
        await store.put("c", "k", 1, ttl=3600)
        await store.put("c", "touched", 1)
        await store.touch("c", "touched", ttl=60)
        await store.put("c", "forever", 1)
        found = {key: await client.jetstream().get_last_msg(f"KV_{tmp_path.name}", f"$KV.{tmp_path.name}.c.{key}")
                 for key in ("k", "touched", "forever")}  # fmt: skip
        assert {key: (message.headers or {}).get("Nats-TTL") for key, message in found.items()} == {
            "k": "3660s",
            "touched": "120s",
            "forever": None,
        }


@pytest.mark.parametrize("settings", [{}, {"allow_msg_ttl": True}], ids=["without times to live", "with"])
async def test_cull_removes_what_has_expired_and_nothing_put_meanwhile(
    client: nats.NATS, tmp_path: Path, settings: dict[str, bool]
) -> None:
    clock = FakeClock()
    config = {"name": f"KV_{tmp_path.name}", "subjects": [f"$KV.{tmp_path.name}.>"], "max_msgs_per_subject": 1}
    async with NATSStore(client=client, bucket=tmp_path.name, clock=clock) as store:
        await client.request(f"$JS.API.STREAM.CREATE.{config['name']}", json.dumps({**config, **settings}).encode())
        await store.put_many("c", {str(number): number for number in range(40)}, ttl=5)
        await store.put("c", "kept", 1)
        await store.put("c", "deleted", 1)
        clock.advance(6)
        await store.put("c", "0", "again")
        assert await store.delete("c", "deleted") is True
        assert await store.cull() == 39
        assert sorted([key async for key in store.keys("c")]) == ["0", "kept"]
        state = (await client.jetstream().stream_info(f"KV_{tmp_path.name}")).state
        assert state.messages == 2 + bool(settings)  # with a marker of what was deleted


async def test_a_bucket_removed_while_it_is_open_is_named(client: nats.NATS, tmp_path: Path) -> None:
    async with NATSStore(server_url("nats"), bucket=tmp_path.name) as store:
        await store.put("c", "k", 1)
        await client.jetstream().delete_key_value(tmp_path.name)
        for call in (store.get("c", "k"), store.put("c", "k", 1), store.exists("c", "k"), store.delete("c", "k")):
            with pytest.raises(StoreError, match=tmp_path.name):
                await call


async def test_two_processes_make_one_bucket_at_once(tmp_path: Path) -> None:
    stores = [NATSStore(server_url("nats"), bucket=tmp_path.name) for _ in range(8)]
    await asyncio.gather(*(store.put("c", str(at), at) for at, store in enumerate(stores)))
    assert await stores[0].count("c") == 8
    for store in stores:
        await store.aclose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://host", "nats://user:password"),
        ("nats://host/a/b", "one bucket"),
        ("nats://host/a b", "bucket must be"),
        ("nats://host/?tls=1", "no options"),
    ],
)
def test_a_url_of_another_form_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        NATSStore(url)


def test_options_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="bucket is given twice"):
        NATSStore("nats://host/a", bucket="b")
    with pytest.raises(ConfigurationError, match="replicas must be"):
        NATSStore("nats://host", replicas=0)
    with pytest.raises(ConfigurationError, match="max_payload must be"):
        NATSStore("nats://host", max_payload=1)


async def test_a_url_of_satchel_opens_it(tmp_path: Path) -> None:
    async with open_store(f"{server_url('nats')}/{tmp_path.name}?timeout=5") as store:
        await store.put("c", "k", 1)
        assert repr(store) == f"NATSStore('{tmp_path.name}' on 127.0.0.1:{port()})"
