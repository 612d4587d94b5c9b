"""`ContentStore`: values under their digests, taken apart and put together."""

import asyncio
import datetime as dt
import math
import pickle
import re
import sys
import threading
import types
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    Capability,
    ConfigurationError,
    DigestError,
    IntegrityError,
    InvalidKeyError,
    KeyMissingError,
    MemoryStore,
    SerializationError,
    UnsupportedOperationError,
    ValueTooLargeError,
)
from satchel.content import ContentStore, Digest, digest, register_destructurer
from satchel.content.records import JSON, PICKLE, Shape, pack_leaf, pack_node
from satchel.content.shortening import Shortener
from satchel.sync import SyncStore, in_sync
from satchel.testing import FakeClock
from satchel.testing.conformance.suite import listed
from tests.content import values
from tests.content.values import Frozen, Guarded, Lazy, Matrix, Pair, Point, Sized
from tests.scripted import BatchStore

KEY, OLD_KEY = b"k" * 32, b"o" * 32

VALUES = [
    *(None, True, 0, -0.0, 1.5, "text", "", b"", b"\x00raw", [], (), {}),
    [1, [2, [3, (4,)]], "a", b"b"],
    {"a": 1, "b": {"c": (1, 2)}},
    {1: "a", (1, 2): [3], None: b""},
    Point(1, [Point(2, (3,)), Point(2, (3,))]),
    Frozen("a", [1, (2,)]),
    Sized(1, {"k": (1,)}),
    Pair(1, [Pair("a", ())]),
    [1, 1.0, True, "1"],
]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def content(store, clock):
    return ContentStore(store, clock=clock)


def with_pickles(store, **options):
    return ContentStore(store, leaf="pickle", keys=[KEY], **options)


async def stored(store):
    return await listed(store.keys("content"))


# Saving and loading.


@pytest.mark.parametrize("leaf", ["json", "pickle", "hdf5"])
@pytest.mark.parametrize("depth", [0, 1, 2, 100])
async def test_values_come_back_with_their_types_at_every_depth(store, leaf, depth):
    content = ContentStore(store, leaf=leaf, keys=[KEY], depth=depth)
    for value in VALUES:
        saved = await content.save(value)
        assert saved == digest(value)
        loaded = await content.load(saved)
        assert loaded == value
        assert type(loaded) is type(value)
        assert repr(loaded) == repr(value)


@pytest.fixture
def refused():
    made = object.__new__(Point)
    vars(made).update(x="refused", y=None)
    return made


async def test_a_load_calls_no_init(content, refused):
    assert (await content.load(await content.save([refused])))[0].x == "refused"


async def test_each_depth_stores_other_parts_under_the_same_root(clock):
    value, counts = [[1, 2], [3, [4]]], []
    for depth in range(4):
        store = MemoryStore(clock=clock)
        assert await ContentStore(store, depth=depth).save(value) == digest(value)
        counts.append(len(await stored(store)))
    assert counts == [1, 3, 7, 8]


async def test_equal_parts_are_stored_once(content, store):
    await content.save([{"n": number % 3} for number in range(100)])
    assert len(await stored(store)) == 4


async def test_parts_that_json_does_not_keep_are_taken_apart_further(content, store):
    value = {"a": [1, (2, Point(3, b"4"))]}
    assert await content.load(await content.save(value)) == value
    assert digest(b"4") in await stored(store)


async def test_equal_parts_of_a_loaded_value_are_not_one_object(content):
    first, second = await content.load(await content.save([{"n": []}, {"n": []}]))
    first["n"].append(1)
    assert second == {"n": []}


async def test_an_object_of_a_generic_class_comes_back(content):
    box = values.Box[int](1)
    loaded = await content.load(await content.save(box))
    assert loaded == box
    assert vars(loaded) == {"content": 1}


async def test_a_load_calls_no_property(content):
    value = Guarded(10)
    saved = await content.save(value)
    assert saved == digest(value)
    before = Guarded.sets
    assert (await content.load(saved)).size == 10
    assert Guarded.sets == before


async def test_a_field_that_is_a_property_stays_one(content):
    loaded = await content.load(await content.save(Guarded(10)))
    assert vars(loaded) == {"_half": 5}
    loaded.size = 20
    assert digest(loaded) == digest(Guarded(20))


