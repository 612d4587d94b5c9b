"""The zip store: everything that was exported comes back, nothing can be changed, and damage is refused by name."""

import asyncio
import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import (
    Capability,
    ConfigurationError,
    IntegrityError,
    MemoryStore,
    ReadOnlyError,
    SatchelError,
    SerializationError,
    StoreError,
    UnsupportedOperationError,
    ValueTooLargeError,
    ZipStore,
    ZipWriter,
    open_store,
    write_zip,
)
from satchel.backend.record import Record
from satchel.clock import NEVER
from satchel.stores.zip.archive import MARK, Archive, member
from satchel.testing import FakeClock
from satchel.testing.conformance.cases import ACCEPTED_VALUES, LEGAL_NAMES, identical

GOLDEN = Path(__file__).parents[2] / "golden" / "zip" / "archive.zip"
VERSION = "00112233445566778899aabbccddeeff"
GOLDEN_ENTRIES = {
    ("users", "ada"): Record('{"name":"Ada","notes":["é",1.5]}'.encode(), 1, VERSION, 1767268800.25, 1767272400.5),
    ("users", "photo/1"): Record(b"\x00\x01photo", 0, VERSION, 1767268800.25, NEVER),
    ("é" * 2048, "k" * 4096): Record(b"null", 1, VERSION, 1767268800.25, NEVER),
}


def archive_of(entries: dict[tuple[str, str], Record]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = MARK
        for ref, record in entries.items():
            info, payload = member(ref, record)
            info.compress_type = zipfile.ZIP_STORED  # what zlib makes of it differs from release to release
            archive.writestr(info, payload)
    return file.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive.zip"


@pytest.fixture
async def filled(path: Path) -> Path:
    async with MemoryStore() as store:
        await store.put_many("users", {str(number): {"number": number} for number in range(50)})
        await store.put("other", "large", "x" * 200_000)
        assert await write_zip(store, path) == 51
    return path


def test_an_archive_has_the_form_it_had_in_every_release() -> None:
    assert archive_of(GOLDEN_ENTRIES) == GOLDEN.read_bytes()


async def test_the_golden_archive_is_read() -> None:
    async with ZipStore(GOLDEN, clock=lambda: 1767268801.0) as store:
        ada = await store.get_entry("users", "ada")
        assert ada is not None
        assert (ada.value, ada.version, ada.ttl) == ({"name": "Ada", "notes": ["é", 1.5]}, VERSION, 3599.5)
        assert await store.get("users", "photo/1") == b"\x00\x01photo"
        assert [key async for key in store.keys("é" * 2048)] == ["k" * 4096]


async def test_every_value_and_name_comes_back_exactly_with_versions_and_deadlines(path: Path) -> None:
    clock = FakeClock()
    names = list(LEGAL_NAMES)
    async with MemoryStore(clock=clock) as store:
        for theme, values in ACCEPTED_VALUES.items():
            for number, value in enumerate(values):
                await store.put(theme, str(number), value, ttl=number + 5.25)
        for name in names:
            await store.put(name, name, name)
            await store.put("names", name, name)
        await store.put("large", "bytes", bytes(range(256)) * 4096)
        await write_zip(store, path)
        async with ZipStore(path, clock=clock) as archive:
            found = sorted([name async for name in archive.collections()])
            assert found == sorted([name async for name in store.collections()])
            for name in found:
                keys = [key async for key in archive.keys(name)]
                assert sorted(keys) == sorted([key async for key in store.keys(name)])
                theirs, ours = await store.get_entries(name, keys), await archive.get_entries(name, keys)
                for key in keys:
                    assert identical(ours[key].value, theirs[key].value)
                    assert ours[key].version == theirs[key].version
                    assert ours[key].updated_at == theirs[key].updated_at
                    assert ours[key].expires_at == theirs[key].expires_at
            clock.advance(1000)
            assert await archive.count("floats") == 0
            assert await archive.exists("floats", "0") is False
            assert await archive.get("floats", "0") is None


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b/..", "é"]), st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)),
        st.one_of(st.binary(max_size=50), st.recursive(st.integers(-(2**53), 2**53) | st.text(), st.lists)),
        max_size=8,
    ),
    st.text(st.characters(codec="utf-8"), max_size=1),
)
def test_any_archive_agrees_with_a_dict(tmp_path_factory, entries, prefix) -> None:
    async def check() -> None:
        path = tmp_path_factory.getbasetemp() / "random.zip"
        async with MemoryStore() as store:
            for (collection, key), value in entries.items():
                await store.put(collection, key, value)
            assert await write_zip(store, path) == len(entries)
        async with ZipStore(path) as archive:
            for collection in ("a", "b/..", "é", "absent"):
                mine = {key: value for (name, key), value in entries.items() if name == collection}
                assert await archive.get_many(collection, [*mine, "absent"]) == mine | (
                    {"absent": mine["absent"]} if "absent" in mine else {}
                )
                listed = [key async for key in archive.keys(collection, prefix=prefix)]
                assert sorted(listed) == sorted(key for key in mine if key.startswith(prefix))
                assert await archive.count(collection) == len(mine)

    asyncio.run(check())


