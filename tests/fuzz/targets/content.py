"""Stored values, their parts, pins and ages, and digests as text: what is damaged is reported, and runs no code."""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any, NamedTuple, Self
from unittest.mock import patch

import h5py
import numpy as np

from satchel import (
    ConfigurationError,
    DigestError,
    IntegrityError,
    InvalidKeyError,
    KeyMissingError,
    MemoryStore,
    SatchelError,
    SerializationError,
)
from satchel.content import ContentStore, Digest, digest, loading, register_destructurer
from satchel.testing import FakeClock
from tests.content.values import Frozen, Matrix, Sized, is_matrix, matrix_of, split_matrix
from tests.fuzz.harness import json_of, reported, run, text_of

INPUTS = 100
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
AGE = 3600
MOST_PARTS = 1000
"""Bound of a value's parts while it is fuzzed: to reach the real one takes too long."""
SEPARATOR = b"\r\n\r\n"
NEW = 0xF0
"""First byte of a piece that is an entry of its own; a smaller one replaces an entry of the store."""
PLACES = ("content", "content/pins", "content/roots", "records")

sprung: list[str] = []
"""What has been called that must not be."""


def spring() -> str:
    sprung.append("a pickle")
    return "sprung"


class Trap:
    """Object whose pickle is seen when it is loaded."""

    def __reduce__(self) -> tuple[Callable[[], str], tuple[()]]:
        return spring, ()


@dataclass
class Guarded:
    """Record whose methods must not be called by a load."""

    x: object

    def __new__(cls, *_: object) -> Self:
        sprung.append("__new__")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        sprung.append("__init__")

    def __setattr__(self, name: str, value: object) -> None:
        sprung.append("__setattr__")
        object.__setattr__(self, name, value)

    def __setstate__(self, state: object) -> None:
        sprung.append("__setstate__")

    @property
    def y(self) -> int:
        sprung.append("a property")
        return 1


class Pair(NamedTuple):
    left: object
    right: object


VALUES: list[Any] = [
    {"a": [1, 2.5, None, "é"], "b": {"x": True}},
    [[1], [1, [2]], {"k": [1]}],
    (1, "a"),
    {1: "a", (2, 3): ["b"]},
    b"\x00\xff",
    Frozen("a", [1]),
    {Pair(1, "a"): Sized(1, "a")},
    Pair([1], {"x": 2}),
    Matrix([[1], [2]]),
]
PICKLED = {1, 2}
ARRAYS = {"a": np.arange(3, dtype="<i4"), "b": (np.float64(2.5), [None, "text", float("inf")])}


@cache
def stored() -> tuple[list[tuple[str, str, Any]], list[Digest]]:
    """Return the entries of a store with all values, and the digests of these."""
    register_destructurer(is_matrix, split_matrix, matrix_of)

    async def build() -> tuple[list[tuple[str, str, Any]], list[Digest]]:
        store = MemoryStore()
        content = content_of(store, FakeClock())
        saved = [await content.save(value) for value in (*VALUES, PICKLED)]
        saved.append(await ContentStore(store, leaf="hdf5", depth=0, older_than=AGE).save(ARRAYS))
        await content.pin(saved[0], saved[1])
        await content.register_roots("records")
        await store.put("records", "one", {"format": 1, "roots": [str(saved[2])]})
        names = [(c, k) for c in (*PLACES, "content/settings") async for k in store.keys(c)]
        return [(c, k, await store.get(c, k)) for c, k in names], saved

    return run(build())


def content_of(store: MemoryStore, clock: FakeClock) -> ContentStore:
    return ContentStore(store, leaf="pickle", keys=[KEY], older_than=AGE, clock=clock)


@cache
def tokens() -> list[bytes]:
    entries, saved = stored()
    keys = [key for collection, key, _ in entries if collection == "content"]
    return [
        *map(bytes.fromhex, keys),
        *(SEPARATOR + bytes([place]) for place in (*range(0, len(entries), 3), *range(NEW, NEW + 4))),
        *(b'"' + text.encode() + b'"' for text in (saved[0], saved[4], "0" * 64)),
        *(b"SCV1" + form for form in (b"j", b"b", b"p", b"h", b"n")),
        *(json.dumps(kind).encode() for kind in ("list", "tuple", "dict", "named_tuple", "object")),
        *(b'"type":', b'"keys":', b'"cls":', b'"join":', b'["a"]', b'["x","x"]', b"[]", b'["__dict__","__class__"]'),
        *(f'"{__name__}:{name}"'.encode() for name in ("Guarded", "Pair", "Trap", "spring")),
        *(f'"tests.content.values:{name}"'.encode() for name in ("Frozen", "Sized", "matrix_of", "Matrix")),
        *(b'"builtins:list"', b'"os:system"', b'"array":', b'"scalar":', b'"dtype":', b'"0"', b'"structure"', b'"/"'),
        *(b'"<U9"', b'"<M8[s]"', b'"O"', b'"<i4"', b'"S999999999"', b'"json":', b'"dict":', b'"float":'),
        *(b"null", b"-1", b"1e308", b"[" * 120 + b"]" * 120, b"[" * 3000, b'"\\ud800"', b'"\xff"'),
    ]


