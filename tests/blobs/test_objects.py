"""Blobs as objects: what others see in the bucket, large ones in parts, addresses, and what is refused."""

import asyncio
import urllib.request
from urllib.parse import parse_qsl, urlsplit

import pytest
from obstore.store import LocalStore, MemoryStore, S3Store

from satchel import ConfigurationError, InvalidKeyError, StoreError, StoreUnavailableError, UnsupportedOperationError
from satchel.blobs import UrlSigner, objects
from satchel.blobs.objects import MOST_AT_ONCE, PART, ObjectBlobs
from satchel.errors import BlobChangedError, BlobExistsError, BlobMissingError
from satchel.testing import FakeClock
from tests.blobs.listing import keys_of
from tests.blobs.s3 import s3_blobs
from tests.servers import server_url
from tests.stores.objectstore.test_errors import scripted

in_s3 = pytest.mark.server("s3")


@pytest.fixture(params=["memory", pytest.param("s3", marks=in_s3)])
def blobs(request, tmp_path):
    return ObjectBlobs(client=MemoryStore()) if request.param == "memory" else s3_blobs(name_of(tmp_path))


@pytest.fixture
def in_bucket(tmp_path):
    return s3_blobs(name_of(tmp_path))


def name_of(tmp_path):
    return f"blobs-{abs(hash(tmp_path)):x}"


def raw_client():
    parts = urlsplit(server_url("s3"))
    return S3Store(parts.netloc, client_options={"allow_http": True}, **dict(parse_qsl(parts.query)))


async def in_pieces(data, size=1_000_000):
    for start in range(0, len(data), size):
        yield data[start : start + size]