async def test_a_forged_attribute_calls_no_property(content, store):
    saved = await content.save(Guarded(10))
    forged = pack_node(Shape(type="object", cls="tests.content.values:Guarded", keys=("size",)), [digest(5)])
    await content.save(5)
    await store.put("content", saved, forged)
    before = Guarded.sets
    with pytest.raises(IntegrityError):
        await content.load(saved)
    assert Guarded.sets == before


async def test_what_a_property_has_cached_is_not_stored(content):
    value = Lazy(2)
    assert value.double == 4
    assert vars(await content.load(await content.save(value))) == {"n": 2}


async def test_a_list_that_changed_in_one_place_writes_what_changed():
    content = ContentStore(BatchStore())
    rows = [{"row": number} for number in range(1000)]
    await content.save(rows)
    rows[500] = {"row": "other"}
    content.store.server.calls.clear()
    await content.save(rows)
    written = [len(refs) for kind, refs in content.store.server.calls if kind in ("write", "put_if")]
    assert written == [1, 1]
    assert len([1 for kind, _ in content.store.server.calls if kind == "read"]) <= 6


async def test_a_value_nested_in_itself_and_one_without_end_are_refused_before_any_io(content, store):
    loop = [1]
    loop.append(loop)
    with pytest.raises(DigestError, match="holds itself"):
        await content.save({"a": [loop]})
    with pytest.raises(DigestError, match=r"\$\.a\[1\]"):
        await content.save({"a": [1, object()]})
    assert await listed(store.collections()) == []


async def test_a_value_that_holds_one_part_many_times_over_takes_no_longer():
    value = [1]
    for _ in range(40):
        value = [value, value]
    content = ContentStore(MemoryStore(), depth=60)
    saved = await content.save(value)
    assert saved == digest(value)
    assert len(await stored(content.store)) == 42
    assert await content.contains(saved)
    with pytest.raises(SerializationError, match=r"10,000,000.*child_digests"):
        await asyncio.wait_for(content.load(saved), 20)


def doubled(value, times):
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize("depth", [0, 1, 5])
async def test_a_part_that_would_be_stored_whole_many_times_over_is_refused_before_any_io(store, depth, monkeypatch):
    if depth != 1:
        monkeypatch.setattr("satchel.codec._UNCOUNTED", 100_000)
    content = ContentStore(store, depth=depth)
    value = {"a": {"b": doubled([], 60)}} if depth else doubled([], 60)
    with pytest.raises(ValueTooLargeError, match=r"more than 1,073,741,824 bytes.*larger depth.*pickle"):
        await asyncio.wait_for(content.save(value), 20)
    assert await listed(store.collections()) == []
    assert await ContentStore(store, depth=64).save(value) == digest(value)


async def test_a_pickle_holds_a_part_once_that_is_held_many_times_over(store, monkeypatch):
    monkeypatch.setattr("satchel.codec._UNCOUNTED", 100_000)
    content = ContentStore(store, leaf="pickle", keys=[KEY])
    loaded = await content.load(await content.save([doubled([], 60)]))
    assert loaded[0][0] is loaded[0][1]


async def test_large_parts_are_not_loaded_more_often_than_memory_takes(content):
    text = "x" * 2**20
    parts = [await content.save([text, number]) for number in range(2)]
    saved = await content.save(parts * 550)
    with pytest.raises(SerializationError, match=r"1,073,741,824 bytes.*child_digests"):
        await content.load(saved)
    assert await content.contains(saved)
    assert await content.load(await content.save(parts * 2)) == [[text, 0], [text, 1]] * 2


async def test_operations_take_as_many_requests_as_documented():
    content = ContentStore(BatchStore())
    await content.save(0)
    costs = {}

    async def cost(name, work):
        content.store.server.calls.clear()
        result = await work
        costs[name] = len(content.store.server.calls)
        return result

    await cost("save leaf", content.save("new"))
    rows = [{"row": number} for number in range(1000)]
    saved = await cost("save list", content.save(rows))
    rows[0] = "changed"
    await cost("save changed list", content.save(rows))
    await cost("load leaf", content.load(digest("new")))
    await cost("load list", content.load(saved))
    assert costs == {"save leaf": 2, "save list": 8, "save changed list": 6, "load leaf": 1, "load list": 4}


