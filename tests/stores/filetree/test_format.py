"""The files of the file tree store: golden ones, edits by hand, damage."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from satchel import IntegrityError
from satchel.backend.record import Record, pack
from satchel.clock import NEVER
from satchel.stores._documents import write_document
from satchel.stores.filetree import FileTreeStore
from satchel.testing import FakeClock

GOLDEN = Path(__file__).parents[2] / "golden" / "filetree" / "tree"
WRITTEN = 1767268800.25
WRITTEN_NS = 1767268800_250_000_000
VALUE = {"name": "Ada Lovelace", "notes": ["é", 1.5, None, {}]}
PAYLOAD = '{"name":"Ada Lovelace","notes":["é",1.5,null,{}]}'.encode()
ADA = ("users", "ada")
PHOTO = ("users", "photo/1")


def sealed(ref: tuple[str, str], payload: bytes, codec: int, deadline: float) -> Record:
    return Record(payload, codec, "00112233445566778899aabbccddeeff", WRITTEN, deadline).sealed(ref)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the golden tree, with the modification times that a checkout does not keep."""
    copy = tmp_path / "tree"
    shutil.copytree(GOLDEN, copy)
    (copy / ".satchel").mkdir()
    shutil.copy(GOLDEN.parent / "format.json", copy / ".satchel")
    os.utime(copy / "users" / "ada.json", ns=(WRITTEN_NS, WRITTEN_NS))
    return copy


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(WRITTEN + 1)


@pytest.fixture
async def store(tree: Path, clock: FakeClock):
    async with FileTreeStore(tree, clock=clock) as store:
        yield store


def change(path: Path, **fields: object) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in (document | fields).items() if value is not ...}))


async def version_of(store: FileTreeStore, key: str) -> str:
    entry = await store.get_entry("users", key)
    assert entry is not None
    return entry.version


def test_golden_files_are_what_is_written():
    readable = write_document(ADA, sealed(ADA, PAYLOAD, 1, WRITTEN + 3600), WRITTEN_NS)
    assert readable == (GOLDEN / "users" / "ada.json").read_bytes()
    assert pack(sealed(PHOTO, b"\x00\x01photo", 0, NEVER)) == (GOLDEN / "users" / "photo%2f1.bin").read_bytes()


async def test_golden_tree_reads(store: FileTreeStore):
    entry = await store.get_entry("users", "ada")
    assert entry is not None
    assert (entry.value, entry.version) == (VALUE, "00112233445566778899aabbccddeeff")
    assert (entry.updated_at.timestamp(), entry.ttl, entry.size) == (WRITTEN, 3599.0, len(PAYLOAD))
    assert await store.get("users", "photo/1") == b"\x00\x01photo"
    assert await store.get("users", "by hand") == ["made", "by", "a", "person"]
    assert sorted([key async for key in store.keys("users")]) == ["ada", "by hand", "photo/1"]
    assert [name async for name in store.collections()] == ["users"]


async def test_written_files_are_golden_but_for_version_and_checksum(
    store: FileTreeStore, tree: Path, clock: FakeClock
):
    clock.advance(-1)
    await store.put(*ADA, VALUE, ttl=3600)
    golden, written = (json.loads((root / "users" / "ada.json").read_text()) for root in (GOLDEN, tree))
    assert {**golden, "version": 0, "checksum": 0} == {**written, "version": 0, "checksum": 0}
    assert list(golden) == list(written)
    assert (tree / "users" / "ada.json").stat().st_mtime_ns == WRITTEN_NS


async def test_an_edit_is_a_write(store: FileTreeStore, tree: Path):
    version = await version_of(store, "ada")
    change(tree / "users" / "ada.json", value={"name": "Ada King"})
    assert await store.get(*ADA) == {"name": "Ada King"}
    assert await store.compare_and_put(*ADA, "late", version=version) is None
    assert await store.compare_and_delete(*ADA, version=version) is False
    edited = await version_of(store, "ada")
    assert edited != version
    assert await store.compare_and_put(*ADA, "in time", version=edited) is not None


