"""Object stores that refuse: each refusal says what to do, and shows no secret."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.error import HTTPError

import pytest

from satchel import ConfigurationError, SatchelError, StoreError, StoreTimeoutError, StoreUnavailableError, open_store
from satchel.protocol import SupportsEverything
from scripts.test_servers.s3 import BUCKET, READER, WRITER
from tests.servers import server_url

Answer = Callable[[str, bytes], tuple[int, bytes]]

DATE = "Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT"

on_server = pytest.mark.server("s3")


@asynccontextmanager
async def scripted(answer: Answer) -> AsyncIterator[str]:
    """A server that speaks HTTP and gives the answers of a test; gives the URL of a store on it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                status, text = answer(head.decode(), body)
                about = f'Content-Range: bytes 0-45/46\r\nContent-Length: {len(text)}\r\nETag: "e"\r\n{DATE}'
                writer.write(f"HTTP/1.1 {status} -\r\n{about}\r\n\r\n".encode() + text)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.close()  # the client has gone, or the test has ended

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"s3://b?endpoint=http://127.0.0.1:{port}&access_key_id=hidden-id&secret_access_key=hidden-secret"
    finally:
        server.close()


def code(status: int, word: str) -> Answer:
    return lambda head, body: (status, f"<Error><Code>{word}</Code><Message>hidden-message</Message></Error>".encode())


async def refusal(store: SupportsEverything, says: str, kind: type[SatchelError] = StoreError) -> SatchelError:
    """Check that reading, writing, changing and listing are refused with the same words."""
    async with store:
        calls = (
            lambda: store.put("c", "hidden-key", "hidden-value"),
            lambda: store.get("c", "k"),
            lambda: store.put_if_absent("c", "k", "hidden-value"),
            lambda: store.delete("c", "k"),
            lambda: anext(store.keys("c")),
            lambda: anext(store.collections()),
            store.destroy,
            store.ping,
        )
        for call in calls:
            with pytest.raises(kind, match=says) as caught:
                await call()
            assert "hidden-" not in str(caught.value).replace("'hidden-key'", "")
    return caught.value


@pytest.mark.parametrize(
    ("status", "word", "says"),
    [
        (404, "NoSuchBucket", "there is no s3://b: check its name"),
        (400, "ExpiredToken", "credentials for s3://b have expired"),
        (403, "InvalidAccessKeyId", "does not accept the credentials"),
        (403, "SignatureDoesNotMatch", "does not accept the credentials"),
        (403, "AccessDenied", "do not permit this"),
        (403, "RequestTimeTooSkewed", "set the clock of this host"),
        (400, "AuthorizationHeaderMalformed", "is in another region"),
        (301, "PermanentRedirect", "is in another region"),
        (400, "InvalidRequest", "refused the request .InvalidRequest"),
    ],
)
async def test_a_refusal_says_what_to_do(status: int, word: str, says: str) -> None:
    async with scripted(code(status, word)) as url:
        error = await refusal(open_store(url), says)
    assert not getattr(error, "retryable", False)


async def test_a_server_that_is_overloaded_can_be_asked_again() -> None:
    answers: list[str] = []

    def sometimes(head: str, body: bytes) -> tuple[int, bytes]:
        answers.append(head.split(maxsplit=1)[0])
        return code(503, "SlowDown")(head, body) if len(answers) % 3 else (404, b"")

    async with scripted(sometimes) as url, open_store(url) as store:
        assert await store.get("c", "k") is None
    assert answers == ["GET"] * 3
    async with scripted(code(503, "SlowDown")) as url, open_store(url) as store:
        with pytest.raises(StoreUnavailableError, match="refuses requests for now") as caught:
            await store.get("c", "k")
        assert caught.value.retryable


@pytest.mark.parametrize(("status", "word"), [(503, "SlowDown"), (500, "InternalError")])
async def test_a_put_that_a_server_refused_for_now_is_made_after_all(status: int, word: str) -> None:
    asked: list[bytes] = []

    def sometimes(head: str, body: bytes) -> tuple[int, bytes]:
        asked.append(body)
        return code(status, word)(head, body) if len(asked) < 3 else (200, b"")

    async with scripted(sometimes) as url, open_store(url) as store:
        await store.put("c", "k", "value")
    assert len(asked) == 3
    assert len(set(asked)) == 1


async def test_a_put_of_which_a_gateway_knows_nothing_is_not_made_twice() -> None:
    asked: list[str] = []

    def gateway(head: str, body: bytes) -> tuple[int, bytes]:
        asked.append(head)
        return 504, b""

    async with scripted(gateway) as url, open_store(url) as store:
        with pytest.raises(StoreUnavailableError, match="may or may not have happened"):
            await store.put("c", "k", "value")
    assert len(asked) == 1