def test_it_works_without_await():
    with SyncStore("memory://") as store:
        content = in_sync(ContentStore(store.inner), store)
        saved = content.save([1, (2,)])
        content.pin(saved)
        assert content.load(content.expand(saved[:8])) == [1, (2,)]
        assert content.gc().kept == 4


# Digests as parts.


async def test_a_digest_stands_for_what_is_saved_under_it(content, store):
    part = await content.save([1, (2,)])
    whole = await content.save({"part": part, "n": 1})
    assert whole == digest({"part": [1, (2,)], "n": 1})
    assert await content.load(whole) == {"part": [1, (2,)], "n": 1}
    assert await content.save(part) == part


async def test_a_digest_of_what_is_not_there_is_refused(content):
    gone = digest("gone")
    for value in (gone, [gone], {"a": [gone]}):
        with pytest.raises(KeyMissingError, match=gone):
            await content.save(value)


async def test_a_pickle_never_holds_a_digest(store):
    content = with_pickles(store, depth=0)
    part = await content.save({1, 2})
    saved = await content.save([part, {3}])
    assert await content.load(saved) == [{1, 2}, {3}]
    with pytest.raises(SerializationError, match="Digest"):
        await content.save({part})


# Forms that are stored already.


async def test_what_is_stored_whole_stays_whole(store, clock):
    flat, deep = ContentStore(store, depth=0, clock=clock), ContentStore(store, depth=2, clock=clock)
    value = [[1, 2], [3]]
    saved = await flat.save(value)
    await deep.save(value)
    assert await deep.child_digests(saved) == ()
    assert await flat.load(saved) == value


async def test_what_is_stored_in_parts_stays_in_parts_and_all_of_them_are_kept(store, clock):
    flat, deep = ContentStore(store, depth=0, clock=clock), ContentStore(store, depth=1, clock=clock)
    value = [[1, 2], [3]]
    saved = await deep.save(value)
    await deep.evict(digest([3]))
    assert not await flat.contains(saved)
    await flat.save(value)
    assert await flat.load(saved) == value
    assert await flat.child_digests(saved) == (digest([1, 2]), digest([3]))


async def test_a_save_mends_what_is_damaged(store, content):
    saved = await content.save([[1], [2]])
    await store.put("content", saved, b"rubbish")
    await store.put("content", digest([1]), b"SCV1")
    await content.save([[1], [2]])
    assert await content.load(saved) == [[1], [2]]


# Classes.


async def test_a_class_that_has_gone_is_named(content, monkeypatch):
    saved = await content.save(Point(1, 2))
    monkeypatch.delattr(values, "Point")
    with pytest.raises(SerializationError, match=r"class Point is not in module tests\.content\.values"):
        await content.load(saved)


async def test_a_module_is_not_imported_by_a_load(content, store, monkeypatch):
    saved = await content.save(Point(1, 2))
    monkeypatch.delitem(sys.modules, "tests.content.values")
    with pytest.raises(SerializationError, match=r"tests\.content\.values, which is not imported"):
        await content.load(saved)
    assert "tests.content.values" not in sys.modules


@pytest.mark.parametrize("name", ["subprocess:Popen", "os:system", "builtins:dict", "builtins:object", "os:", ":", "x"])
async def test_a_forged_record_makes_no_object_of_another_class(content, store, name):
    for kind in ("object", "named_tuple"):
        saved = digest("forged")
        await store.put("content", digest(1), pack_leaf(JSON, b"1"))
        await store.put("content", saved, pack_node(Shape(type=kind, cls=name, keys=("args",)), [digest(1)]))
        with pytest.raises((SerializationError, IntegrityError)):
            await content.load(saved)


async def test_a_class_inside_of_a_function_has_no_place(content):
    @values.dataclass
    class Local:
        n: int

    with pytest.raises((SerializationError, DigestError), match="Local"):
        await content.save(Local(1))


# Destructurers.