def __getattr__(name: str) -> Any:  # the tokens are digests, which are not made when pytest collects tests
    if name == "TOKENS":
        return tokens()
    raise AttributeError(name)


def node(head: dict[str, Any], *children: bytes) -> bytes:
    text = json.dumps(head).encode()
    return b"SCV1n" + struct.pack(">I", len(text)) + text + b"".join(children)


def signed(key: bytes, value: object, pickled: bytes) -> bytes:
    """Return the frame of a pickle that was signed with a key for the digest of a value."""

    async def save() -> bytes:
        store = MemoryStore()
        with patch("satchel.content.pickles._pickled", lambda _: pickled):
            saved = await ContentStore(store, leaf="pickle", keys=[key], depth=0).save(value)
        return bytes(await store.get("content", saved))

    return run(save())


def at(place: int, value: bytes) -> bytes:
    """Return a piece of an input that puts a value in the place of an entry."""
    return bytes([place]) + value


def new(collection: str, key: str, value: bytes) -> bytes:
    return bytes([NEW + PLACES.index(collection)]) + key.encode() + b"\0" + value


def seeds() -> Sequence[bytes]:
    entries, saved = stored()
    own = {key: place for place, (collection, key, _) in enumerate(entries) if collection == "content"}
    inputs = [
        at(place, value if type(value) is bytes else json.dumps(value).encode())
        for place, (_, _, value) in enumerate(entries)
        if type(value) is not bytes or len(value) > 20  # one number is like another
    ]
    root, pickled = own[saved[0]], own[digest(PICKLED)]
    part = bytes.fromhex(digest(1))
    trap = pickle.dumps(Trap())
    genuine = entries[pickled][2]
    inputs += [
        at(pickled, genuine[:45] + trap),
        at(pickled, signed(OTHER_KEY, PICKLED, trap)),
        at(pickled, signed(KEY, {3}, trap)),
        at(root, genuine),
        at(root, node({"type": "list"}, bytes.fromhex(saved[0]))),
        at(root, node({"type": "list"}, part)),
        at(root, node({"type": "object", "cls": f"{__name__}:Guarded", "keys": ["x", "y"]}, part, part)),
        at(root, node({"type": "object", "cls": f"{__name__}:Guarded"})),
        at(root, node({"type": "named_tuple", "cls": f"{__name__}:Pair"}, part)),
        at(root, node({"type": "list", "cls": f"{__name__}:Pair"}, part)),
        at(root, node({"type": "dict", "join": "tests.content.values:matrix_of", "keys": ["x"]}, part)),
        at(own[saved[-1]], b'{"list": [{"array": "0", "dtype": "<i4"}, {"scalar": "1", "dtype": "<U4"}]}'),
        new("content", "no digest", b"SCV1j1"),
        new("content/pins", "no digest", b'{"format": 1}'),
        new("content/roots", "content", b'{"format": 1, "collection": "content"}'),
        new("records", "two", b'{"format": 1, "roots": ["%s"]}' % saved[3].encode()),
    ]
    # A list of a list, and so on, many levels deep or of many parts, each under its own digest.
    inputs += [nested(105, 1), nested(12, 6)]
    hollow = node({"type": "object", "cls": "tests.content.values:Frozen"})
    name = hashlib.sha256(b"object:" + bytes.fromhex(digest(Frozen)) + bytes.fromhex(digest(None))).hexdigest()
    inputs.append(
        SEPARATOR.join([new("content", name, hollow), at(root, node({"type": "dict"}, bytes.fromhex(name), part))])
    )
    return inputs


def nested(levels: int, width: int) -> bytes:
    pieces, below = [], bytes.fromhex(digest(1))
    for _ in range(levels):
        frame = node({"type": "list"}, *[below] * width)
        below = hashlib.sha256(b"list:" + below * width).digest()
        pieces.append(new("content", below.hex(), frame))
    return SEPARATOR.join(pieces)


