"""Who gets in: tokens, scopes, names of the server, read-only mode."""

import logging

import pytest

from satchel import ConfigurationError, MemoryStore
from satchel.server import Token, create_app
from tests.server.serving import exchange, serving

FULL, READER, EU = "full-token-of-tests", "reader-token-of-tests", "eu-token-of-tests"
TOKENS = [FULL, Token(READER, read_only=True), Token(EU, prefix="eu-")]
PATHS = ["/v1", "/v1/c", "/v1/c/a", "/v1/c/a/b", "/v1/ping", "/metrics"]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def test_every_path_with_data_needs_a_token():
    async with serving(MemoryStore(), tokens=TOKENS) as client:
        wrong = ["", "Bearer", f"Basic {FULL}", FULL, f"Bearer {FULL}x", f"Bearer {FULL[:-1]}", "Bearer ü"]
        for path in PATHS:
            answers = [await client.get(path)]
            answers += [await client.get(path, headers={"Authorization": text.encode()}) for text in wrong]
            for answer in answers:
                assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"
                assert FULL not in answer.text
        assert (await client.post("/v1/batch", json={"operations": []})).status_code == 401
        assert (await client.put("/v1/c/a/b", json=1)).status_code == 401
        for path in ("/health", "/v1/openapi.json"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/v1", headers=bearer(FULL))).status_code == 200
        assert (await client.get("/v1", headers={"Authorization": f"bearer  {FULL}"})).status_code == 200


async def test_a_token_is_limited_to_its_scope():
    store = MemoryStore()
    async with serving(store, tokens=TOKENS) as client:
        for collection, token, status in (
            ("us", FULL, 204), ("eu-x", EU, 204), ("us", EU, 403), ("eu", EU, 403), ("us", READER, 403),
        ):  # fmt: skip
            assert (await client.put(f"/v1/c/{collection}/k", json=1, headers=bearer(token))).status_code == status
        await store.put("us", "k", 1)
        assert (await client.get("/v1/c/us/k", headers=bearer(READER))).status_code == 200
        outside = await client.get("/v1/c/us/k", headers=bearer(EU))
        assert (outside.status_code, outside.json()["error"]) == (403, "forbidden")
        assert "'eu-'" in outside.json()["message"]
        for token, read_only, prefix in ((FULL, False, ""), (READER, True, ""), (EU, False, "eu-")):
            about = (await client.get("/v1", headers=bearer(token))).json()
            assert (about["read_only"], about["prefix"]) == (read_only, prefix)
            assert ("conditional" in about["capabilities"]) is not read_only
            assert ("destroy_store" in about["capabilities"]) is (token == FULL)


async def test_a_read_only_server_refuses_every_change():
    store = MemoryStore()
    await store.put("a", "b", 1)
    async with serving(store, read_only=True) as client:
        for request in ("PUT /v1/c/a/b", "PATCH /v1/c/a/b", "DELETE /v1/c/a/b", "DELETE /v1/c/a?all=1",
                        "DELETE /v1/c?all=1", "POST /v1/cull"):  # fmt: skip
            answer = await client.request(*request.split())
            assert (answer.status_code, answer.json()["error"]) == (403, "read_only")
            assert "read-only" in answer.json()["message"]
        put = {"op": "put", "collection": "a", "key": "b", "value": 2}
        assert (await client.post("/v1/batch", json={"operations": [put]})).status_code == 403
        assert (await client.get("/v1/c/a/b")).json() == 1
        assert (await client.get("/v1")).json()["read_only"] is True


async def test_another_name_of_the_server_is_refused():
    async with serving(MemoryStore(), allowed_hosts=["localhost", "[::1]"]) as client:
        for host in ("localhost", "LOCALHOST", "localhost:8377", "[::1]", "[::1]:8377"):
            assert (await client.get("/v1", headers={"Host": host})).status_code == 200, host
        for host in (
            "evil.example",
            "127.0.0.1",
            "localhost.evil.example",
            "localhost:1:2",
            "",
            "::1",
            "evil.example:80",
        ):
            answer = await exchange(client, f"GET /v1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 421 "), host
            assert b'"error":"wrong_host"' in answer
        assert b" 421 " in await exchange(client, b"GET /v1 HTTP/1.0\r\n\r\n")
        assert (await client.get("/health", headers={"Host": "10.0.0.7"})).status_code == 200


async def test_any_name_with_a_token():
    async with serving(MemoryStore(), allowed_hosts=["*"], tokens=[FULL]) as client:
        assert (await client.get("/v1", headers={"Host": "kv.example", **bearer(FULL)})).status_code == 200


def test_a_server_that_others_can_reach_needs_a_token():
    for hosts in (["*"], ["kv.example"], ["localhost", "10.0.0.7"]):
        with pytest.raises(ConfigurationError, match="needs a token"):
            create_app(MemoryStore(), allowed_hosts=hosts)


def test_options_are_checked():
    for options in (
        {"tokens": FULL}, {"tokens": ["short"]}, {"tokens": ["with space in the middle"]}, {"tokens": ["ü" * 20]},
        {"tokens": [None]}, {"allowed_hosts": "localhost"}, {"read_only": "no"}, {"max_body": 0}, {"max_requests": 0},
        {"max_streams": True}, {"timeout": 0},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            create_app(MemoryStore(), **options)
    with pytest.raises(ConfigurationError):
        create_app(object())


def test_a_secret_is_not_shown(caplog):
    with caplog.at_level(logging.DEBUG):
        app = create_app(MemoryStore(), tokens=TOKENS)
    assert FULL not in f"{app!r} {TOKENS[1:]!r} {vars(app)!r}"
    with pytest.raises(ConfigurationError) as refused:
        Token("s3cr3t")
    assert "s3cr3t" not in str(refused.value)
    assert "s3cr3t" not in caplog.text