@pytest.mark.parametrize("kept", ["nothing", "If-None-Match"])
async def test_a_server_that_ignores_conditions_is_found_out(kept: str) -> None:
    objects: dict[str, bytes] = {}

    def careless(head: str, body: bytes) -> tuple[int, bytes]:
        method, path, _ = head.split(" ", 2)
        if method == "PUT":
            if kept.lower() in head.lower() and path in objects:
                return 412, b""
            objects[path] = body
            return 200, b""
        return (206, objects[path][:46]) if path in objects else (404, b"")

    async with scripted(careless) as url, open_store(url) as store:
        if kept == "nothing":
            with pytest.raises(ConfigurationError, match=r"ignores the condition of a write .create"):
                await store.put_if_absent("c", "k", 1)
        else:
            assert await store.put_if_absent("c", "k", 1) is not None
        with pytest.raises(ConfigurationError, match=r"ignores the condition of a write .update"):
            await store.delete("c", "k")


async def test_a_server_that_fails_for_now_is_asked_again_whether_it_deletes_on_a_condition() -> None:
    deletions: list[bool] = []

    def answer(head: str, body: bytes) -> tuple[int, bytes]:
        if not head.startswith("DELETE"):
            return 200, b"<DeleteResult><Deleted><Key>trial</Key></Deleted></DeleteResult>" if "POST" in head else b""
        deletions.append('If-Match: "e"' in head)
        return (503, b"") if len(deletions) == 1 else (204 if deletions[-1] else 412, b"")

    async with scripted(answer) as url, open_store(url) as store:
        await store.put("c", "k", 1)
        removal = store._sweep._removal
        with pytest.raises(HTTPError):
            await removal.works()
        assert await removal.works() is True
    assert deletions == [False, False, True]


async def test_what_does_not_answer_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # whose connections nobody takes
        url = f"s3://b?endpoint=http://127.0.0.1:{server.getsockname()[1]}&access_key_id=a&secret_access_key=b"
        await refusal(open_store(url, timeout=0.2), "in time", StoreTimeoutError)


async def test_where_nobody_listens() -> None:
    url = "s3://b?endpoint=http://127.0.0.1:1&access_key_id=hidden-id&secret_access_key=hidden-secret"
    error = await refusal(open_store(url), "cannot be reached: check the endpoint", StoreUnavailableError)
    assert isinstance(error, StoreUnavailableError)
    assert error.retryable


async def test_what_is_no_object_store() -> None:
    async with scripted(lambda head, body: (200, b"<html>hello</html>")) as url, open_store(url) as store:
        with pytest.raises(StoreError, match="is not an object store: check the endpoint"):
            await store.delete("c", "k")


async def test_nothing_to_get_credentials_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    async with scripted(code(403, "AccessDenied")) as url:
        port = url.partition("&")[0].rpartition(":")[2]
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{port}")
        await refusal(open_store(url.partition("&")[0]), "there are no credentials for s3://b: give access_key_id")


@on_server
async def test_a_bucket_that_is_not_there() -> None:
    store = open_store(server_url("s3").replace(BUCKET, "no-such-bucket"))
    for call in (store.ping, lambda: store.get("c", "k"), lambda: store.put("c", "k", 1)):
        with pytest.raises(StoreError, match="there is no s3://no-such-bucket"):
            await call()


@on_server
@pytest.mark.parametrize("credentials", [("nobody", WRITER[1]), (WRITER[0], "hidden-wrong")])
async def test_credentials_that_are_wrong(credentials: tuple[str, str]) -> None:
    url = server_url("s3").replace(WRITER[1], credentials[1]).replace(f"={WRITER[0]}", f"={credentials[0]}")
    await refusal(open_store(url), "does not accept the credentials")


@on_server
async def test_somebody_who_may_only_read() -> None:
    url = server_url("s3")
    async with open_store(url, prefix="test-reader") as writer:
        await writer.put("c", "k", 1)
        async with open_store(
            url.replace(WRITER[1], READER[1]).replace(WRITER[0], READER[0]), prefix="test-reader"
        ) as store:
            await store.ping()
            assert await store.get("c", "k") == 1
            assert [key async for key in store.keys("c")] == ["k"]
            for call in (store.put, store.put_if_absent):
                with pytest.raises(StoreError, match="do not permit this"):
                    await call("c", "other", 1)
            with pytest.raises(StoreError, match="do not permit this"):
                await store.destroy()
        await writer.destroy()