LARGE = bytes(range(256)) * (11 * PART // 4 // 256) + b"end"


@in_s3
async def test_a_blob_is_an_object_under_the_name_of_its_key(in_bucket, tmp_path):
    await in_bucket.put("photos/the cat.png", b"picture", metadata={"by": "Ada Lovelace"})
    found = await raw_client().get_async(f"{name_of(tmp_path)}/photos/the cat.png")
    assert bytes(await found.bytes_async()) == b"picture"
    assert dict(found.attributes) == {"Content-Type": "image/png", "by": "Ada Lovelace"}
    await raw_client().put_async(f"{name_of(tmp_path)}/by-hand.txt", b"others", attributes={"Content-Type": "text/x"})
    assert await in_bucket.get("by-hand.txt") == b"others"
    assert (await in_bucket.info("by-hand.txt")).content_type == "text/x"
    assert await keys_of(in_bucket) == ["by-hand.txt", "photos/the cat.png"]


async def test_objects_whose_names_no_key_has_are_left_alone():
    client = MemoryStore()
    blobs = ObjectBlobs(client=client, prefix="mine")
    for path in ("mine/%2F", "mine/%zz", "mine/%2e/x", "other/x", "mine2/x", "mine/a\\b"):
        client.put(path, b"1")
    await blobs.put("x", b"1")
    assert await keys_of(blobs) == ["./x", "x"]


@pytest.mark.parametrize("known_size", [True, False])
async def test_a_large_blob_goes_in_parts_and_comes_in_ranges(blobs, known_size):
    info = await blobs.put("k", LARGE if known_size else in_pieces(LARGE))
    assert info == await blobs.info("k")
    assert info.size == len(LARGE)
    assert b"".join([piece async for piece in blobs.stream("k")]) == LARGE
    assert await blobs.get("k") == LARGE
    assert await blobs.get("k", start=PART - 5, end=PART + 5) == LARGE[PART - 5 : PART + 5]
    assert await blobs.ranges("k", [(-3, None), (0, 2 * PART)]) == [b"end", LARGE[: 2 * PART]]


@in_s3
async def test_the_parts_of_a_large_blob_are_sent_as_such(in_bucket):
    assert (await in_bucket.put("k", in_pieces(LARGE))).version.endswith('-3"')


async def test_a_large_write_that_raises_or_is_cancelled_leaves_what_was_there(blobs):
    await blobs.put("k", b"before")
    begun = asyncio.Event()

    async def raising():
        yield LARGE
        raise KeyError

    async def waiting():
        yield LARGE
        begun.set()
        await asyncio.Event().wait()

    with pytest.raises(KeyError):
        await blobs.put("k", raising())
    task = asyncio.create_task(blobs.put("k", waiting()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await blobs.get("k") == b"before"


async def test_a_reader_of_a_large_blob_notices_that_it_was_replaced(blobs):
    await blobs.put("k", 2 * LARGE)
    stream = blobs.stream("k")
    await anext(stream)
    await blobs.put("k", 2 * LARGE[1:])
    with pytest.raises(BlobChangedError):
        _ = [piece async for piece in stream]
    stream = blobs.stream("k")
    await anext(stream)
    await blobs.delete("k")
    with pytest.raises(BlobChangedError):
        _ = [piece async for piece in stream]


async def test_a_large_blob_is_written_on_a_condition_in_one_request(blobs):
    info = await blobs.put("k", in_pieces(LARGE), if_absent=True)
    with pytest.raises(BlobExistsError):
        await blobs.put("k", LARGE, if_absent=True)
    changed = await blobs.put("k", in_pieces(LARGE[1:]), if_version=info.version)
    with pytest.raises(BlobChangedError):
        await blobs.put("k", LARGE, if_version=info.version)
    assert (await blobs.info("k")).version == changed.version


async def test_a_stream_that_is_too_long_for_one_request_is_refused_on_a_condition(monkeypatch):
    monkeypatch.setattr(objects, "MOST_AT_ONCE", PART)
    blobs = ObjectBlobs(client=MemoryStore())
    with pytest.raises(UnsupportedOperationError, match="if_absent= and if_version= of put for a stream of more than"):
        await blobs.put("k", in_pieces(LARGE), if_absent=True)
    assert not await blobs.exists("k")
    assert MOST_AT_ONCE == 64 * 1024 * 1024


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": 60},
        {"content_type": "text/ü"},
        {"content_type": "a\nb"},
        *({"metadata": {name: "x"}} for name in ("Upper", "ü", "a b", "", "content-type", "cache-control", "a\n")),
        *({"metadata": {"x": text}} for text in ("ü", " x", "x ", "", "a\nb")),
    ],
)
async def test_what_services_do_not_keep_is_refused_by_name(options):
    blobs = ObjectBlobs(client=MemoryStore())
    with pytest.raises(UnsupportedOperationError, match=f"{next(iter(options))}= of put"):
        await blobs.put("k", b"1", **options)
    assert not await blobs.exists("k")


async def test_what_only_a_conditional_delete_can_do_is_refused_without_one():
    blobs = ObjectBlobs(client=MemoryStore())
    await blobs.put("k", b"1")
    for work in (blobs.pop("k"), blobs.move("k", "l")):
        with pytest.raises(UnsupportedOperationError, match="does not delete on a condition"):
            await work
    assert await keys_of(blobs) == ["k"]


async def test_a_copy_of_nothing_and_onto_something(blobs):
    with pytest.raises(BlobMissingError):
        await blobs.copy("absent", "k")
    await blobs.put("a", b"1", metadata={"by": "Ada"})
    await blobs.put("b", b"2")
    with pytest.raises(BlobExistsError):
        await blobs.copy("a", "b", if_absent=True)
    assert (await blobs.copy("a", "c", if_absent=True)).metadata == {"by": "Ada"}
    assert await blobs.get("b") == b"2"


@in_s3
async def test_a_presigned_address_works_and_stays_the_same_for_a_while(tmp_path):
    clock = FakeClock(1_800_000_001.0)
    blobs = s3_blobs(name_of(tmp_path), clock=clock)
    await blobs.put("a b/ü.png", b"picture")
    url = await blobs.url_for("a b/ü.png", expires=1000)

    def fetch():
        with urllib.request.urlopen(url) as answer:  # noqa: S310  # ours
            return answer.read(), answer.headers["Content-Type"]

    assert await asyncio.to_thread(fetch) == (b"picture", "image/png")
    clock.advance(200)
    assert await blobs.url_for("a b/ü.png", expires=1000) == url
    clock.advance(200)
    await asyncio.sleep(1.1)  # the signature says when it was made, in seconds
    assert await blobs.url_for("a b/ü.png", expires=1000) != url
    lasting = dict(parse_qsl(urlsplit(await blobs.url_for("x", expires=10**9)).query))["X-Amz-Expires"]
    assert int(lasting) <= 7 * 24 * 3600
    with pytest.raises(ConfigurationError, match="method"):
        await blobs.url_for("x", method="BREW")


async def test_an_address_comes_from_a_web_server_if_there_is_one():
    signer = UrlSigner(b"a secret of 16 bytes")
    blobs = ObjectBlobs(client=MemoryStore(), base_url="https://cdn.example.org", signer=signer)
    url = await blobs.url_for("a b.png")
    assert url.startswith("https://cdn.example.org/a%20b.png?")
    assert signer.allows("a b.png", url.partition("?")[2])
    with pytest.raises(UnsupportedOperationError, match="url_for without base_url="):
        await ObjectBlobs(client=MemoryStore()).url_for("x")


async def test_a_key_that_is_too_long_for_an_object_is_refused():
    blobs = ObjectBlobs(client=MemoryStore(), prefix="p" * 100)
    await blobs.put("/".join(["x" * 200] * 4), b"1")
    for key in ("/".join(["x" * 200] * 5), "x" * 256):
        with pytest.raises(InvalidKeyError, match="too long for this place"):
            await blobs.put(key, b"1")


@pytest.mark.parametrize("prefix", ["a//b", "/a", "a/", ".", "../x", "a/.b", "a\\b", "a%b", 7, "x" * 600])
def test_a_prefix_that_is_none_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix must"):
        ObjectBlobs(client=MemoryStore(), prefix=prefix)


def test_options_are_checked_at_once(tmp_path):
    for wrong in (
        {},
        {"url": "s3://bucket", "client": MemoryStore()},
        {"url": "http://bucket"},
        {"url": "s3://bucket/a", "prefix": "b"},
        {"url": "s3://bucket", "access_key_id": "x"},
        {"url": "s3://bucket", "timeout": -1},
        {"client": LocalStore(str(tmp_path))},
        {"client": object()},
    ):
        with pytest.raises(ConfigurationError):
            ObjectBlobs(**wrong)


@in_s3
async def test_a_missing_bucket_and_a_server_that_is_not_there_are_named(tmp_path):
    options = dict(parse_qsl(urlsplit(server_url("s3")).query))
    missing = ObjectBlobs("s3://satchel-no-such-bucket", **options)
    for work in (missing.get("k"), missing.put("k", b"1"), anext(missing.keys())):
        with pytest.raises(StoreError):
            await work
    gone = ObjectBlobs("s3://satchel-tests", **{**options, "endpoint": "http://127.0.0.1:1"}, timeout=0.5)
    for work in (gone.get("k"), gone.put("k", b"1"), gone.put("k", in_pieces(LARGE)), anext(gone.keys())):
        with pytest.raises(StoreUnavailableError):
            await work


@pytest.mark.parametrize("kept", ["nothing", "If-None-Match"])
async def test_a_server_that_ignores_conditions_is_found_out_before_a_blob_is_written(kept):
    objects = {}

    def careless(head, body):
        method, path, _ = head.split(" ", 2)
        if method == "PUT":
            if kept.lower() in head.lower() and path in objects:
                return 412, b""
            objects[path] = body
            return 200, b""
        return (200, objects[path]) if path in objects else (404, b"")

    async with scripted(careless) as url:
        parts = urlsplit(url)
        blobs = ObjectBlobs(f"s3://{parts.netloc}", **dict(parse_qsl(parts.query)))
        for condition in ({"if_absent": True}, {"if_version": "x"}):
            with pytest.raises(ConfigurationError, match="this server ignores the condition of a write"):
                await blobs.put("k", b"1", **condition)
    assert not any(path.endswith("/k") for path in objects)
