import hmac
import sys

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from satchel import DecryptionError, IntegrityError, MemoryStore, MissingExtraError, ValueTooLargeError
from satchel.wrappers import EncryptionWrapper, PrefixCollectionsWrapper, encryption
from tests.golden.wrappers.frames import KEY


async def kept(inner, key="k"):
    return await inner.get("c", key)


def frame(body, *, collection=b"c", key=b"k", kind=0):
    """Make a frame as the format says, independently of the code."""
    key_id = hmac.digest(KEY, b"satchel key id 1", "sha256")[:8]
    header = b"\x89E\x01" + bytes([kind]) + key_id
    associated = header + len(collection).to_bytes(2) + collection + len(key).to_bytes(2) + key
    return header + b"n" * 12 + AESGCM(KEY).encrypt(b"n" * 12, body, associated)


async def test_nothing_of_a_value_is_stored():
    inner = MemoryStore()
    store = EncryptionWrapper(inner, key=KEY)
    for value in ("a text to hide", b"bytes to hide", {"hide": "this", "and": "that"}):
        await store.put("c", "k", value)
        whole = await kept(inner)
        assert not any(word in whole for word in (b"text", b"hide", b"bytes", b"this", b"and"))


async def test_the_same_value_is_never_stored_twice_the_same():
    inner = MemoryStore()
    store = EncryptionWrapper(inner, key=KEY)
    frames = set()
    for _ in range(1000):
        await store.put("c", "k", "same")
        frames.add(await kept(inner))
    assert len({each[12:24] for each in frames}) == 1000
    assert len({each[24:] for each in frames}) == 1000


async def test_frames_made_as_the_format_says_are_read():
    inner = MemoryStore()
    store = EncryptionWrapper(inner, key=KEY)
    await inner.put("c", "k", frame(b"bytes"))
    assert await store.get("c", "k") == b"bytes"
    await inner.put("c", "k", frame(b"[1]", kind=1))
    assert await store.get("c", "k") == [1]
    await inner.put("ünï", "ké", frame(b"", collection="ünï".encode(), key="ké".encode()))
    assert await store.get("ünï", "ké") == b""
    await inner.put("c", "k", frame(b"{", kind=1))
    with pytest.raises(IntegrityError, match="cannot be decoded"):
        await store.get("c", "k")
    await inner.put("c", "k", frame(b"{", kind=2))
    with pytest.raises(IntegrityError, match="of kind 2, which this release does not know"):
        await store.get("c", "k")


async def test_what_was_changed_or_moved_is_a_decryption_error():
    inner = MemoryStore()
    store = EncryptionWrapper(inner, key=KEY)
    await store.put("c", "k", "value")
    whole = await kept(inner)
    for place in range(3, len(whole)):
        await inner.put("c", "k", whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(DecryptionError) as caught:
            await store.get("c", "k")
        assert "value" not in str(caught.value).replace("the value", "")
    await inner.put("c", "other", whole)
    with pytest.raises(DecryptionError, match="cannot be decrypted"):
        await store.get("c", "other")


async def test_where_it_is_next_to_the_store_no_entry_moves_between_prefixes():
    inner = MemoryStore()
    encrypted = EncryptionWrapper(inner, key=KEY)
    north, south = (PrefixCollectionsWrapper(encrypted, prefix=prefix) for prefix in ("north", "south"))
    await north.put("c", "k", 1)
    (collection,) = [name async for name in inner.collections()]
    await inner.put(collection.replace("north", "south"), "k", await inner.get(collection, "k"))
    with pytest.raises(DecryptionError):
        await south.get("c", "k")


async def test_a_value_larger_than_the_algorithm_takes_is_refused(monkeypatch):
    monkeypatch.setattr(encryption, "_MAX_SIZE", 10)
    store = EncryptionWrapper(MemoryStore(), key=KEY)
    await store.put("c", "k", b"x" * 10)
    with pytest.raises(ValueTooLargeError, match=r"put of key 'k' .* has 11 bytes, AES-GCM takes at most 10"):
        await store.put("c", "k", b"x" * 11)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingExtraError, match=r'needs cryptography.* pip install "satchel\[encryption\]"'):
        EncryptionWrapper(MemoryStore(), key=KEY)