async def test_two_edits_in_one_tick_of_the_clock_are_two_versions(store: FileTreeStore, tree: Path):
    path = tree / "users" / "ada.json"
    versions = set()
    for number in range(3):
        change(path, value=number)
        os.utime(path, ns=(1, 1))
        versions.add(await version_of(store, "ada"))
    assert len(versions) == 3


async def test_saving_the_same_text_again_is_a_write_too(store: FileTreeStore, tree: Path):
    version = await version_of(store, "ada")
    path = tree / "users" / "ada.json"
    path.write_bytes(path.read_bytes())
    assert await store.compare_and_put(*ADA, "late", version=version) is None


async def test_a_touch_keeps_the_version_of_an_edited_entry(store: FileTreeStore, tree: Path):
    change(tree / "users" / "ada.json", value=1)
    version = await version_of(store, "ada")
    assert await store.touch(*ADA, ttl=5) is True
    assert await version_of(store, "ada") == version


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2026-01-01T13:00:00Z", 3599 - 0.25),
        ("2026-01-01T13:00:00", 3599 - 0.25),
        ("2026-01-01 13:00", 3599 - 0.25),
        ("2026-01-01T14:30:00.5+01:30", 3599 + 0.25),
        ("2026-01-02", 43199 - 0.25),
        (None, None),
        (..., None),
    ],
)
async def test_an_edited_expiry_counts(store: FileTreeStore, tree: Path, clock: FakeClock, written, seconds):
    change(tree / "users" / "ada.json", expires_at=written)
    entry = await store.get_entry(*ADA)
    assert entry is not None
    assert entry.ttl == seconds
    clock.advance(10**6)
    assert await store.exists(*ADA) is (seconds is None)
    assert ("ada" in [key async for key in store.keys("users")]) is (seconds is None)


async def test_a_file_may_be_reordered_indented_and_saved_with_a_byte_order_mark(store: FileTreeStore, tree: Path):
    path = tree / "users" / "ada.json"
    document = json.loads(path.read_text())
    ordered = json.dumps(dict(reversed(document.items())), indent=7).replace("\n", "\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + ordered.encode())
    assert await store.get(*ADA) == VALUE
    assert "ada" in [key async for key in store.keys("users")]


async def test_a_copied_file_is_an_entry_of_its_own(store: FileTreeStore, tree: Path):
    shutil.copy2(tree / "users" / "ada.json", tree / "users" / "Grace %c3%89.json")
    shutil.copy2(tree / "users" / "ada.json", tree / "users" / "grace.json")
    shutil.copytree(tree / "users", tree / "copies")
    assert await store.get("users", "grace") == VALUE
    assert await version_of(store, "grace") != await version_of(store, "ada")
    assert await store.get("copies", "photo/1") == b"\x00\x01photo"
    assert "grace" in [key async for key in store.keys("copies")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "42",
        "{}",
        '{"value": 1}',
        '{"satchel": 2, "value": 1}',
        '{"satchel": 1}',
        '{"satchel": 1, "value": 1, "expire_at": "2030-01-01"}',
        '{"satchel": 1, "value": 1, "expires_at": "tomorrow"}',
        '{"satchel": 1, "value": 1, "expires_at": 5}',
        '{"satchel": 1, "value": NaN}',
        '{"satchel": 1, "value": 99999999999999999999}',
        '{"satchel": 1, "value": 1e999}',
        '{"satchel": 1, "value": "\\ud800"}',
        '{"satchel": 1, "value": ' + "[" * 101 + "]" * 101 + "}",
        '{"satchel": 1, "value": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"satchel": 1, "value": "secret',
        '{"satchel": 1, "value": "\udcff"}',
        '{"satchel": 1, "key": "\udcff", "value": 1}',
    ],
)
async def test_what_is_no_entry_is_an_integrity_error_for_that_key_alone(store: FileTreeStore, tree: Path, text: str):
    path = tree / "users" / "broken.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(IntegrityError, match="broken") as failure:
        await store.get("users", "broken")
    assert "secret" not in str(failure.value)
    assert await store.get(*ADA) == VALUE
    assert {"ada", "broken"} <= {key async for key in store.keys("users")}
    with pytest.raises(IntegrityError):
        await store.put_if_absent("users", "broken", 1)
    assert await store.delete("users", "broken") is True
    assert await store.get("users", "broken") is None
    path.write_bytes(text.encode(errors="surrogateescape"))
    await store.put("users", "broken", "mended")
    assert await store.get("users", "broken") == "mended"