async def test_nothing_can_be_changed(filled: Path) -> None:
    before = await asyncio.to_thread(filled.read_bytes)
    async with open_store(f"zip://{filled}") as store:
        assert store.capabilities == Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS
        for change in (store.put("users", "1", 1), store.put_many("c", {"k": 1}), store.delete("users", "1")):
            with pytest.raises(SatchelError) as refused:
                await change
            assert "read-only" in str(refused.value)
        with pytest.raises(ReadOnlyError):
            await store.put("users", "1", 1)
        for change in (store.put_if_absent("c", "k", 1), store.touch("c", "k", ttl=1), store.destroy(), store.cull()):
            with pytest.raises(UnsupportedOperationError):
                await change
    assert await asyncio.to_thread(filled.read_bytes) == before


async def refused(path: Path, content: bytes) -> SatchelError:
    await asyncio.to_thread(path.write_bytes, content)
    async with ZipStore(path) as store:
        with pytest.raises(SatchelError) as caught:
            await store.get("users", "1")
        return caught.value


async def test_an_archive_that_is_cut_off_anywhere_is_refused_by_name(filled: Path) -> None:
    whole = await asyncio.to_thread(filled.read_bytes)
    for size in (0, 1, 30, len(whole) // 3, len(whole) // 2, len(whole) - 40, len(whole) - 1):
        error = await refused(filled, whole[:size])
        assert isinstance(error, (IntegrityError, ConfigurationError))
        assert str(filled) in str(error)


async def test_a_flipped_bit_anywhere_is_an_error_or_does_no_harm(path: Path) -> None:
    whole = archive_of({ref: record for ref, record in GOLDEN_ENTRIES.items() if len(ref[1]) < 100})
    expected = {key: record.payload for (_, key), record in GOLDEN_ENTRIES.items() if len(key) < 100}
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8

        def read(changed: bytes = bytes(changed)) -> None:
            path.write_bytes(changed)
            try:
                archive = Archive(str(path), 2**20)
            except (IntegrityError, ConfigurationError):
                return
            try:
                for key, payload in expected.items():
                    found = archive.read(("users", key))
                    assert isinstance(found, (IntegrityError, type(None))) or found.payload == payload
            finally:
                archive.close()

        await asyncio.to_thread(read)


async def test_a_damaged_value_is_an_error_of_its_entry_alone(filled: Path) -> None:
    def damage() -> None:
        with zipfile.ZipFile(filled) as archive:
            info = archive.getinfo("users/7.json")
        content = bytearray(filled.read_bytes())
        content[info.header_offset + 30 + len(info.filename) + 3] ^= 0xFF
        filled.write_bytes(content)

    await asyncio.to_thread(damage)
    async with ZipStore(filled) as store:
        with pytest.raises(IntegrityError, match="value is damaged"):
            await store.get("users", "7")
        assert await store.get("users", "8") == {"number": 8}


def foreign(change: Callable[[zipfile.ZipFile], None]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = MARK
        change(archive)
    return file.getvalue()


def with_member(name: str, comment: bytes | None = None) -> Callable[[zipfile.ZipFile], None]:
    def change(archive: zipfile.ZipFile) -> None:
        info, payload = member(("users", "ada"), Record(b"1", 1, VERSION, 1767268800.0))
        info.filename = name
        info.comment = info.comment if comment is None else comment
        archive.writestr(info, payload)

    return change


async def test_archives_of_others_are_refused_by_name(path: Path) -> None:
    error = await refused(path, b"")
    assert "is no zip archive" in str(error)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("users/ada.json", "1")
    error = await refused(path, file.getvalue())
    assert isinstance(error, ConfigurationError)
    assert "satchel did not write it" in str(error)
    error = await refused(path, file.getvalue()[:-2] + b"\x09\x00satchel 2")
    assert isinstance(error, ConfigurationError)
    assert "upgrade" in str(error)
    for name, comment in (
        ("users/bob.bin", None),
        ("../users/ada.json", None),
        ("users/ada", None),
        ("ada.json", None),
        ("users/ada.json", b""),
        ("users/ada.json", b"AAAA"),
    ):
        error = await refused(path, foreign(with_member(name, comment)))
        assert isinstance(error, IntegrityError), name
        assert str(path) in str(error)


async def test_a_name_that_is_there_twice_is_refused(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = foreign(lambda archive: [with_member("users/ada.json")(archive) for _ in range(2)] and None)
    assert "is there twice" in str(await refused(path, content))


async def test_a_bomb_is_not_unpacked(path: Path) -> None:
    large = Record(b'"' + b"x" * 20_000_000 + b'"', 1, VERSION, 1767268800.0)
    content = foreign(lambda archive: archive.writestr(*member(("users", "ada"), large)))
    assert len(content) < 100_000
    await asyncio.to_thread(path.write_bytes, content)
    async with ZipStore(path, max_value_bytes=10_000_000) as store:
        assert await store.exists("users", "ada")
        with pytest.raises(ValueTooLargeError, match="max_value_bytes of this store is 10000000"):
            await store.get("users", "ada")
    # One that does not say how large it is.
    size = struct.pack("<I", 20_000_002)
    assert content.count(size) == 2
    async with ZipStore(path, max_value_bytes=10_000_000) as store:
        await asyncio.to_thread(path.write_bytes, content.replace(size, struct.pack("<I", 100)))
        with pytest.raises(IntegrityError, match="value is damaged"):
            await store.get("users", "ada")
    # One that says that it is larger than it can be.
    assert "more than it can" in str(await refused(path, content.replace(size, struct.pack("<I", 2**31))))


async def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with ZipStore(tmp_path / "absent.zip") as store:
        with pytest.raises(StoreError, match=r"absent\.zip is not there"):
            await store.get("c", "k")
    async with ZipStore(tmp_path) as store:
        with pytest.raises(StoreError, match="cannot be read"):
            await store.get("c", "k")


class UnfinishedError(Exception):
    """Stands for anything that a body raises."""


async def test_a_body_that_fails_or_is_cancelled_publishes_nothing(filled: Path) -> None:
    before = await asyncio.to_thread(filled.read_bytes)

    async def fail() -> None:
        async with MemoryStore() as store, ZipWriter(filled) as archive:
            await store.put("c", "k", "x" * 300_000)
            entry = await store.get_entry("c", "k")
            assert entry is not None
            await archive.add("c", "k", entry)
            raise UnfinishedError

    with pytest.raises(UnfinishedError):
        await fail()
    started = asyncio.Event()

    async def forever() -> None:
        async with ZipWriter(filled):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(forever())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with MemoryStore() as store:
        await store.put("c", "k", b"x")
        failing = MemoryStoreWithOddValue(store)
        with pytest.raises(SerializationError):
            await write_zip(failing, filled)
    assert await asyncio.to_thread(filled.read_bytes) == before
    assert await asyncio.to_thread(lambda: [one.name for one in filled.parent.iterdir()]) == ["archive.zip"]


class MemoryStoreWithOddValue:
    """Gives a value that only another codec than JSON can have made."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def get_entries(self, collection: str, keys: list[str]) -> object:
        from msgspec.structs import replace  # noqa: PLC0415  # for this class alone

        found = await self._inner.get_entries(collection, keys)
        return {key: replace(entry, value=object()) for key, entry in found.items()}


async def test_a_store_that_cannot_list_is_refused_at_once(path: Path) -> None:
    class Bare(MemoryStore):
        _collections = None

    with pytest.raises(UnsupportedOperationError, match="ENUMERATE_COLLECTIONS"):
        await write_zip(Bare(), path)
    assert not await asyncio.to_thread(path.exists)


async def test_tasks_may_add_at_once_and_a_name_is_there_once(path: Path) -> None:
    async with MemoryStore() as store:
        await store.put_many("c", {str(number): "x" * (number * 3000) for number in range(60)})
        entries = await store.get_entries("c", [str(number) for number in range(60)])
        async with ZipWriter(path) as archive:
            await asyncio.gather(*(archive.add("c", key, entry) for key, entry in [*entries.items(), *entries.items()]))
        async with ZipStore(path) as read:
            assert await read.get_many("c", entries) == {key: entry.value for key, entry in entries.items()}


def write_missing() -> None:
    GOLDEN.parent.mkdir(exist_ok=True)
    if not GOLDEN.exists():
        GOLDEN.write_bytes(archive_of(GOLDEN_ENTRIES))


if __name__ == "__main__":
    write_missing()