@pytest.fixture
def matrices():
    from satchel.content import destructuring  # noqa: PLC0415  # to forget what a test registers

    before = dict(destructuring._registered)
    register_destructurer(values.is_matrix, values.split_matrix, values.matrix_of)
    yield destructuring._registered
    destructuring._registered.clear()
    destructuring._registered.update(before)


async def test_values_of_a_registered_kind_are_taken_apart(content, store, matrices):
    matrix = Matrix([[1, 2], [3, (4,)]])
    saved = await content.save(matrix)
    assert saved == digest(matrix)
    assert await content.load(saved) == matrix
    assert await content.child_digests(saved) == (digest(matrix.rows),)


async def test_a_kind_that_is_not_registered_is_named(content, matrices):
    saved = await content.save(Matrix([1]))
    matrices.clear()
    with pytest.raises(SerializationError, match=r"tests\.content\.values:matrix_of"):
        await content.load(saved)
    with pytest.raises(SerializationError):
        await content.save(Matrix([2]))


async def test_a_join_that_makes_something_else_is_noticed(content, matrices, monkeypatch):
    saved = await content.save(Matrix([1]))
    monkeypatch.setattr(values, "Matrix", lambda rows: [rows])
    with pytest.raises(IntegrityError, match=saved):
        await content.load(saved)


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(ConfigurationError, match="split"):
        register_destructurer(values.is_matrix, None, values.matrix_of)
    with pytest.raises(ConfigurationError, match="top level"):
        register_destructurer(values.is_matrix, values.split_matrix, lambda parts: parts)


# Pickles.


async def test_pickles_keep_what_json_does_not(store):
    content = with_pickles(store)
    for value in [{1, 2}, dt.date(2026, 1, 2), [2**70, 1j], Lazy(1), {"a": float("inf")}]:
        assert await content.load(await content.save(value)) == value


@pytest.mark.parametrize("make", [lambda view: view, lambda view: {"views": {view}}])
async def test_a_memoryview_which_cloudpickle_would_change_is_refused(store, make):
    content = with_pickles(store)
    with pytest.raises(SerializationError, match="a pickle cannot hold a memoryview; give its bytes"):
        await content.save(make(memoryview(b"view")))
    assert [key async for key in store.keys("content")] == []


async def test_functions_are_pickled_by_cloudpickle(store):
    content = with_pickles(store)
    saved = await content.save({"f": double})
    assert (await content.load(saved))["f"](4) == 8
    factor = 3
    saved = await content.save([lambda n: n * factor])
    assert (await content.load(saved))[0](4) == 12


def double(number):
    return 2 * number


async def test_only_a_pickle_that_was_signed_for_the_digest_is_unpickled(store, monkeypatch):
    content = with_pickles(store, depth=0)
    saved, other = await content.save({1}), await content.save({2})
    monkeypatch.setattr(pickle, "loads", None)  # or it would raise another error
    frame, other_frame = await store.get("content", saved), await store.get("content", other)
    forged = [
        other_frame,
        frame[:-1],
        frame[:-1] + b"\x00",
        pack_leaf(PICKLE, pickle.dumps({1})),
        pack_leaf(PICKLE, b""),
    ]
    for bad in forged:
        await store.put("content", saved, bad)
        with pytest.raises(IntegrityError, match="not unpickled"):
            await content.load(saved)


async def test_keys_are_rotated(store, clock):
    old = ContentStore(store, leaf="pickle", keys=[OLD_KEY], clock=clock)
    saved = await old.save({1})
    both = ContentStore(store, leaf="pickle", keys=[KEY, OLD_KEY], clock=clock)
    assert await both.load(saved) == {1}
    new = with_pickles(store, clock=clock)
    with pytest.raises(IntegrityError, match="none of those given"):
        await new.load(saved)
    await both.save({1})
    assert await new.load(saved) == {1}
    with pytest.raises(SerializationError, match="keys="):
        await ContentStore(store).load(saved)


def test_pickles_need_a_key(store):
    for keys in (None, [], ""):
        with pytest.raises(ConfigurationError, match="keys="):
            ContentStore(store, leaf="pickle", keys=keys)
    with pytest.raises(ConfigurationError) as refused:
        ContentStore(store, leaf="pickle", keys=["hush and short"])
    assert "hush" not in str(refused.value)


