import random
import sys
import zlib
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    BatchError,
    ConfigurationError,
    IntegrityError,
    MemoryStore,
    MissingExtraError,
    SerializationError,
    SignedPickleCodec,
    open_store,
)
from satchel._threads import tally
from satchel.testing.conformance.cases import ACCEPTED_VALUES, identical
from satchel.wrappers import CompressionWrapper
from tests.golden.wrappers.frames import REF, VALUES, WRAPPERS, documented, path_of

ALGORITHMS = ["zstd", "gzip", "lz4"]
TEXT = "the same words over and over, " * 200
NOISE = random.Random(5).randbytes(5000)
GOLDEN = [name for name in VALUES if not name.startswith(("encryption", "signing"))]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("value", [TEXT, TEXT.encode(), {"text": TEXT, "list": [1, 2.5, None]}])
async def test_large_values_take_less(algorithm, value):
    inner = MemoryStore()
    store = CompressionWrapper(inner, algorithm=algorithm)
    await store.put("c", "k", value)
    kept = await inner.get("c", "k")
    assert type(kept) is bytes
    assert len(kept) < 500
    assert (await store.get_entry("c", "k")).size == len(kept)
    assert identical(await store.get("c", "k"), value)
    assert identical(await store.get_many("c", ["k"]), {"k": value})
    assert identical((await store.get_entries("c", ["k"]))["k"].value, value)


@pytest.mark.parametrize("value", [None, 0, "short", [1.5], {"__compressed__": True, "data": "eJw"}, "\N{SNOWMAN}"])
async def test_what_is_small_and_no_bytes_stays_as_it_is(value):
    inner = MemoryStore()
    await CompressionWrapper(inner, threshold=500).put("c", "k", value)
    assert identical(await inner.get("c", "k"), value)


@pytest.mark.parametrize("value", [b"", b"short", NOISE, b"\x89C\x01\x00\x00", zlib.compress(TEXT.encode())])
async def test_bytes_that_do_not_get_smaller_are_stored_in_a_frame(value):
    inner = MemoryStore()
    store = CompressionWrapper(inner, threshold=1)
    await store.put("c", "k", value)
    kept = await inner.get("c", "k")
    assert kept.startswith(b"\x89C")
    assert kept.endswith(value)
    assert len(kept) == len(value) + 17
    assert await store.get("c", "k") == value


async def test_json_that_does_not_get_smaller_stays_as_it_is():
    inner = MemoryStore()
    await CompressionWrapper(inner, threshold=1).put("c", "k", [1, 2, 3])
    assert await inner.get("c", "k") == [1, 2, 3]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_frame_that_a_user_puts_comes_back_as_it_is(algorithm):
    inner = MemoryStore()
    store = CompressionWrapper(inner, algorithm=algorithm)
    value = TEXT
    for _ in range(4):
        await store.put("c", "k", value)
        assert identical(await store.get("c", "k"), value)
        value = await inner.get("c", "k")
        assert type(value) is bytes


@pytest.mark.parametrize("value", ["x" * 498, b"x" * 500])
async def test_the_threshold_is_compressed_and_less_is_not(value):
    inner = MemoryStore()
    await CompressionWrapper(inner, threshold=500).put("c", "k", value)
    assert len(await inner.get("c", "k")) < 60
    await CompressionWrapper(inner, threshold=501).put("c", "k", value)
    assert len(await inner.get("c", "k")) >= 498


async def test_every_algorithm_and_level_is_read_by_every_other():
    inner = MemoryStore()
    wrote = [
        CompressionWrapper(inner, algorithm=algorithm, level=level)
        for algorithm, levels in {"zstd": (-7, 1, 22), "gzip": (1, 9), "lz4": (0, 16)}.items()
        for level in levels
    ]
    for number, store in enumerate(wrote):
        await store.put("c", str(number), [TEXT, number])
    for algorithm in ALGORITHMS:
        store = CompressionWrapper(inner, algorithm=algorithm)
        assert [await store.get("c", str(number)) for number in range(len(wrote))] == [
            [TEXT, number] for number in range(len(wrote))
        ]


