"""Arrays and frames as content: by HDF5 and by pickles."""

import asyncio
import io
import json
import tracemalloc

import pytest

from satchel import IntegrityError, MemoryStore, MissingExtraError, SerializationError, ValueTooLargeError
from satchel.content import ContentStore, digest
from satchel.content.records import HDF5, pack_leaf

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")
h5py = pytest.importorskip("h5py")

KEY = b"k" * 32
ARRAYS = [
    numpy.arange(6).reshape(2, 3),
    numpy.asfortranarray(numpy.ones((2, 3), dtype=">f4")),
    numpy.array([[True], [False]]),
    numpy.array([1 + 2j, float("nan")]),
    numpy.array(5, dtype="u1"),
    numpy.zeros((0, 3), dtype="f2"),
    numpy.array(["a", "büro", ""]),
    numpy.array("text", dtype=">U9"),
    numpy.array([b"ab", b"c\x00d"]),
    numpy.array(["2026-01-01", "NaT"], dtype="M8[ns]"),
    numpy.array([[1, 2]], dtype="m8[s]"),
    numpy.arange(10)[::2],
]
SCALARS = [
    *(numpy.float32(1.5), numpy.float64("nan"), numpy.int8(-3), numpy.bool_(True), numpy.complex64(1j)),
    *(numpy.datetime64("2026-01-01"), numpy.timedelta64(3, "h"), numpy.str_("ü"), numpy.bytes_(b"a")),
    *(numpy.str_(""), numpy.bytes_(b"")),
]
NESTED = [
    {"weights": [numpy.ones(3), numpy.zeros(2)], "n": (numpy.float64(2), 1, None, "text", float("inf"), 2j)},
    {(1, "a"): numpy.arange(2), 2: []},
]


def is_equal(one, other):
    if isinstance(one, (numpy.ndarray, numpy.generic)):
        one, other = numpy.asarray(one), numpy.asarray(other)
        return one.dtype == other.dtype and one.shape == other.shape and repr(one) == repr(other)
    return repr(one) == repr(other)


@pytest.mark.parametrize("leaf", ["hdf5", "pickle"])
@pytest.mark.parametrize("depth", [0, 2])
async def test_arrays_come_back_equal(leaf, depth):
    content = ContentStore(MemoryStore(), leaf=leaf, keys=[KEY], depth=depth)
    for value in [*ARRAYS, *SCALARS, *NESTED]:
        loaded = await content.load(await content.save(value))
        assert type(loaded) is type(value)
        assert is_equal(loaded, value), value


@pytest.mark.parametrize(
    "value", [numpy.str_("a\0"), numpy.bytes_(b"a\0"), numpy.str_("\ud800"), numpy.str_(""), numpy.bytes_(b"")]
)
async def test_text_comes_back_with_the_zeros_at_its_end(value):
    content = ContentStore(MemoryStore(), leaf="hdf5")
    loaded = await content.load(await content.save(value))
    assert (type(loaded), len(loaded), bytes(numpy.asarray(loaded))) == (
        type(value),
        len(value),
        bytes(numpy.asarray(value)),
    )


async def test_a_path_shows_no_key_that_may_be_secret():
    content = ContentStore(MemoryStore(), leaf="hdf5", depth=0)
    for key, path in (("name", "$.name"), ("Ada's token", "$[...]"), (7, "$[...]"), ("n" * 41, "$[...]")):
        with pytest.raises(SerializationError) as caught:
            await content.save({key: {numpy.float64(1)}})
        assert str(caught.value).startswith(f"{path}: HDF5 does not keep set")


async def test_numbers_beside_arrays_take_little_room():
    content = ContentStore(MemoryStore(), leaf="hdf5", depth=0)
    value = {"weights": numpy.ones(3), "history": [number / 7 for number in range(1000)], "end": float("inf")}
    saved = await content.save(value)
    assert repr(await content.load(saved)) == repr(value)
    assert len(await content.store.get("content", saved)) < 40_000


async def test_frames_come_back_equal():
    content = ContentStore(MemoryStore(), leaf="pickle", keys=[KEY])
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "c": pandas.to_datetime(["2026-01-01", None])})
    loaded = await content.load(await content.save({"frame": frame, "series": frame["a"]}))
    pandas.testing.assert_frame_equal(loaded["frame"], frame)
    pandas.testing.assert_series_equal(loaded["series"], frame["a"])