async def test_without_pickles_the_refusal_names_the_part(content, store):
    with pytest.raises(SerializationError, match="set"):
        await content.save([{"a": {1}}])
    assert await listed(store.collections()) == []


def pickles_that_tell_their_thread():
    def loads(pickled):
        Slow.thread = threading.get_ident()
        return pickle.loads(pickled)

    return types.SimpleNamespace(loads=loads)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": 2**70}]}, "$.a[1].b: an int beyond 64 bits"),
        ([(1, Point(1, [{1}]))], "$[0][1].y[0]: a set"),
        ({1: "a", 2: float("nan")}, "$[...]: a float"),
        ({"not a name": [float("nan")]}, "$[...][0]: a float"),
        (Pair(1, {2}), "$.right: a set"),
        ({3}, "$: a set"),
    ],
)
async def test_a_part_that_cannot_be_stored_is_named_by_its_path(content, store, value, path):
    for depth in (0, 1, 3):
        with pytest.raises(SerializationError, match=f"^{re.escape(path)}.*leaf=.pickle"):
            await ContentStore(store, depth=depth).save(value)
    assert await listed(store.collections()) == []


async def test_a_refusal_says_what_helps_here(content):
    with pytest.raises(SerializationError) as caught:
        await content.save([dt.date(2026, 1, 2)])
    assert str(caught.value) == (
        "$[0]: a date would not come back unchanged; convert it to JSON values or bytes, "
        'or give ContentStore leaf="pickle" and keys'
    )


async def test_a_value_of_too_many_levels_is_refused_and_its_parts_can_be_loaded(content):
    saved = [await content.save([])]
    for _ in range(12):
        value = saved[-1]
        for _ in range(90):
            value = [value]
        saved.append(await content.save(value))
    with pytest.raises(SerializationError, match=f"{saved[-1]} nests deeper than 100; .*child_digests"):
        await content.load(saved[-1])
    assert await content.contains(saved[-1])
    assert await content.load(saved[1])


async def test_a_refusal_takes_no_longer_where_one_part_is_held_many_times_over(content):
    value = [1]
    for _ in range(40):
        value = [value, value]
    with pytest.raises(SerializationError, match=r"^\$\[1\]: a set"):
        await ContentStore(content.store, depth=60).save([value, {1}])


class Slow:
    """Is pickled in some thread, which it notes."""

    thread = None

    def __init__(self, size):
        self.padding = bytes(size)

    def __digest__(self):
        Slow.thread = threading.get_ident()
        return len(self.padding)

    def __reduce__(self):
        return Slow, (len(self.padding),)


async def test_a_large_value_is_worked_on_in_a_thread(store, monkeypatch):
    content = with_pickles(store)
    slow = Slow(100_000)
    await content.save(slow)
    assert Slow.thread != threading.get_ident()
    saved = digest(slow)
    assert Slow.thread == threading.get_ident()
    monkeypatch.setattr("satchel.content.pickles.pickle", pickles_that_tell_their_thread())
    await content.load(saved)
    assert Slow.thread != threading.get_ident()


# Integrity.


async def test_a_part_in_the_place_of_another_is_noticed(content, store):
    saved, other = await content.save([[1], [2]]), await content.save([[1], [3]])
    await store.put("content", digest([2]), await store.get("content", digest([3])))
    with pytest.raises(IntegrityError, match=digest([2])):
        await content.load(saved)
    await content.save([[2]])
    await store.put("content", digest([2]), pack_leaf(JSON, b"[2]"))
    await store.put("content", saved, await store.get("content", other))
    with pytest.raises(IntegrityError, match=saved):
        await content.load(saved)


@pytest.mark.parametrize(
    "frame",
    [
        *(b"", b"SCV1", b"SCV1?1", b"SCV2j1", b"SCV1j{", b"SCV1n", b"SCV1n\x00\x00\x00\x09{}"),
        *("text", 7, None, b"SCV1n\x00\x00\x00\x0f" + b'{"type":"list"}' + bytes(31)),
        pack_node(Shape(type="unknown"), []),
        pack_node(Shape(type="dict", keys=("a",)), []),
        pack_node(Shape(type="dict"), [digest(1)]),
        pack_node(Shape(type="object"), []),
    ],
)
async def test_what_no_content_store_wrote_is_refused(content, store, frame):
    await content.save(1)
    await store.put("content", digest("x"), frame)
    with pytest.raises((IntegrityError, SerializationError, KeyMissingError)):
        await content.load(digest("x"))


