"""What encryption and signing have in common: frames under keys, bound to names."""

import base64
import random
import secrets
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    BatchError,
    ConfigurationError,
    DecryptionError,
    IntegrityError,
    MemoryStore,
    MessagePackCodec,
    SerializationError,
    open_store,
)
from satchel._threads import tally
from satchel.testing.conformance.cases import ACCEPTED_VALUES, identical
from satchel.wrappers import CompressionWrapper, EncryptionWrapper, SigningWrapper
from tests.golden.wrappers.frames import KEY, REF, VALUES, WRAPPERS, frame_of, path_of

BOTH = [EncryptionWrapper, SigningWrapper]
SEALED = [name for name in VALUES if name.startswith(("encryption", "signing"))]
OLD, NEW = (random.Random(seed).randbytes(32) for seed in (1, 2))

both = pytest.mark.parametrize("kind", BOTH)


@both
@pytest.mark.parametrize("value", [None, 0, "", "text", b"", b"bytes", b"null", {"a": [1, 1.0, True]}, b"x" * 100_000])
async def test_every_value_is_kept_in_a_frame(kind, value):
    inner = MemoryStore(codec=MessagePackCodec())
    store = kind(inner, key=KEY)
    await store.put("c", "k", value)
    assert type(await inner.get("c", "k")) is bytes
    assert identical(await store.get("c", "k"), value)
    assert identical((await store.get_entry("c", "k")).value, value)
    assert identical(await store.get_many("c", ["k"]), {"k": value})


@both
async def test_a_frame_that_a_user_puts_comes_back_as_it_is(kind):
    inner = MemoryStore()
    store = kind(inner, key=KEY)
    value = "text"
    for _ in range(4):
        await store.put("c", "k", value)
        assert identical(await store.get("c", "k"), value)
        value = await inner.get("c", "k")


@both
@pytest.mark.parametrize("value", ["json", b"bytes"])
async def test_a_frame_with_any_byte_changed_cut_or_added_is_refused(kind, value):
    inner = MemoryStore()
    store = kind(inner, key=KEY)
    await store.put("c", "k", value)
    whole = await inner.get("c", "k")
    damaged = [whole[:length] for length in range(len(whole))] + [whole + b"\0", b"\0" + whole, whole + whole]
    damaged += [
        whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
        for place in range(len(whole))
        for bit in range(8)
    ]
    for frame in damaged:
        await inner.put("c", "k", frame)
        with pytest.raises(IntegrityError, match=r"get of key 'k' in collection 'c' of .*Wrapper"):
            await store.get("c", "k")


MOVES = [("ab", "KEY", "a", "bKEY"), ("c", "k", "c", "K"), ("c", "k", "C", "k"), ("c", "kk", "ck", "k")]
MOVES += [("é", "k", "e\u0301", "k"), ("c", "\0\1k", "c\0\1", "k"), ("x", "y", "y", "x")]


@both
@pytest.mark.parametrize(("collection", "key", "other_collection", "other_key"), MOVES)
async def test_a_value_that_was_moved_is_refused(kind, collection, key, other_collection, other_key):
    inner = MemoryStore()
    store = kind(inner, key=KEY)
    await store.put(collection, key, 1)
    await inner.put(other_collection, other_key, await inner.get(collection, key))
    with pytest.raises(IntegrityError, match="or was put under another key or collection"):
        await store.get(other_collection, other_key)
    assert await store.get(collection, key) == 1


@both
@pytest.mark.parametrize("value", [None, "text", b"", b"bytes", {"key": 1}, b"\x89E", b"\x89H\1", b"\x89" * 100])
async def test_what_was_put_past_it_is_no_value(kind, value):
    inner = MemoryStore()
    await inner.put("c", "k", value)
    with pytest.raises(IntegrityError, match=r"not in a frame|too few for a frame") as caught:
        await kind(inner, key=KEY).get("c", "k")
    assert type(caught.value) is IntegrityError


@both
async def test_a_frame_of_the_other_wrapper_is_none(kind):
    inner = MemoryStore()
    (other,) = set(BOTH) - {kind}
    await other(inner, key=KEY).put("c", "k", "v")
    with pytest.raises(IntegrityError, match=f"not put through {kind.__name__}"):
        await kind(inner, key=KEY).get("c", "k")