@pytest.mark.parametrize(
    "value", [numpy.array([None]), numpy.zeros(2, dtype="i4,f8"), numpy.longdouble(1), {1, 2}, [object]]
)
async def test_what_hdf5_does_not_keep_is_refused_by_its_path(value):
    content = ContentStore(MemoryStore(), leaf="hdf5", depth=0)
    with pytest.raises((SerializationError, ValueError), match=r"\$"):
        await content.save({"a": value, 1: 2})


async def test_arrays_that_are_held_many_times_over_are_refused_at_once():
    value = [numpy.arange(3)]
    for _ in range(60):
        value = [value, value]
    content = ContentStore(MemoryStore(), leaf="hdf5")
    with pytest.raises(ValueTooLargeError, match="larger depth"):
        await asyncio.wait_for(content.save(value), 20)
    content = ContentStore(MemoryStore(), leaf="hdf5", depth=64)
    assert await content.save(value) == digest(value)


async def test_an_array_that_was_changed_in_the_store_is_noticed():
    content = ContentStore(MemoryStore(), leaf="hdf5")
    saved, other = await content.save(numpy.arange(3)), await content.save(numpy.arange(4))
    frame = await content.store.get("content", other)
    for damaged in (frame, frame[:-100], frame[:5] + b"x" + frame[6:], frame[:5]):
        await content.store.put("content", saved, damaged)
        with pytest.raises(IntegrityError, match=saved):
            await content.load(saved)


async def test_arrays_need_a_form_of_leaves():
    with pytest.raises(SerializationError, match="ndarray"):
        await asyncio.wait_for(ContentStore(MemoryStore()).save(numpy.arange(3)), 60)


def test_a_missing_driver_is_told_when_the_store_is_made(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"satchel\[hdf5\]"):
        ContentStore(MemoryStore(), leaf="hdf5")


def test_an_array_has_one_digest_in_every_form():
    assert digest(ARRAYS[0]) == digest(numpy.asfortranarray(ARRAYS[0]))


def file_with(structure, **datasets):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, data in datasets.items():
            file.create_dataset(name.strip("_"), **(data if type(data) is dict else {"data": data}))
        file.create_dataset("structure", data=numpy.frombuffer(json.dumps(structure).encode(), "u1"))
    return buffer.getvalue()


HOSTILE = {
    "a number": file_with(7),
    "a text": file_with("array"),
    "a list": file_with([1]),
    "no file at all": b"rubbish",
    "no dataset": file_with({"array": "/", "dtype": "<i4"}),
    "the structure as text": file_with({"array": "1", "dtype": "<i4"}, _1="text"),
    "another dtype": file_with({"array": "0", "dtype": "S99999999"}, _0=numpy.arange(3)),
    "a dtype of objects": file_with({"array": "0", "dtype": "O"}, _0=numpy.arange(3)),
    "code points that are none": file_with({"array": "0", "dtype": "<U2"}, _0=numpy.array([2**31, 1], "u4")),
    "more than the file holds": file_with({"array": "0", "dtype": "|u1"}, _0={"shape": (1 << 36,), "dtype": "u1"}),
    "chunks": file_with({"array": "0", "dtype": "|u1"}, _0={"shape": (1 << 36,), "dtype": "u1", "chunks": (1024,)}),
    "one dataset twice": file_with({"list": [{"array": "0", "dtype": "<i8"}] * 2}, _0=numpy.arange(3)),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
async def test_an_hdf5_file_that_nobody_wrote_is_damaged(name):
    content = ContentStore(MemoryStore(), leaf="hdf5")
    await content.store.put("content", digest(1), pack_leaf(HDF5, HOSTILE[name]))
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError, match="is damaged"):
            await content.load(digest(1))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


async def test_an_hdf5_file_reads_no_other_file(tmp_path):
    (tmp_path / "secret").write_bytes(b"1234")
    outside = {"shape": (4,), "dtype": "u1", "external": [(bytes(tmp_path / "secret"), 0, 4)]}
    content = ContentStore(MemoryStore(), leaf="hdf5")
    saved = digest(numpy.frombuffer(b"1234", "u1"))
    frame = pack_leaf(HDF5, file_with({"array": "0", "dtype": "|u1"}, _0=outside))
    await content.store.put("content", saved, frame)
    with pytest.raises(IntegrityError, match="is damaged"):
        await content.load(saved)