async def test_a_flipped_bit_that_no_person_flipped_is_noticed(store: FileTreeStore, tree: Path):
    path = tree / "users" / "ada.json"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"Lovelace", b"Lovelacf"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(IntegrityError):
        await store.get(*ADA)


@pytest.mark.timeout(300)
async def test_every_truncation_of_a_readable_file_is_noticed(store: FileTreeStore, tree: Path):
    path = tree / "users" / "ada.json"
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            await store.get(*ADA)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_every_truncation_and_flipped_bit_of_a_binary_file_is_noticed(store: FileTreeStore, tree: Path):
    path = tree / "users" / "photo%2f1.bin"
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(IntegrityError):
            await store.get(*PHOTO)
        assert [key async for key in store.keys("users", prefix="p")] in ([], ["photo/1"])


async def test_in_place_of_a_file_there_is_something_else(store: FileTreeStore, tree: Path, tmp_path: Path):
    users = tree / "users"
    (users / "directory.json").mkdir()
    os.mkfifo(users / "pipe.json")
    (tmp_path / "secret").write_text('{"satchel": 1, "value": "secret"}')
    (users / "link.json").symlink_to(tmp_path / "secret")
    for key in ("directory", "pipe", "link"):
        with pytest.raises(IntegrityError, match="in place of"):
            await asyncio.wait_for(store.get("users", key), 50)
    await store.put("users", "link", "mine")
    assert await store.get("users", "link") == "mine"
    assert "secret" in (tmp_path / "secret").read_text()


async def test_readable_and_binary_replace_each_other(store: FileTreeStore, tree: Path):
    users = tree / "users"
    await store.put(*ADA, b"bytes")
    assert not (users / "ada.json").exists()
    assert await store.get(*ADA) == b"bytes"
    await store.put(*ADA, "text")
    assert not (users / "ada.bin").exists()
    assert await store.get(*ADA) == "text"


@pytest.mark.parametrize("first", ["get", "put bytes", "put text", "delete", "destroy", "cull"])
async def test_of_two_files_that_a_killed_writer_left_the_readable_one_counts(
    store: FileTreeStore, tree: Path, clock: FakeClock, first: str
):
    users = tree / "users"
    await store.put(*ADA, b"hidden")
    left = (users / "ada.bin").read_bytes()
    await store.put(*ADA, "seen", ttl=5)
    (users / "ada.bin").write_bytes(left)
    assert [key async for key in store.keys("users", prefix="ada")] == ["ada"]
    match first:
        case "get":
            assert await store.get(*ADA) == "seen"
            return
        case "put bytes":
            await store.put(*ADA, b"new")
            assert await store.get(*ADA) == b"new"
            assert not (users / "ada.json").exists()
            return
        case "put text":
            await store.put(*ADA, "new")
            assert await store.get(*ADA) == "new"
            assert not (users / "ada.bin").exists()
            return
        case "delete":
            assert await store.delete(*ADA) is True
        case "destroy":
            assert await store.destroy() is True
        case "cull":
            clock.advance(5)
            assert await store.cull() == 1
    assert await store.get(*ADA) is None
    assert not (users / "ada.bin").exists()


async def test_the_beginning_of_a_large_binary_tells_whether_it_lives(tmp_path):
    clock = FakeClock()
    async with FileTreeStore(tmp_path, clock=clock) as store:
        await store.put("c", "k" * 1000, b"x" * 30_000, ttl=60)
        assert [key async for key in store.keys("c")] == ["k" * 1000]
        assert [name async for name in store.collections()] == ["c"]
        clock.advance(61)
        assert [key async for key in store.keys("c")] == []
        assert await store.cull() == 1
