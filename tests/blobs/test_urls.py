"""Addresses of blobs, and their signatures."""

from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from satchel import (
    ConfigurationError,
    InvalidKeyError,
    InvalidTTLError,
    MemoryStore,
    SerializationError,
    UnsupportedOperationError,
)
from satchel.blobs import StoreBlobs, UrlSigner
from satchel.testing import FakeClock

SECRET = b"a secret of 24 bytes...."
OTHER = b"another one of 24 bytes."


@pytest.fixture
def clock():
    return FakeClock(1_767_225_600.0)


@pytest.fixture
def signer(clock):
    return UrlSigner(SECRET, scope="photos", clock=clock)


def query(url):
    return urlsplit(url).query


@pytest.mark.parametrize("key", ["cat.png", "a/b.png", "a b?c#d%2F&e", "日本", "a//b", "../x", "a/./b", "/x", "\n"])
async def test_an_address_leads_to_its_key(key):
    blobs = StoreBlobs(MemoryStore(), base_url="https://example.org/photos/")
    url = await blobs.url_for(key)
    assert url.startswith("https://example.org/photos/")
    path = urlsplit(url).path.removeprefix("/photos/")
    assert unquote(path) == key
    assert not {"", ".", ".."} & set(path.split("/"))  # a browser would change it


@pytest.mark.parametrize("key", [".", ".."])
async def test_no_address_leads_to_a_key_that_browsers_leave_out(key):
    with pytest.raises(InvalidKeyError, match="browsers"):
        await StoreBlobs(MemoryStore(), base_url="https://example.org").url_for(key)


async def test_a_function_makes_addresses():
    blobs = StoreBlobs(MemoryStore(), base_url=lambda key: f"https://cdn.example.org/?key={key}")
    assert await blobs.url_for("k") == "https://cdn.example.org/?key=k"


async def test_without_an_address_and_files_they_are_refused_by_name():
    blobs = StoreBlobs(MemoryStore())
    with pytest.raises(UnsupportedOperationError, match=r"StoreBlobs.*url_for.*base_url"):
        await blobs.url_for("k")
    with pytest.raises(UnsupportedOperationError, match=r"StoreBlobs.*local_path"):
        await blobs.local_path("k")
    with pytest.raises(InvalidTTLError):
        await blobs.url_for("k", expires=0)


async def test_a_signed_address_stays_the_same_for_a_while(signer, clock):
    blobs = StoreBlobs(MemoryStore(), base_url="https://example.org", signer=signer, clock=clock)
    seen = []
    for _ in range(900):
        url = await blobs.url_for("k", expires=900)
        left = int(parse_qs(query(url))["expires"][0]) - clock()
        assert 900 <= left <= 900 * 1.25
        if url not in seen:
            seen.append(url)
        clock.advance(1)
    assert len(seen) in (4, 5)


def test_the_form_of_a_signed_address_is_fixed(signer):
    url = signer.sign("https://example.org/cat.png?size=2", "cat.png", expires=900)
    assert url == (
        "https://example.org/cat.png?size=2&expires=1767226500&method=GET&signature=k-724kS8ib4-ooY7NIq1FfnEMvQT6caJVgdSw4R8JpE"
    )


def test_a_signed_address_holds_for_its_key_method_scope_and_time(signer, clock):
    signed = query(signer.sign("https://example.org/k", "k", expires=100, method="PUT"))
    assert signer.allows("k", signed, method="PUT")
    assert not signer.allows("k", signed)
    assert not signer.allows("l", signed, method="PUT")
    assert not signer.allows("\ud800", signed, method="PUT")
    assert not UrlSigner(SECRET, scope="other", clock=clock).allows("k", signed, method="PUT")
    assert not UrlSigner(OTHER, scope="photos", clock=clock).allows("k", signed, method="PUT")
    clock.advance(126)
    assert not signer.allows("k", signed, method="PUT")


def test_get_allows_head(signer):
    signed = query(signer.sign("/k", "k"))
    assert signer.allows("k", signed)
    assert signer.allows("k", signed, method="HEAD")
    assert not signer.allows("k", signed, method="DELETE")


def test_a_changed_address_is_refused(signer):
    signed = query(signer.sign("/k", "k", expires=100))
    expires = parse_qs(signed)["expires"][0]
    for changed in (
        "",
        "expires=9&method=GET",
        signed.replace(expires, str(int(expires) + 1)),
        signed.replace(expires, f"0{expires}"),
        signed.replace(expires, "٣"),
        signed.replace("GET", "PUT"),
        signed[:-1],
        signed + "x",
        signed.replace("signature=", "signature=é"),
    ):
        for method in ("GET", "PUT"):
            assert not signer.allows("k", changed, method=method), changed


def test_parts_cannot_be_shifted_between_scope_and_key(clock):
    signed = query(UrlSigner(SECRET, scope="a", clock=clock).sign("/", "bc"))
    assert not UrlSigner(SECRET, scope="ab", clock=clock).allows("c", signed)


def test_secrets_can_be_replaced(clock):
    old, both = UrlSigner(SECRET, clock=clock), UrlSigner([OTHER, SECRET], clock=clock)
    assert both.allows("k", query(old.sign("/k", "k")))
    assert not old.allows("k", query(both.sign("/k", "k")))
    assert UrlSigner(OTHER, clock=clock).allows("k", query(both.sign("/k", "k")))


@pytest.mark.parametrize("secret", [b"short", [], [SECRET, b""], "a text of 24 characters.", [1]])
def test_a_wrong_secret_is_refused_and_not_shown(secret):
    with pytest.raises(ConfigurationError, match="16") as refusal:
        UrlSigner(secret)
    assert "short" not in str(refusal.value)
    assert "secret" not in repr(UrlSigner(SECRET))


def test_a_wrong_method_or_scope_is_refused(signer):
    with pytest.raises(ConfigurationError, match="method"):
        signer.sign("/k", "k", method="get")
    with pytest.raises(ConfigurationError, match="scope"):
        UrlSigner(SECRET, scope=b"x")


@pytest.mark.parametrize("secret", [None, 7, "a secret that is text, not bytes", b"short", []])
def test_what_is_no_secret_is_refused(secret):
    with pytest.raises(ConfigurationError, match=r"^secret must be bytes, at least 16 of them"):
        UrlSigner(secret)


@pytest.mark.parametrize(
    "option", [{"base_url": 7}, {"base_url": b"/static"}, {"signer": b"a secret of its own, alone"}, {"signer": 0}]
)
def test_what_cannot_make_addresses_is_refused_before_it_is_needed(option):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(option))} must be"):
        StoreBlobs(MemoryStore(), **option)


@pytest.mark.parametrize("metadata", ["by", ["by"], 7, True])
async def test_metadata_that_are_no_mapping_are_refused(metadata):
    with pytest.raises(SerializationError, match=r"^metadata must be a mapping of str to str"):
        await StoreBlobs(MemoryStore()).put("k", b"", metadata=metadata)
