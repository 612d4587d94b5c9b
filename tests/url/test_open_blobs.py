"""`open_blobs`: the target that a URL names, with its options, at once, awaited, or entered."""

import inspect

import pytest
from obstore.store import MemoryStore

import satchel
from satchel import ConfigurationError, StoreClosedError, open_blobs
from satchel.blobs import FileBlobs, ObjectBlobs, StoreBlobs
from satchel.testing import FakeClock
from tests.blobs.listing import keys_of


@pytest.mark.parametrize(
    "url",
    [
        "memory:",
        "memory://?collection=photos&chunk_size=1000&wrap=compression",
        "disk:{path}?ids=sha256",
        "file:{path}",
    ],
)
async def test_blobs_go_in_and_out_whatever_the_url(url, tmp_path):
    async with open_blobs(url.format(path=tmp_path / "data")) as blobs:
        await blobs.put("a/b.txt", b"x" * 5000)
        assert await blobs.get("a/b.txt", start=-3) == b"xxx"
        assert await keys_of(blobs) == ["a/b.txt"]


async def test_they_can_be_used_at_once_or_awaited(tmp_path):
    blobs = open_blobs(f"file:{tmp_path}/data")
    assert not (tmp_path / "data").exists()
    assert await blobs is blobs
    assert repr(blobs) == f"FileBlobs('{tmp_path}/data')"
    assert not inspect.isawaitable(FileBlobs(tmp_path))  # a result that can be awaited would be, by some callers
    assert (tmp_path / "data").exists()
    at_once = open_blobs("memory:")
    await at_once.put("k", b"1")
    await at_once.aclose()
    with pytest.raises(StoreClosedError):
        await at_once.get("k")


async def test_blobs_over_a_store_of_ones_own_do_not_close_it():
    async with satchel.MemoryStore() as store:
        async with StoreBlobs(store) as blobs:
            await blobs.put("k", b"1")
        assert await StoreBlobs(store).get("k") == b"1"


def test_each_scheme_has_its_target(tmp_path):
    assert isinstance(open_blobs(f"file://{tmp_path}"), FileBlobs)
    assert isinstance(open_blobs("redis://localhost"), StoreBlobs)
    for url in ("s3://bucket/folder?region=eu-west-1", "gs://bucket", "az://bucket"):
        assert isinstance(open_blobs(url), ObjectBlobs)


async def test_options_are_those_of_the_store_and_of_the_blobs(tmp_path):
    clock = FakeClock(1_800_000_000.0)
    blobs = open_blobs("memory://?max_size=10&max_entries_per_collection=5&template=x/{}.bin", clock=clock, ids="uuid4")
    info = await blobs.put(None, b"1", ttl=10)
    assert info.key.startswith("x/")
    clock.advance(11)
    assert await blobs.get(info.key) is None
    with pytest.raises(satchel.ValueTooLargeError):
        await blobs.put("k", b"x" * 11)
    files = open_blobs(f"file:{tmp_path}?max_size=10", base_url=lambda key: f"https://example.org/{key}")
    assert await files.url_for("k") == "https://example.org/k"
    with pytest.raises(satchel.ValueTooLargeError):
        await files.put("k", b"x" * 11)


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        (7, {}, "url must be a str"),
        ("no url", {}, "starts with a scheme"),
        ("flie:/x", {}, "did you mean 'file'"),
        ("file://host/x", {}, "the form of a file URL"),
        ("file:", {}, "the form of a file URL"),
        ("file:x?wrap=compression", {}, "wrappers go around a store"),
        ("s3://b", {"wrap": ["compression"]}, "wrappers go around a store"),
        ("file:x?max_sise=1", {}, "did you mean 'max_size'"),
        ("file:x?max_size=many", {}, "must be a whole number"),
        ("file:x?max_size=1", {"max_size": 1}, "given twice"),
        ("memory:?ids=uuid4", {"ids": "uuid7"}, "given twice"),
        ("memory:?ids=uuid1", {}, "ids"),
        ("memory:?nonsense=1", {}, "unknown option of memory 'nonsense'"),
        ("memory:", {"nonsense": 1}, "nonsense"),
        ("s3://b?access_key_id=x", {}, "both or not at all"),
        (" memory:", {}, "white space"),
    ],
)
def test_what_is_wrong_in_a_url_is_named(url, options, message):
    with pytest.raises(ConfigurationError, match=message):
        open_blobs(url, **options)


def test_a_secret_in_the_wrong_place_is_not_shown():
    with pytest.raises(ConfigurationError) as caught:
        open_blobs("s3://b?secret_access_key=abc&defsecret=1")
    assert "defsecret" not in str(caught.value)


def test_a_client_of_the_callers_is_for_the_class_itself():
    assert repr(ObjectBlobs(client=MemoryStore(), prefix="a")) == "ObjectBlobs('memory:', prefix='a')"