@both
async def test_another_format_is_refused_with_what_to_do(kind):
    inner = MemoryStore()
    store = kind(inner, key=KEY)
    await store.put("c", "k", "v")
    frame = await inner.get("c", "k")
    await inner.put("c", "k", frame[:2] + b"\2" + frame[3:])
    with pytest.raises(IntegrityError, match="format 2, this release reads format 1; upgrade"):
        await store.get("c", "k")


@both
async def test_a_key_that_is_not_given_is_named_by_its_id(kind):
    inner = MemoryStore()
    store, other = kind(inner, key=OLD), kind(inner, key=NEW)
    await store.put_many("c", {"a": 1, "b": 2})
    await other.put("c", "b", 3)
    message = (
        f"get of key 'a' in collection 'c' .* id {store.key_ids[0]}, which is none of those given: {other.key_ids[0]}"
    )
    with pytest.raises(IntegrityError, match=message) as caught:
        await other.get("c", "a")
    assert type(caught.value) is (DecryptionError if kind is EncryptionWrapper else IntegrityError)
    with pytest.raises(BatchError) as batch:
        await other.get_many("c", ["a", "b"])
    assert list(batch.value.failed) == ["a"]
    assert type(batch.value.failed["a"]) is type(caught.value)


@both
async def test_other_keys_are_read_and_the_current_one_is_written(kind):
    inner = MemoryStore()
    old = kind(inner, key=OLD)
    await old.put("c", "old", 1)
    both_keys = kind(inner, key=NEW, other_keys=[OLD])
    await both_keys.put("c", "new", 2)
    assert await both_keys.get_many("c", ["old", "new"]) == {"old": 1, "new": 2}
    assert await kind(inner, key=NEW).get("c", "new") == 2
    assert both_keys.key_ids == (*kind(inner, key=NEW).key_ids, *old.key_ids)
    assert all(len(key_id) == 16 for key_id in both_keys.key_ids)


FORMS = {
    "bytes": NEW,
    "hexadecimal": NEW.hex(),
    "capitals": NEW.hex().upper(),
    "base64": base64.b64encode(NEW).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(NEW).decode(),
    "base64 without padding": base64.b64encode(NEW).decode().rstrip("="),
    "a line of a file": base64.b64encode(NEW).decode() + "\n",
}


@both
@pytest.mark.parametrize("form", FORMS)
def test_a_key_can_be_given_as_bytes_or_text(kind, form):
    expected = kind(MemoryStore(), key=NEW).key_ids
    assert kind(MemoryStore(), key=FORMS[form]).key_ids == expected
    assert kind(MemoryStore(), key=OLD, other_keys=[FORMS[form]]).key_ids[1:] == expected


@both
def test_other_keys_can_be_one_text(kind):
    third = secrets.token_bytes(32)
    text = f"{NEW.hex()},{base64.b64encode(third).decode()}\n{NEW.hex()} , "
    expected = kind(MemoryStore(), key=OLD, other_keys=[NEW, third]).key_ids
    assert kind(MemoryStore(), key=OLD, other_keys=text).key_ids == expected
    assert len(expected) == 3


BAD = [b"", b"short and secret", b"x" * 33, "", "passphrase and secret", NEW.hex()[:-1], "z" * 64, "é" * 43, 5, None]
BAD += [bytearray(32), "!" * 43, NEW.hex() + "00", base64.b64encode(NEW[:-1]).decode(), base64.b64encode(NEW)]


@both
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_key_is_refused_and_not_shown(kind, bad):
    for options in ({"key": bad}, {"key": KEY, "other_keys": [NEW, bad]}):
        with pytest.raises(ConfigurationError, match="must be 32 bytes, or as text") as caught:
            kind(MemoryStore(), **options)
        error = caught.value
        assert error.__cause__ is None
        assert not bad or type(bad) not in (bytes, str) or str(bad)[2:14] not in str(error)


@both
@pytest.mark.parametrize("bad", [None, 5, NEW, bytearray(32)])
def test_other_keys_that_are_no_list_are_refused(kind, bad):
    with pytest.raises(ConfigurationError, match="other_keys must be a list of keys, got"):
        kind(MemoryStore(), key=KEY, other_keys=bad)