async def test_another_algorithm_is_imported_in_a_worker_thread():
    inner = MemoryStore()
    await CompressionWrapper(inner, algorithm="lz4").put("c", "k", TEXT)
    store = CompressionWrapper(inner)
    for calls in (1, 0):
        before = tally.calls
        assert await store.get("c", "k") == TEXT
        assert tally.calls == before + calls


async def test_a_value_that_unpacks_to_much_is_decoded_in_a_worker_thread():
    store = CompressionWrapper(MemoryStore())
    await store.put("c", "large", "x" * 1_000_000)
    await store.put("c", "small", TEXT)
    assert (await store.get_entry("c", "large")).size < 200
    before = tally.calls
    assert await store.get("c", "small") == TEXT
    assert tally.calls == before
    assert len(await store.get("c", "large")) == 1_000_000
    assert tally.calls == before + 1


@pytest.mark.parametrize("value", [TEXT * 3, TEXT.encode() * 3])
async def test_a_slow_level_goes_to_a_worker_thread_sooner(value):
    for level, calls in {3: 0, 12: 0, 13: 1, 19: 1}.items():
        before = tally.calls
        store = CompressionWrapper(MemoryStore(), level=level)
        await store.put("c", "k", value)
        assert tally.calls == before + calls
        assert await store.get("c", "k") == value
        assert tally.calls == before + calls


async def test_a_value_beyond_max_size_is_put_without_being_compressed():
    inner = MemoryStore()
    store = CompressionWrapper(inner, max_size=6001)
    for value in (TEXT.encode(), TEXT.encode() + b"ab"):
        await store.put("c", "k", value)
        assert await store.get("c", "k") == value
        assert (await store.get_entry("c", "k")).size < 300 or len(value) > 6001
    assert await inner.get("c", "k") == (await inner.get("c", "k"))[:17] + value
    await store.put("c", "k", TEXT * 2)
    assert await inner.get("c", "k") == TEXT * 2


@pytest.mark.parametrize(
    ("modules", "algorithm", "package"),
    [(["lz4"], "lz4", "lz4"), (["backports", "compression"], "zstd", "backports.zstd")],
)
async def test_a_missing_package_is_named_with_its_extra_when_it_is_needed(monkeypatch, modules, algorithm, package):
    inner = MemoryStore()
    await CompressionWrapper(inner, algorithm=algorithm).put("c", "k", TEXT)
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    message = rf'CompressionWrapper needs {package}, .* pip install "satchel\[compression\]"'
    with pytest.raises(MissingExtraError, match=message):
        CompressionWrapper(inner, algorithm=algorithm)
    store = CompressionWrapper(inner, algorithm="gzip")
    with pytest.raises(MissingExtraError, match=rf"get of key 'k' in collection 'c' of .*{message}"):
        await store.get("c", "k")


async def test_a_module_called_compression_is_not_in_the_way(monkeypatch):
    if sys.version_info < (3, 14):  # after that, the name is the standard library's
        monkeypatch.setitem(sys.modules, "compression", ModuleType("compression"))
    store = CompressionWrapper(MemoryStore())
    await store.put("c", "k", TEXT)
    assert await store.get("c", "k") == TEXT


async def test_what_the_inner_store_refuses_is_refused_and_what_its_codec_keeps_is_kept():
    store = CompressionWrapper(MemoryStore(), threshold=1)
    for value in ({"a": [(1,)]}, {"a": [TEXT * 50, (1,)]}):
        with pytest.raises(SerializationError, match=r"put of key 'k' in collection 'c' of MemoryStore.*\$\.a\["):
            await store.put("c", "k", value)
    store = CompressionWrapper(MemoryStore(codec=SignedPickleCodec(signing_key=b"k" * 32)), threshold=1)
    await store.put("c", "k", (1j, TEXT))
    assert await store.get("c", "k") == (1j, TEXT)


