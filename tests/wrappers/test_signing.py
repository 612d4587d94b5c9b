import hashlib
import hmac

import pytest

from satchel import IntegrityError, MemoryStore
from satchel.wrappers import SigningWrapper
from tests.golden.wrappers.frames import KEY, documented


def frame(body, *, collection=b"c", key=b"k", kind=0, secret=KEY):
    """Make a frame as the format says, independently of the code."""
    header = b"\x89H\x01" + bytes([kind]) + hmac.digest(KEY, b"satchel key id 1", "sha256")[:8]
    names = len(collection).to_bytes(2) + collection + len(key).to_bytes(2) + key
    return header + hmac.new(secret, header + names + body, hashlib.sha256).digest() + body


async def test_frames_made_as_the_format_says_are_read_and_made():
    inner = MemoryStore()
    store = SigningWrapper(inner, key=KEY)
    for body, kind, value in ((b"bytes", 0, b"bytes"), (b'{"a":1}', 1, {"a": 1}), (b"null", 1, None), (b"", 0, b"")):
        await inner.put("c", "k", frame(body, kind=kind))
        assert await store.get("c", "k") == value
        await store.put("c", "k", value)
        assert await inner.get("c", "k") == frame(body, kind=kind)


async def test_the_frame_in_the_documentation_is_made():
    inner = MemoryStore()
    await SigningWrapper(inner, key=KEY).put("c", "k", [1, 2.5, None])
    assert await inner.get("c", "k") == documented("89 48")


async def test_a_value_stays_readable():
    inner = MemoryStore()
    await SigningWrapper(inner, key=KEY).put("c", "k", {"name": "Ada"})
    assert (await inner.get("c", "k")).endswith(b'{"name":"Ada"}')


@pytest.mark.parametrize(
    "forged",
    [
        frame(b"1", kind=1, secret=b"x" * 32),
        frame(b"1", kind=1, secret=b""),
        frame(b"1", kind=1, collection=b"d"),
        frame(b"1", kind=1, collection=b"", key=b"ck"),
        frame(b"", kind=1) + b"1",
        frame(b"1", kind=0)[:3] + b"\1" + frame(b"1", kind=0)[4:],
    ],
)
async def test_a_forged_signature_is_refused(forged):
    inner = MemoryStore()
    await inner.put("c", "k", forged)
    with pytest.raises(IntegrityError, match="the signature of the value does not match"):
        await SigningWrapper(inner, key=KEY).get("c", "k")


async def test_what_holds_no_value_is_refused_though_the_signature_matches():
    inner = MemoryStore()
    store = SigningWrapper(inner, key=KEY)
    for forged, message in ((frame(b"{", kind=1), "cannot be decoded"), (frame(b"", kind=9), "of kind 9")):
        await inner.put("c", "k", forged)
        with pytest.raises(IntegrityError, match=message):
            await store.get("c", "k")


async def test_signatures_are_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(left, right):
        compared.append((left, right))
        return False

    inner = MemoryStore()
    await inner.put("c", "k", frame(b"x"))
    monkeypatch.setattr("hmac.compare_digest", compare)
    with pytest.raises(IntegrityError):
        await SigningWrapper(inner, key=KEY).get("c", "k")
    assert compared == [(frame(b"x")[12:44],) * 2]