@both
async def test_no_key_is_shown(kind, monkeypatch):
    monkeypatch.setenv("APP_KEY", NEW.hex())
    monkeypatch.setenv("APP_OLD_KEYS", f"{OLD.hex()},{KEY.hex()}")
    name = kind.__name__.removesuffix("Wrapper").lower()
    line = f"memory://?wrap={name}(key_env=APP_KEY,other_keys_env=APP_OLD_KEYS)"
    in_code = kind(MemoryStore(), key=NEW, other_keys=[OLD, KEY])
    from_url = open_store(line)
    assert str(from_url.describe()) == line
    assert str(in_code.describe()) == f"memory://?wrap={name}(key=***,other_keys=***)"
    assert from_url.key_ids == in_code.key_ids
    inline = open_store(f"memory://?wrap={name}(key={NEW.hex()})")
    assert str(inline.describe()) == f"memory://?wrap={name}(key=***)"
    await in_code.put("c", "k", "v")
    for store in (in_code, from_url, inline):
        for shown in (repr(store), str(store.describe()), repr(store.describe()), repr(store.describe().wrappers)):
            assert NEW.hex() not in shown
            assert repr(NEW) not in shown
    monkeypatch.setenv("APP_KEY", NEW.hex()[:-1])
    with pytest.raises(ConfigurationError) as caught:
        open_store(line)
    assert NEW.hex()[:20] not in str(caught.value)


@both
async def test_a_value_that_json_has_no_form_for_is_refused_before_anything_is_sent(kind):
    inner = MemoryStore()
    with pytest.raises(SerializationError, match=r"put of key 'k' in collection 'c' of .*\$\.a\[0\]"):
        await kind(inner, key=KEY).put("c", "k", {"a": [(1,)]})
    with pytest.raises(SerializationError, match=r"\$\.a\[1\]"):
        await kind(inner, key=KEY).put_many("c", {"j": 1, "k": {"a": ["x" * 70_000, (1,)]}})
    assert not [name async for name in inner.collections()]


@both
async def test_large_values_are_worked_on_in_a_thread_and_small_ones_are_not(kind):
    store = kind(MemoryStore(), key=KEY)
    before = tally.calls
    await store.put("c", "k", {"a": [1] * 100})
    await store.get("c", "k")
    assert tally.calls == before
    for value in ("x" * 70_000, b"x" * 70_000):
        before = tally.calls
        await store.put("c", "k", value)
        assert tally.calls == before + 1
        assert await store.get("c", "k") == value
        assert tally.calls == before + 2


@both
async def test_values_are_compressed_before_they_are_sealed(kind):
    inner = MemoryStore()
    store = CompressionWrapper(kind(inner, key=KEY))
    await store.put("c", "k", "the same words " * 1000)
    assert (await store.get_entry("c", "k")).size < 200
    assert await store.get("c", "k") == "the same words " * 1000


def test_importing_the_wrappers_imports_no_package_that_few_need():
    program = "import sys, satchel.wrappers; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "satchel" in done.stdout.split()
    assert not {"cryptography", "backports", "lz4"} & set(done.stdout.split())


@both
def test_it_has_every_capability(kind):
    inner = MemoryStore()
    store = kind(inner, key=KEY)
    assert store.capabilities == inner.capabilities
    assert all(getattr(store, name) == getattr(inner, name) for name in ("delete", "touch", "keys", "exists", "cull"))


@pytest.mark.parametrize("name", SEALED)
async def test_golden_frames_are_read_and_written(name):
    inner = MemoryStore()
    await inner.put(*REF, path_of(name).read_bytes())
    assert identical(await WRAPPERS[name.partition("-")[0]](inner).get(*REF), VALUES[name])
    assert await frame_of(name) == path_of(name).read_bytes()


def test_a_frame_begins_as_the_format_says():
    for name in SEALED:
        magic, number, kind, key_id = struct.unpack_from(">2sBB8s", path_of(name).read_bytes())
        assert magic == (b"\x89E" if name.startswith("encryption") else b"\x89H")
        assert number == 1
        assert kind == (1 if name.endswith("json") else 0)
        assert key_id.hex() == "a3a551859c85e64b"


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=50),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
)
hostile = [value for values in ACCEPTED_VALUES.values() for value in values]
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


@given(
    collection=names,
    items=st.dictionaries(names, json | st.binary(max_size=500) | st.sampled_from(hostile), max_size=5),
    kind=st.sampled_from(BOTH),
)
async def test_every_accepted_value_comes_back_under_every_name(collection, items, kind):
    store = kind(MemoryStore(), key=KEY)
    await store.put_many(collection, items)
    assert identical(await store.get_many(collection, items), items)