@given(st.binary(max_size=60), st.integers(0, 60))
def test_damaged_bytes_are_never_loaded(noise, place):
    async def load():
        store = MemoryStore()
        content = ContentStore(store)
        saved = await content.save(["one", {"two": 3}])
        frame = await store.get("content", saved)
        damaged = frame[:place] + noise + frame[place + len(noise) :]
        await store.put("content", saved, damaged)
        with suppress(IntegrityError, KeyMissingError, SerializationError):
            assert await content.load(saved) == ["one", {"two": 3}]

    asyncio.run(load())


@pytest.mark.parametrize(
    "shape",
    [
        *(Shape(type="object", cls="tests.content.values:Point"), Shape(type="list", cls="tests.content.values:Point")),
        *(Shape(type="named_tuple", cls="tests.content.values:Pair"), Shape(type="tuple", keys=("a",))),
        *(Shape(type="dict", cls="tests.content.values:Point", keys=("a",)), Shape(type="named_tuple", keys=("a",))),
        Shape(type="named_tuple", cls="tests.content.values:Pair", join="tests.content.values:matrix_of"),
        Shape(type="dict", keys=("other",), join="tests.content.values:matrix_of"),
        Shape(type="dict", keys=("rows",), join="tests.content.values:matrix_of"),
    ],
)
async def test_a_head_that_does_not_fit_its_parts_is_damaged_and_a_save_mends_it(content, store, matrices, shape):
    saved = await content.save([1])
    await store.put("content", saved, pack_node(shape, [digest(1)]))
    with pytest.raises(IntegrityError):
        await content.load(saved)
    await content.save([1])
    assert await content.load(saved) == [1]


async def test_a_key_that_cannot_be_hashed_is_damage(content, store):
    hollow = Frozen.__new__(Frozen)  # its attributes are not there
    await content.save(1)
    await store.put(
        "content", digest(hollow), pack_node(Shape(type="object", cls="tests.content.values:Frozen", keys=()), [])
    )
    assert await content.load(digest(hollow)) is not None
    await store.put("content", digest("x"), pack_node(Shape(type="dict"), [digest(hollow), digest(1)]))
    with pytest.raises(IntegrityError, match="does not fit its parts"):
        await content.load(digest("x"))


@pytest.mark.parametrize("children", [("a",), ("b",), ("a", "b")])
async def test_a_value_that_holds_itself_is_refused(content, store, children):
    for name in ("a", "b"):
        await store.put("content", digest(name), pack_node(Shape(type="list"), list(map(digest, children))))
    with pytest.raises(SerializationError, match="nests deeper than 100"):
        await content.load(digest(children[0]))
    assert await content.contains(digest(children[0]))


async def test_a_value_of_digests_nests_as_deep_as_any_other(content):
    saved = await content.save([])
    for _ in range(99):
        saved = await content.save([saved])
    assert digest(await content.load(saved)) == saved
    assert await content.contains(saved)
    for _ in range(2):
        saved = await content.save([saved])
    with pytest.raises(SerializationError, match="nests deeper than 100; load parts of it, by child_digests"):
        await content.load(saved)


async def test_a_leaf_that_nests_too_deep_is_damaged(content, store):
    await store.put("content", digest(1), pack_leaf(JSON, b"[" * 150 + b"]" * 150))
    with pytest.raises(IntegrityError, match=digest(1)):
        await content.load(digest(1))


@pytest.mark.parametrize("damaged", [pack_leaf(JSON, b"[[1],[3]]"), pack_leaf(JSON, b"[["), pack_leaf(b"?", b"")])
@pytest.mark.parametrize("depth", [0, 1])
async def test_a_save_mends_a_leaf_of_another_value(store, depth, damaged):
    content = ContentStore(store, depth=depth)
    saved = await content.save([[1], [2]])
    await store.put("content", saved, damaged)
    await content.save([[1], [2]])
    assert await content.load(saved) == [[1], [2]]


