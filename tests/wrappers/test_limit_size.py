import asyncio

import pytest

from satchel import (
    BatchError,
    ConfigurationError,
    InvalidTTLError,
    MemoryStore,
    MessagePackCodec,
    NullStore,
    SerializationError,
    SignedPickleCodec,
    StoreClosedError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from satchel.wrappers import LimitSizeWrapper

# What each takes as JSON.
SIZES = [("é", 4), ("ab", 4), (b"\xff" * 4, 4), (1234, 4), ([1], 3), ({"a": 1}, 7), (None, 4), ("\n", 4)]


@pytest.mark.parametrize(("value", "size"), SIZES)
async def test_encoded_bytes_count_and_the_limit_itself_is_let_in(value, size):
    inner = MemoryStore()
    await LimitSizeWrapper(inner, max_bytes=size).put("c", "k", value)
    assert await inner.get("c", "k") == value
    assert (await inner.get_entry("c", "k")).size == size
    with pytest.raises(ValueTooLargeError, match=f"has {size} bytes, at most {size - 1} are let in"):
        await LimitSizeWrapper(inner, max_bytes=size - 1).put("c", "k", value)


@pytest.mark.parametrize("policy", ["refuse", "skip"])
async def test_what_refuses_names_the_entry_and_leaves_it_as_it_was(policy):
    inner = MemoryStore()
    store = LimitSizeWrapper(inner, max_bytes=5, policy=policy)
    version = await inner.put_if_absent("c", "k", "old")
    calls = [
        lambda: store.put_if_absent("c", "k", "too large"),
        lambda: store.put_if_absent("c", "none", "too large"),
        lambda: store.compare_and_put("c", "k", "too large", version=version),
    ]
    if policy == "refuse":
        calls += [
            lambda: store.put("c", "k", "too large"),
            lambda: store.put_many("c", {"a": 1, "k": "too large"}),
        ]
    for call in calls:
        with pytest.raises(
            ValueTooLargeError, match=r"of key '\w+' in collection 'c' of LimitSize.* 11 bytes"
        ) as caught:
            await call()
        assert "too large" not in str(caught.value)
    assert await inner.get("c", "k") == "old"
    assert [key async for key in inner.keys("c")] == ["k"]


async def test_what_is_skipped_leaves_nothing_not_even_the_old_value():
    inner = MemoryStore()
    store = LimitSizeWrapper(inner, max_bytes=5, policy="skip")
    await store.put_many("c", {"a": "old", "b": "old", "d": "old"})
    await store.put("c", "a", "too large")
    await store.put_many("c", {"b": "too large", "d": "new"})
    assert await store.get_many("c", list("abd")) == {"d": "new"}
    await store.put("c", "never", "too large")
    assert await store.exists("c", "never") is False


@pytest.mark.parametrize("value", ["x", "too large"])
async def test_what_is_not_legal_is_refused_also_where_it_would_be_skipped(value):
    store = LimitSizeWrapper(MemoryStore(), max_bytes=5, policy="skip")
    for call in (
        lambda: store.put("c", "k", value, ttl=-1),
        lambda: store.put_many("c", {"k": value}, ttl=-1),
        lambda: store.put_many("c", {}, ttl=-1),
    ):
        with pytest.raises(InvalidTTLError):
            await call()
    with pytest.raises(SerializationError, match=r"\$\[0\]"):
        await store.put("c", "k", [(value,)])
    await store.aclose()
    with pytest.raises(StoreClosedError):
        await store.put("c", "k", value)
    with pytest.raises(StoreClosedError):
        await store.put_many("c", {"k": value, "l": 1})


async def test_a_batch_of_which_part_cannot_be_written_says_which():
    class Broken(MemoryStore):
        async def _delete(self, refs, now):
            return [StoreUnavailableError("down")] * len(refs)

    store = LimitSizeWrapper(Broken(), max_bytes=5, policy="skip")
    with pytest.raises(BatchError) as caught:
        await store.put_many("c", {"a": 1, "b": "too large"})
    assert list(caught.value.failed) == ["b"]
    assert caught.value.retryable
    assert await store.get("c", "a") == 1


async def test_a_codec_measures():
    codec = SignedPickleCodec(signing_key=b"k" * 32)
    store = LimitSizeWrapper(MemoryStore(codec=codec), max_bytes=100, codec=codec)
    await store.put("c", "k", 1j)
    assert await store.get("c", "k") == 1j
    with pytest.raises(ValueTooLargeError):
        await store.put("c", "k", [1j] * 20)
    with pytest.raises(SerializationError):
        await LimitSizeWrapper(MemoryStore(codec=codec), max_bytes=100).put("c", "k", 1j)
    await LimitSizeWrapper(MemoryStore(), max_bytes=1, codec=MessagePackCodec()).put("c", "k", None)


async def test_other_tasks_run_while_a_batch_is_measured(monkeypatch):
    monkeypatch.setattr("satchel._threads._A_TURN", 0.0)  # each value takes longer
    store, turns = LimitSizeWrapper(NullStore(), max_bytes=10_000), 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await store.put_many("c", {str(number): "x" * 1000 for number in range(4)})
    few = turns
    await store.put_many("c", {str(number): "x" * 1000 for number in range(1600)})
    counting.cancel()
    assert turns - few > 90


def test_what_it_does_not_need_is_the_inner_stores_own():
    inner = MemoryStore()
    store = LimitSizeWrapper(inner, max_bytes=5)
    assert store.capabilities == inner.capabilities
    assert all(getattr(store, name) == getattr(inner, name) for name in ("get", "get_many", "delete", "touch", "keys"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 0}, "max_bytes must be an int of at least 1, got 0"),
        ({"max_bytes": True}, "max_bytes must be an int"),
        ({"max_bytes": 1.5}, "max_bytes must be an int"),
        ({"max_bytes": 1, "policy": "skipp"}, "unknown policy; did you mean 'skip'"),
        ({"max_bytes": 1, "policy": ["skip"]}, "policy must be one of refuse, skip, got list"),
        ({"max_bytes": 1, "codec": "json"}, "codec must be a satchel Codec"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        LimitSizeWrapper(MemoryStore(), **options)
