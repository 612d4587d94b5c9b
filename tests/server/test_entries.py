"""Single entries over a socket: every verb, condition, header and kind of name."""

import json
from datetime import datetime
from urllib.parse import quote

from satchel import MemoryStore
from satchel.testing import FakeClock
from tests.server.serving import exchange, serving

JSON = {"Content-Type": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}
NAMES = [
    "plain", "a/b", "a%2Fb", "..", ".", "../../etc/passwd", "a/../b", "//", "/", "a//b", "nul\0nul", "line\nline",
    "\u00fc\u4e2d\U0001f642", "e\u0301", "a b+c",
    "?x=1&y#z", "%", "%zz", "%00", "\x7f\x01", "x" * 4096, "\u4e2d" * 1365,
]  # fmt: skip


def path(collection, key):
    return f"/v1/c/{quote(collection, safe='')}/{quote(key, safe='')}"


async def send(client, method, target, headers="", body=b""):
    """Send a request whose path no client library rewrites, and return status and body."""
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}"
    answer = await exchange(client, head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    beginning, _, content = answer.partition(b"\r\n\r\n")
    return int(beginning.split()[1]), content


async def test_a_json_value_comes_back(client, store):
    for value in (None, True, 1, 1.5, "text", "", [], {}, {"a": [1, {"b": "ü"}]}, "\0"):
        put = await client.put("/v1/c/users/ada", content=json.dumps(value), headers=JSON)
        got = await client.get("/v1/c/users/ada")
        assert (put.status_code, put.content) == (204, b"")
        assert (got.status_code, got.headers["content-type"], got.json()) == (200, "application/json", value)
        assert await store.get("users", "ada", "absent") == value


async def test_bytes_come_back(client, store):
    for value in (b"", b"\0\xff", b"{}", b"x" * 65_536, b"x" * 65_537, b"x" * 300_000):
        assert (await client.put("/v1/c/files/a", content=value, headers=BYTES)).status_code == 204
        got = await client.get("/v1/c/files/a")
        assert (got.headers["content-type"], got.content) == ("application/octet-stream", value)
        assert await store.get("files", "a") == value


async def test_a_large_json_value_comes_back(client):
    value = {"text": "x" * 1_000_000, "numbers": list(range(20_000))}
    await client.put("/v1/c/users/ada", json=value)
    assert (await client.get("/v1/c/users/ada")).json() == value


async def test_every_name_is_one_name(client, store):
    for name in NAMES:
        target = path(name, name)
        assert await send(client, "PUT", target, "Content-Type: application/json\r\n", b"1") == (204, b"")
        assert await store.get(name, name) == 1
        assert await send(client, "GET", target) == (200, b"1")
        assert [key async for key in store.keys(name)] == [name]
        assert (await send(client, "DELETE", target))[0] == 204
        assert await store.exists(name, name) is False


async def test_a_key_is_decoded_once(client, store):
    header = "Content-Type: application/json\r\n"
    for target, key in (
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("%61/b", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a+b", "a+b"),
        ("../x", "../x"),
        ("a/", "a/"),
        ("/a", "/a"),
        ("a;b=c:@!$", "a;b=c:@!$"),
    ):
        assert await send(client, "PUT", f"/v1/c/files/{target}", header, b"1") == (204, b"")
        assert await store.get("files", key) == 1


async def test_an_illegal_name_is_refused(client):
    too_long = "x" * 4097
    for names in ("a/", "", "/a", "a/%", "a/%f", "a/%ff", "%80/a", "a/%ed%a0%80", f"a/{too_long}", f"{too_long}/a"):
        status, body = await send(client, "GET", f"/v1/c/{names}")
        assert status == 400
        assert b'"error":"invalid_key"' in body


async def test_the_answer_says_what_the_store_knows(client, store):
    await store.put("users", "ada", {"a": 1}, ttl=60)
    entry = await store.get_entry("users", "ada")
    headers = (await client.get("/v1/c/users/ada")).headers
    assert headers["etag"] == f'"{entry.version}"'
    assert datetime.fromisoformat(headers["satchel-updated-at"]) == entry.updated_at
    assert datetime.fromisoformat(headers["satchel-expires-at"]) == entry.expires_at
    assert 50 < float(headers["satchel-ttl"]) <= 60
    assert headers["satchel-size"] == str(entry.size)
    assert headers["cache-control"] == "private, no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["satchel-api"] == "1"
    assert not [name for name in headers if name.startswith("access-control")]


async def test_head_is_get_without_a_body(client, store):
    await store.put("users", "ada", {"a": 1})
    got, head = await client.get("/v1/c/users/ada"), await client.head("/v1/c/users/ada")
    assert head.content == b""
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}
    assert "satchel-ttl" not in head.headers
    missing = await client.head("/v1/c/users/bob")
    assert (missing.status_code, missing.content, missing.headers["satchel-error"]) == (404, b"", "absent")


async def test_what_is_absent(client, store):
    for method in ("GET", "DELETE"):
        answer = await client.request(method, "/v1/c/nothing/ada")
        assert (answer.status_code, answer.json()["error"]) == (404, "absent")
    touched = await client.patch("/v1/c/nothing/ada", headers={"Satchel-TTL": "5"})
    assert (touched.status_code, touched.json()["error"]) == (404, "absent")
    assert "GET /v1/c" in touched.json()["message"]


async def test_delete_removes(client, store):
    await store.put("users", "ada", 1)
    assert (await client.delete("/v1/c/users/ada")).status_code == 204
    assert await store.exists("users", "ada") is False


async def test_a_ttl_is_kept_to_the_fraction():
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    async with serving(store) as client:
        await client.put("/v1/c/users/ada", json=1, headers={"Satchel-TTL": "10.5"})
        assert float((await client.get("/v1/c/users/ada")).headers["satchel-ttl"]) == 10.5
        await client.patch("/v1/c/users/ada", headers={"Satchel-TTL": "20"})
        assert (await store.get_entry("users", "ada")).ttl == 20
        await client.patch("/v1/c/users/ada", headers={"Satchel-TTL": "none"})
        assert (await store.get_entry("users", "ada")).ttl is None
        await client.put("/v1/c/users/ada", json=1, headers={"Satchel-TTL": "1"})
        clock.advance(1)
        assert (await client.get("/v1/c/users/ada")).status_code == 404


async def test_a_deadline_is_kept_to_the_microsecond(client, store):
    deadline = "2093-01-31T12:00:00.123457Z"
    await client.put("/v1/c/users/ada", json=1, headers={"Satchel-Expires-At": deadline})
    assert (await client.get("/v1/c/users/ada")).headers["satchel-expires-at"] == deadline
    await client.patch("/v1/c/users/ada", headers={"Satchel-Expires-At": "2093-01-31T13:00:00+01:00"})
    assert (await client.get("/v1/c/users/ada")).headers["satchel-expires-at"] == "2093-01-31T12:00:00.000000Z"
    await client.put("/v1/c/users/ada", json=1, headers={"Satchel-Expires-At": "2001-01-01T00:00:00Z"})
    assert (await client.get("/v1/c/users/ada")).status_code == 404


async def test_an_illegal_ttl_is_refused(client, store):
    for ttl in ["0", "-1", "nan", "inf", "1e3", "", "1 2", "٣", "4e9", "4000000000", "0x10"]:
        for request in (client.put("/v1/c/a/b", json=1, headers={"Satchel-TTL": ttl.encode()}),
                        client.patch("/v1/c/a/b", headers={"Satchel-TTL": ttl.encode()})):  # fmt: skip
            answer = await request
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_ttl")
        assert await store.exists("a", "b") is False


async def test_an_illegal_deadline_is_refused(client):
    for moment in ["tomorrow", "2030-01-01", "2030-01-01T00:00:00", "99999-01-01T00:00:00Z", ""]:
        answer = await client.put("/v1/c/a/b", json=1, headers={"Satchel-Expires-At": moment})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_ttl")


async def test_put_if_absent(client, store):
    first = await client.put("/v1/c/users/ada", json=1, headers={"If-None-Match": "*"})
    second = await client.put("/v1/c/users/ada", json=2, headers={"If-None-Match": "*"})
    assert first.status_code == 201
    assert first.headers["etag"] == f'"{(await store.get_entry("users", "ada")).version}"'
    assert (second.status_code, second.json()["error"]) == (412, "precondition_failed")
    assert await store.get("users", "ada") == 1


async def test_compare_and_put_and_delete(client, store):
    await store.put("users", "ada", 1)
    tag = (await client.get("/v1/c/users/ada")).headers["etag"]
    changed = await client.put("/v1/c/users/ada", json=2, headers={"If-Match": tag})
    assert changed.status_code == 204
    for stale in (
        await client.put("/v1/c/users/ada", json=3, headers={"If-Match": tag}),
        await client.delete("/v1/c/users/ada", headers={"If-Match": tag}),
        await client.delete("/v1/c/users/bob", headers={"If-Match": tag}),
    ):
        assert (stale.status_code, stale.json()["error"]) == (412, "precondition_failed")
    assert await store.get("users", "ada") == 2
    removed = await client.delete("/v1/c/users/ada", headers={"If-Match": changed.headers["etag"]})
    assert removed.status_code == 204
    assert await store.exists("users", "ada") is False


async def test_reading_what_the_client_has_already(client, store):
    await store.put("users", "ada", 1)
    tag = (await client.get("/v1/c/users/ada")).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        for method in ("GET", "HEAD"):
            answer = await client.request(method, "/v1/c/users/ada", headers={"If-None-Match": known})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert (await client.get("/v1/c/users/ada", headers={"If-None-Match": '"other"'})).status_code == 200


async def test_a_condition_that_cannot_be_checked_is_refused(client, store):
    await store.put("users", "ada", 1)
    for method, headers in [
        ("PUT", [("If-Match", '"a"'), ("If-None-Match", "*")]),
        ("PUT", [("If-Match", '"a", "b"')]),
        ("PUT", [("If-Match", '"a"'), ("If-Match", '"b"')]),
        ("PUT", [("If-Match", "*")]),
        ("PUT", [("If-Match", "a")]),
        ("PUT", [("If-Match", 'W/"a"')]),
        ("PUT", [("If-Match", '"%ff"')]),
        ("PUT", [("If-None-Match", '"a"')]),
        ("DELETE", [("If-None-Match", "*")]),
        ("PATCH", [("If-Match", '"a"'), ("Satchel-TTL", "5")]),
        ("GET", [("If-Match", '"a"')]),
    ]:
        body = {"content": b"2"} if method == "PUT" else {}
        answer = await client.request(method, "/v1/c/users/ada", headers=[*headers, *JSON.items()], **body)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert await store.get("users", "ada") == 1


async def test_a_part_of_a_value(client, store):
    await store.put("files", "a", b"0123456789")
    for asked, status, content, span in [
        ("bytes=0-2", 206, b"012", "bytes 0-2/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-4", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
    ]:
        answer = await client.get("/v1/c/files/a", headers={"Range": asked})
        assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, content, span)


async def test_a_range_behind_the_end(client, store):
    for asked in ["bytes=10-", "bytes=99-100", "bytes=-0"]:
        await store.put("files", "a", b"0123456789")
        answer = await client.get("/v1/c/files/a", headers={"Range": asked})
        assert (answer.status_code, answer.json()["error"]) == (416, "invalid_range")
        assert answer.headers["content-range"] == "bytes */10"


async def test_a_body_that_no_store_keeps_is_refused(client, store):
    too_deep, too_long = b"[" * 5000, b"9" * 30
    for body in (b"", b"{", b"nothing", b"1 2", too_deep, too_long, b"\xff", b'"\\ud800"', b"1e999", b"NaN"):
        answer = await client.put("/v1/c/users/ada", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["error"]) == (422, "unserializable")
        assert await store.exists("users", "ada") is False


async def test_another_media_type_is_refused(client):
    for kind in (None, "text/plain", "application/x-www-form-urlencoded", "application/json2"):
        headers = {} if kind is None else {"Content-Type": kind}
        answer = await client.put("/v1/c/users/ada", content=b"1", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")
        assert "application/octet-stream" in answer.json()["message"]


async def test_a_chunked_body(client, store):
    async def chunks():
        for number in range(100):
            yield b"%03d" % number

    assert (await client.put("/v1/c/files/a", content=chunks(), headers=BYTES)).status_code == 204
    assert await store.get("files", "a") == b"".join(b"%03d" % number for number in range(100))