async def test_a_save_mends_a_node_of_other_parts(content, store):
    saved = await content.save({"a": 1, "b": 2})
    for shape, children in (
        (Shape(type="dict", keys=("a", "b")), [digest(2), digest(1)]),
        (Shape(type="dict", keys=("a",)), [digest(1)]),
        (Shape(type="tuple"), [digest(1), digest(2)]),
    ):
        await store.put("content", saved, pack_node(shape, children))
        await content.save({"a": 1, "b": 2})
        assert await content.load(saved) == {"a": 1, "b": 2}


async def test_a_save_mends_a_pickle_that_nobody_signed(store):
    content = with_pickles(store)
    saved = await content.save({1, 2})
    frame = await store.get("content", saved)
    await store.put("content", saved, frame[:-1] + b"x")
    await content.save({1, 2})
    assert await content.load(saved) == {1, 2}


async def test_equal_dicts_in_another_order_write_nothing(store, clock):
    for depth in (0, 1):
        content = ContentStore(store, depth=depth, clock=clock)
        saved = await content.save({"a": 1, "b": depth})
        before = await store.get_entry("content", saved)
        assert await content.save({"b": depth, "a": 1}) == saved
        assert await store.get_entry("content", saved) == before


async def test_a_signed_pickle_of_a_class_that_has_gone_is_named(store, monkeypatch):
    content = with_pickles(store, depth=0)
    saved = await content.save(Point(1, 2))
    monkeypatch.delattr(values, "Point")
    with pytest.raises(SerializationError, match=f"{saved}.*AttributeError"):
        await content.load(saved)


# What is not there.


async def test_a_missing_part_is_named(content):
    saved = await content.save({"a": [1], "b": [2]})
    assert await content.contains(saved)
    assert await content.evict(digest([2]))
    assert not await content.evict(digest([2]))
    assert not await content.contains(saved)
    with pytest.raises(KeyMissingError, match=digest([2])):
        await content.load(saved)
    with pytest.raises(KeyMissingError, match=digest("x")):
        await content.load(digest("x"))
    await content.save([[2]])
    assert await content.load(saved) == {"a": [1], "b": [2]}


async def test_only_whole_digests_are_loaded(content):
    saved = await content.save(1)
    for call in (content.load, content.contains, content.evict, content.child_digests, content.pin, content.unpin):
        with pytest.raises(DigestError, match="expand"):
            await call(saved[:8])
    assert await content.load(str(saved)) == 1


# Parts, reuses and short digests.


async def test_parts_and_reuses_are_told(content):
    saved = await content.save([[1], [2], [1]])
    await content.save({"a": [1]})
    assert await content.child_digests(saved) == (digest([1]), digest([2]), digest([1]))
    assert await content.child_digests(digest([1])) == ()
    counts = await content.count_reuses()
    assert counts[digest([1])] == 3
    assert counts[digest([2])] == 1
    assert counts[saved] == 0
    assert len(counts) == 4
    with pytest.raises(KeyMissingError):
        await content.child_digests(digest("x"))


async def keep(store, *digests):
    for text in digests:
        await store.put("content", text, pack_leaf(JSON, b"1"))


async def test_short_digests_are_completed_and_made(content, store):
    first, second, third = "abcd12" + "0" * 58, "abcd13" + "0" * 58, "ffff" + "0" * 60
    await keep(store, first, second, third)
    assert await content.expand("ffff") == third
    assert await content.expand(first) == first
    assert isinstance(await content.expand("abcd12"), Digest)
    assert await content.shrink(first, third, second) == ("abcd12", "ffff", "abcd13")
    assert await content.shrink() == ()
    with pytest.raises(InvalidKeyError, match="give 6 characters"):
        await content.expand("abcd")
    with pytest.raises(KeyMissingError, match="0000"):
        await content.expand("0000")
    for bad in ("abc", "", "ABCD", "xyzw", "a" * 65, None, 7, b"abcd"):
        with pytest.raises(InvalidKeyError, match="4 to 64"):
            await content.expand(bad)


