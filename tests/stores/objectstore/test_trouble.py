"""Servers that die, hang and lose replies; programs that end without closing."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from obstore.store import S3Store

from satchel import StoreError, StoreTimeoutError, StoreUnavailableError, open_store
from satchel.stores.objectstore import ObjectStore
from scripts.test_servers.s3 import BUCKET, REGION, WRITER
from tests.patience import impatient, until
from tests.proxy import FaultyProxy
from tests.servers import private_server, server_url
from tests.stores.late import LateProxy

pytestmark = pytest.mark.server("s3")


def port_of(url: str) -> int:
    return int(url.partition("endpoint=http://127.0.0.1:")[2].partition("&")[0])


def through(proxy: FaultyProxy) -> str:
    url = server_url("s3")
    return url.replace(f":{port_of(url)}", f":{proxy.port}")


def resending_client(proxy: FaultyProxy) -> S3Store:
    """A client as users make them, which sends again by itself what may have been done."""
    return S3Store(
        BUCKET,
        endpoint=f"http://127.0.0.1:{proxy.port}",
        region=REGION,
        access_key_id=WRITER[0],
        secret_access_key=WRITER[1],
        client_options={"allow_http": True},
        retry_config={"backoff": {"init_backoff": timedelta(milliseconds=5)}},
    )


@pytest.mark.parametrize("own", [True, False], ids=["own client", "given client"])
async def test_a_lost_reply_to_a_conditional_write_does_not_make_it_a_refusal(own: bool) -> None:
    async with FaultyProxy(port_of(server_url("s3"))) as proxy:
        store = (
            open_store(through(proxy), prefix="lost-replies")
            if own
            else ObjectStore(client=resending_client(proxy), prefix="lost-replies")
        )
        async with store:
            await store.destroy()
            resolved = 0
            # Somewhere in this range the reply to the look ends, and the one to the write begins.
            for passed in range(0, 1400, 50):
                key = f"key {passed}"

                async def change(call: Callable[[], Awaitable[object]], passed: int = passed) -> object:
                    nonlocal resolved
                    before = proxy.connections
                    proxy.cut_replies_after(passed)
                    try:
                        outcome = await call()
                        resolved += proxy.connections > before
                    except StoreUnavailableError:  # it was the look
                        outcome = await call()
                    return outcome

                version = await change(partial(store.put_if_absent, "c", key, 1))
                assert version is not None
                version = await change(partial(store.compare_and_put, "c", key, 2, version=version))
                assert version is not None
                assert await change(partial(store.touch, "c", key, ttl=60)) is True
                assert await change(partial(store.compare_and_delete, "c", key, version=version)) is True
            assert resolved > 10
            proxy.cut_replies_after(10**9)  # what was not reached stays
            assert [key async for key in store.keys("c")] == []
            await store.destroy()


async def test_a_put_whose_connection_was_lost_is_not_sent_again_and_acknowledged() -> None:
    async with (
        LateProxy(port_of(server_url("s3"))) as proxy,
        open_store(through(proxy), prefix="lands-twice") as store,
    ):
        await store.put("c", "k", "old")
        proxy.holding = True
        putting = asyncio.create_task(store.put("c", "k", "early"))
        await until(lambda: proxy.held.endswith(b'"early"'))
        proxy.holding = False
        proxy.cut()
        with pytest.raises(StoreUnavailableError):  # so that nobody takes it for done
            await putting
        await store.put("c", "k", "later")
        assert await store.get("c", "k") == "later"
        assert proxy.held.count(b"PUT /") == 1
        await store.destroy()


async def test_a_lost_request_is_an_error_that_can_be_retried() -> None:
    async with (
        FaultyProxy(port_of(server_url("s3"))) as proxy,
        open_store(through(proxy), prefix="lost-requests", timeout=10) as store,
    ):
        await store.put("c", "k", 1)
        proxy.refuse = True
        proxy.cut()
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: store.get("c", "k"),
            lambda: store.put("c", "k", 2),
            lambda: store.put_if_absent("c", "other", 2),
            lambda: store.delete("c", "k"),
        )
        for call in calls:
            with pytest.raises(StoreUnavailableError) as caught:
                await call()
            assert caught.value.retryable
        proxy.refuse = False
        assert await store.get("c", "k") == 1
        proxy.silent = True
        with impatient(store):
            for call in calls:
                with pytest.raises(StoreTimeoutError):
                    await call()
        proxy.silent = False
        proxy.cut()
        assert await store.get("c", "k") in (1, 2, None)
        await store.destroy()


@pytest.mark.long
async def test_a_server_is_killed_restarted_and_paused_under_load() -> None:
    with private_server("s3") as server:
        acknowledged: dict[str, int] = {}
        failures: list[StoreError] = []
        in_doubt: set[tuple[str, int]] = set()

        async def write(store: object, worker: int, stop: asyncio.Event) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                name = f"c{worker} key {number % 5}"
                try:
                    in_doubt.add((name, number))
                    await store.put(f"c{worker}", f"key {number % 5}", number)
                    in_doubt.discard((name, number))
                    acknowledged[name] = number
                    await store.put_if_absent("once", f"{worker} {number}", number)
                except StoreError as error:
                    failures.append(error)
                    await asyncio.sleep(0.05)

        async with open_store(server.url, timeout=2) as store:
            stop = asyncio.Event()
            writers = [asyncio.create_task(write(store, worker, stop)) for worker in range(8)]
            await until(lambda: len(acknowledged) == 40)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            acknowledged_before, failures_before = dict(acknowledged), len(failures)
            await until(lambda: not acknowledged.items() & acknowledged_before.items())
            server.pause()
            started = time.monotonic()
            with pytest.raises(StoreTimeoutError):
                await store.get("c0", "key 0")
            assert time.monotonic() - started < 20
            server.resume()
            stop.set()
            await asyncio.gather(*writers)
            assert failures_before
            assert all(error.retryable for error in failures)
            for name, number in acknowledged.items():
                # What was not acknowledged may have landed too, also late: the page on the store says so.
                collection, _, key = name.partition(" ")
                found = await store.get(collection, key)
                assert found == number or (name, found) in in_doubt
        server.kill()  # it would take seconds to end by itself


async def test_a_cancelled_call_leaves_no_trace_and_no_noise(capfd: pytest.CaptureFixture[str]) -> None:
    async with open_store(server_url("s3"), prefix="cancelled") as store:
        for _ in range(20):
            calls = [asyncio.create_task(store.get("c", f"{number}")) for number in range(20)]
            await asyncio.sleep(0.001)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        assert await store.get("c", "k") is None
    assert capfd.readouterr().err == ""


PROGRAM = """
import asyncio, atexit, sys
atexit.register(lambda: print(len(requests._driver.under_way), "under way", flush=True))
from satchel import open_store
from satchel.stores.objectstore import requests
store = open_store(sys.argv[1], prefix="forgotten")
async def main():
    await store.put("c", "k", 1)
    global under_way
    under_way = [asyncio.create_task(store.put("c", str(number), 1)) for number in range(50)]
    under_way += [asyncio.create_task(store.get("c", str(number))) for number in range(50)]
    await asyncio.sleep(0)
asyncio.run(main())
asyncio.run(main())
print("end", flush=True)
"""


def test_a_forgotten_store_does_not_keep_the_process(tmp_path: Path) -> None:
    started = time.monotonic()
    command = [sys.executable, "-W", "error", "-c", PROGRAM, server_url("s3")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    # One of obstore's threads that asks for the interpreter when it is gone aborts the process.
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n0 under way\n", "")
    assert time.monotonic() - started < 30