def hdf5_with(structure: bytes) -> bytes:
    """Return an HDF5 file with some datasets, and a structure, which need not fit."""
    buffer = BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("0", data=np.arange(3, dtype="<i4"))
        file.create_dataset("1", data=np.frombuffer(b"a\0\0\0b\0\0\0c\0\0\0d\0\0\0", "u4"))
        file.create_dataset("2", data=b"text")
        file.create_dataset("3", data=2.5)
        file.create_dataset("structure", data=np.frombuffer(structure, "u1"))
    return b"SCV1h" + buffer.getvalue()


def check(data: bytes) -> None:
    sprung.clear()
    try:
        with patch.object(loading, "_MOST_PARTS", MOST_PARTS):
            run(use(data))
    finally:
        assert not sprung, f"{sprung[0]} was called"


async def use(data: bytes) -> None:
    """Use a store of which some entries have become others."""
    entries, saved = stored()
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    for collection, key, value in entries:
        await store.put(collection, key, value)
    asked: list[Any] = []
    for piece in data.split(SEPARATOR)[:200]:
        await damage(store, entries, asked, piece)
    content = content_of(store, clock)
    for text in (*saved, *asked[-4:]):  # more of them take too long
        await read(content, store, text)
    for reads in (content.count_reuses, lambda: content.expand(saved[0][:4]), lambda: content.shrink(*saved)):
        await reported(reads, IntegrityError)
    await mend(content, saved)
    await collect(content, store, clock, saved)


async def damage(store: MemoryStore, entries: list[tuple[str, str, Any]], asked: list[Any], piece: bytes) -> None:
    if not piece:
        return
    place, value = piece[0], piece[1:]
    if place < NEW:
        collection, key, before = entries[place % len(entries)]
        if type(before) is bytes and before.startswith(b"SCV1h") and not value.startswith(b"SCV1"):
            value = hdf5_with(value)
    else:
        collection = PLACES[place % len(PLACES)]
        name, _, value = value.partition(b"\0")
        key = text_of(name)
        asked.append(key)
    decoded = None if value.startswith(b"SCV1") else json_of(value)
    try:
        await store.put(collection, key, value if decoded is None else decoded)
    except (InvalidKeyError, SerializationError):
        return


async def read(content: ContentStore, store: MemoryStore, text: Any) -> None:
    """Use a digest, or a text that is given as one."""
    uses = (content.load, content.contains, content.child_digests, content.pin, content.unpin)
    try:
        Digest(text)
    except DigestError:
        for use in (*uses, content.evict, content.shrink):
            assert type(await reported(lambda use=use: use(text), DigestError)) is DigestError  # type: ignore[misc]  # mypy wants to know its type
        await reported(lambda: content.expand(text), InvalidKeyError, KeyMissingError, IntegrityError)
        return
    loaded = await reported(lambda: content.load(text), IntegrityError, KeyMissingError, SerializationError)
    if not isinstance(loaded, SatchelError):
        assert await digest_of(loaded) in (text, DigestError)
        assert await content.contains(text)
    await reported(lambda: content.contains(text), IntegrityError, SerializationError)
    await reported(lambda: content.child_digests(text), IntegrityError, KeyMissingError)
    before = await store.get("content/pins", text)
    pinned = await reported(lambda: content.pin(text), IntegrityError, KeyMissingError, ConfigurationError)
    if isinstance(pinned, SatchelError):
        assert before is not None or text not in [key async for key in store.keys("content/pins")], "a refused pin"
    elif before is None:
        assert await content.unpin(text) == 1


async def digest_of(value: Any) -> Any:
    """Return the digest of a value; the class of the error for one that nests deeper than any saved whole."""
    try:
        return digest(value)
    except DigestError:
        return DigestError


async def mend(content: ContentStore, saved: list[Digest]) -> None:
    """Save all values again, after which they are whole."""
    for value, known in zip(VALUES, saved, strict=False):
        again = await reported(lambda value=value: content.save(value), IntegrityError, ConfigurationError)  # type: ignore[misc]  # mypy wants to know its type
        if isinstance(again, SatchelError):
            return  # others use the collection with another age, or it is not known
        assert again == known
        assert await content.load(known) == value


async def collect(content: ContentStore, store: MemoryStore, clock: FakeClock, saved: list[Digest]) -> None:
    """Collect, and remove what is left by hand."""
    clock.advance(2 * AGE)
    before = {key async for key in store.keys("content")}
    for dry_run in (True, False):
        report = await reported(lambda dry_run=dry_run: content.gc(dry_run=dry_run), IntegrityError, ConfigurationError)  # type: ignore[misc]  # mypy wants to know its type
        if dry_run or isinstance(report, SatchelError):
            assert {key async for key in store.keys("content")} == before
    for known in saved:
        await content.evict(known)
        assert not await content.contains(known)