async def test_a_key_that_is_no_digest_is_told(content, store):
    await store.put("content", "abcdefg", b"SCV1j1")
    with pytest.raises(IntegrityError, match="a key that is not a digest"):
        await content.count_reuses()
    await store.delete("content", "abcdefg")
    await store.put("content", "abcd", b"SCV1j1")
    with pytest.raises(IntegrityError, match="a key that is not a digest"):
        await content.expand("abcd")


async def test_digests_are_shortened_by_one_listing():
    content = ContentStore(BatchStore())
    saved = [await content.save(number) for number in range(300)]
    content.store.events.clear()
    short = await content.shrink(*saved)
    assert content.store.events == ["keys"]
    assert [await content.expand(text) for text in short[:20]] == saved[:20]
    assert min(map(len, short)) >= 4


@given(st.lists(st.text("01", min_size=8, max_size=8), min_size=1, max_size=20, unique=True), st.randoms())
def test_short_digests_are_the_shortest_that_tell_them_apart(beginnings, chance):
    digests = [text + "0" * 56 for text in beginnings]
    some = chance.sample(digests, chance.randint(1, len(digests)))
    shortener = Shortener(some)
    for text in digests:
        shortener.add(text)
    for text in some:
        short = shortener.shortest(text)
        assert [other for other in digests if other.startswith(short)] == [text]
        assert len(short) == 4 or len([other for other in digests if other.startswith(short[:-1])]) > 1


# Limits and options.


class Narrow(BatchStore):
    max_value_bytes = 400


async def test_a_value_above_the_limit_is_refused_before_any_io():
    content = ContentStore(Narrow())
    with pytest.raises(ValueTooLargeError, match=r"str takes 507 bytes.* at most 400.*depth"):
        await content.save("x" * 500)
    with pytest.raises(ValueTooLargeError, match=r"list.*digests of its 20 parts; nest it"):
        await content.save(list(range(20)))
    assert content.store.server.calls == []


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({"leaf": "yaml"}, "leaf"),
        ({"leaf": 1}, "leaf"),
        ({"depth": -1}, "depth"),
        ({"depth": 101}, "depth"),
        ({"depth": True}, "depth"),
        ({"depth": 1.0}, "depth"),
        ({"clock": 1}, "clock"),
        ({"keys": b"k" * 32}, "keys must be a list"),
    ],
)
def test_a_wrong_option_is_refused(store, options, about):
    with pytest.raises(ConfigurationError, match=about):
        ContentStore(store, **options)


def test_a_store_without_conditional_writes_is_refused():
    with pytest.raises(ConfigurationError):
        ContentStore("memory://")
    with pytest.raises(UnsupportedOperationError, match="CONDITIONAL"):
        ContentStore(types.SimpleNamespace(capabilities=Capability.NONE, aclose=None))


def test_the_repr_shows_no_key(store):
    assert "kkkk" not in repr(with_pickles(store))


SURROGATE = "\ud800"


@pytest.mark.parametrize("value", [{SURROGATE: 1}, {"a": {SURROGATE: 1}}, [{SURROGATE: 1}]])
@pytest.mark.parametrize("depth", [0, 1, 3])
async def test_a_key_that_is_no_text_is_refused_or_pickled(store, value, depth):
    with pytest.raises(SerializationError, match=r"^\$(\.a|\[0\])?\[\.\.\.\]: a str with a lone surrogate"):
        await ContentStore(store, depth=depth).save(value)
    content = with_pickles(store, depth=depth)
    assert await content.load(await content.save(value)) == value


async def test_an_attribute_whose_name_is_no_text_is_refused_or_pickled(store):
    point = Point(1)
    setattr(point, SURROGATE, 2)
    with pytest.raises(SerializationError):
        await ContentStore(store).save(point)
    content = with_pickles(store)
    assert vars(await content.load(await content.save(point))) == vars(point)


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_keys_with_one_digest_stay_apart(store, depth):
    value = {math.nan: 1, float("nan"): 2}
    content = with_pickles(store, depth=depth)
    saved = await content.save(value)
    assert saved == digest(value) != digest({math.nan: 2})
    assert repr(await content.load(saved)) == repr(value)
    assert await with_pickles(store, depth=1).save({float("nan"): 2, math.nan: 1}) == saved