async def test_a_batch_with_a_damaged_entry_says_which():
    inner = MemoryStore()
    store = CompressionWrapper(inner)
    await store.put_many("c", {"a": TEXT, "b": TEXT})
    await inner.put("c", "b", (await inner.get("c", "b"))[:-1])
    with pytest.raises(BatchError) as caught:
        await store.get_many("c", ["a", "b"])
    assert list(caught.value.failed) == ["b"]
    assert type(caught.value.failed["b"]) is IntegrityError


async def test_a_url_makes_one_and_it_says_what_it_is():
    store = open_store("memory://?wrap=compression(algorithm=gzip,level=9,threshold=10,max_size=1000)")
    await store.put("c", "k", "x" * 100)
    assert await store.get("c", "k") == "x" * 100
    assert str(store.describe()) == "memory://?wrap=compression(algorithm=gzip,level=9,threshold=10,max_size=1000)"
    with pytest.raises(ConfigurationError, match="option 'algorithm' must be 'zstd' or 'gzip' or 'lz4'"):
        open_store("memory://?wrap=compression(algorithm=zip)")


def test_it_has_every_capability_and_changes_no_name():
    inner = MemoryStore()
    store = CompressionWrapper(inner)
    assert store.capabilities == inner.capabilities
    assert all(getattr(store, name) == getattr(inner, name) for name in ("delete", "touch", "keys", "exists", "cull"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "zst"}, "unknown algorithm; did you mean 'zstd'"),
        ({"algorithm": None}, "algorithm must be one of gzip, lz4, zstd, got NoneType"),
        ({"level": 23}, "level must be an int from -7 to 22 for zstd, got 23"),
        ({"level": True}, "level must be an int"),
        ({"algorithm": "gzip", "level": 0}, "level must be an int from 1 to 9 for gzip, got 0"),
        ({"algorithm": "lz4", "level": "1"}, "level must be an int from 0 to 16 for lz4"),
        ({"threshold": 0}, "threshold must be an int of at least 1, got 0"),
        ({"max_size": 1.5}, "max_size must be an int of at least 1, got 1.5"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        CompressionWrapper(MemoryStore(), **options)


@pytest.mark.parametrize("name", GOLDEN)
async def test_golden_frames_are_read(name):
    inner = MemoryStore()
    await inner.put(*REF, path_of(name).read_bytes())
    store = WRAPPERS[name.partition("-")[0]](inner)
    assert identical(await store.get(*REF), VALUES[name])
    # A name is no part of these frames: an entry can be renamed beneath.
    await inner.put("other", "name", path_of(name).read_bytes())
    assert identical(await store.get("other", "name"), VALUES[name])


async def test_the_frame_in_the_documentation_is_made():
    inner = MemoryStore()
    await CompressionWrapper(inner).put("c", "k", b"\x89C abc")
    assert await inner.get("c", "k") == documented("89 43")


def test_every_golden_frame_is_known():
    assert {path.stem for path in path_of("x").parent.glob("*.bin")} == set(VALUES)


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=50),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner),
)
hostile = [value for values in ACCEPTED_VALUES.values() for value in values]


@given(
    values=st.lists(json | st.binary(max_size=500) | st.sampled_from(hostile), min_size=1, max_size=5),
    algorithm=st.sampled_from(ALGORITHMS),
    threshold=st.sampled_from([1, 20, 1000]),
)
async def test_every_accepted_value_comes_back(values, algorithm, threshold):
    store = CompressionWrapper(MemoryStore(), algorithm=algorithm, threshold=threshold)
    items = {str(number): value for number, value in enumerate(values)}
    await store.put_many("c", items)
    assert identical(await store.get_many("c", items), items)
