"""What a store says of a server that is not there: its host and port, and not its password, in no error or log."""

import asyncio
import re
import socket

import pytest

import satchel.stores.dynamodb.store  # noqa: F401  # so that it is not imported on an event loop
from satchel import StoreTimeoutError, StoreUnavailableError, open_store
from tests.stores.mongodb.places import forgotten_sockets  # noqa: F401  # it is for all tests here
from tests.test_url_secrets import logged, shown_by_error, shown_by_store

PATIENCE = {"dynamodb": 60, "mongodb": 3}
"""Seconds, where the driver first reads many files, or tries for most of the time."""


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:zqtop%3Fzqsecret@127.0.0.1:{}",
        "valkey://user:zqtop%3Fzqsecret@127.0.0.1:{}",
        "memcached://127.0.0.1:{}",
        "mongodb://user:zqtop%3Fzqsecret@127.0.0.1:{}",
        "postgresql://user:zqtop%3Fzqsecret@127.0.0.1:{}/base",
        "mysql://user:zqtop%3Fzqsecret@127.0.0.1:{}/base",
        "postgresql+asyncpg://user:zqtop%3Fzqsecret@127.0.0.1:{}/base",
        "nats://user:zqtop%3Fzqsecret@127.0.0.1:{}",
        "elasticsearch://user:zqtop%3Fzqsecret@127.0.0.1:{}",
        "http://127.0.0.1:{}?token=zqtop%3Fzqsecret",
        "s3://bucket?endpoint=http://127.0.0.1:{}&access_key_id=id&secret_access_key=zqtop%3Fzqsecret&region=a",
        "dynamodb://table?region=a&endpoint_url=http://127.0.0.1:{}&aws_access_key_id=i&aws_secret_access_key=zqtop",
    ],
    ids=lambda url: url.partition(":")[0],
)
@pytest.mark.timeout(120)
async def test_a_server_that_is_not_there_is_named_without_the_password(url: str) -> None:
    with socket.socket() as taken, logged() as lines:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        timeout = PATIENCE.get(url.partition(":")[0], 2)
        async with open_store(url.format(port), timeout=timeout) as store:
            with pytest.raises((StoreUnavailableError, StoreTimeoutError)) as failed:
                await store.put("c", "k", 1)
            shown = "\n".join([*shown_by_error(failed.value), *shown_by_store(store), *lines])
    assert re.findall("zqtop|zqsecret", shown) == []
    assert f"127.0.0.1:{port}" in str(failed.value)
    assert "shuts down" not in str(failed.value)


async def test_a_nats_server_that_hangs_up_is_worth_another_try() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_store(f"nats://127.0.0.1:{port}", timeout=1) as store:
            with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{port}") as failed:
                await store.get("c", "k")
    assert failed.value.retryable
