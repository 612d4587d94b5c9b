"""Where the file tree store puts things, what it leaves alone, and what it says when it cannot."""

import asyncio
import json
import shutil
import stat
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import pytest

from satchel import Capability, ConfigurationError, IntegrityError, StoreError
from satchel.stores.filetree import FileTreeStore
from satchel.stores.filetree import layout as _filetree_layout
from satchel.stores.filetree.layout import Layout, probe
from satchel.stores.filetree.system import held
from satchel.testing import FakeClock, StoreConformance
from satchel.testing.conformance.cases import LEGAL_NAMES, long_names
from satchel.testing.conformance.suite import new_place

FOLDING = Layout(1, False, False, 250)
PLAIN = Layout(1, True, True, 250)
LONG = "long" * 100


def below(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def inside(root: Path, *, directories: bool = False) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir() or not directories)


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def record(root: Path, layout: Layout) -> None:
    (root / ".satchel").mkdir(parents=True)
    fields = {name: getattr(layout, name) for name in layout.__struct_fields__}
    (root / ".satchel" / "format.json").write_text(json.dumps(fields))


@pytest.mark.long
class TestWhereNamesAreEscapedForFoldingFileSystems(StoreConformance):
    persistent = True

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        place = new_place(tmp_path)
        record(place, FOLDING)
        return place

    def make_store(self, clock: FakeClock, place: Path) -> FileTreeStore:
        return FileTreeStore(place, clock=clock)


@pytest.mark.parametrize("layout", [FOLDING, PLAIN, Layout(1, True, False, 138)])
def test_no_two_names_are_one_file(layout: Layout):
    names = [*LEGAL_NAMES, *long_names(4096), "A", "a", "con", "CON", "nul.txt", "com¹", "a.", "a ", ".satchel"]
    names += ["é", "e\u0301", "É", "ß", "ss", "ﬁ", "fi", "İ", "i\u0307", "K", "k", "\u202e", "Ⅷ", "ⅷ"]
    written = {name: layout.escaping.escape(name) for name in names}
    folded = {
        unicodedata.normalize("NFKC", file.casefold()) if layout is FOLDING else file for file in written.values()
    }
    assert len(folded) == len(written)
    for name, file in written.items():
        assert 0 < len(file.encode()) <= layout.max_name_bytes
        assert not file.startswith(".")
        assert not file.endswith((".", " "))
        assert not set(file) & set('/\\<>:"|?*\0\n')
        assert file.partition(".")[0].lower() not in {"con", "nul", "com¹"}
        assert layout.escaping.unescape(file) in {name, None}


def test_the_probe_finds_what_this_file_system_does(tmp_path: Path):
    found = probe(str(tmp_path))
    (tmp_path / "é").touch()
    (tmp_path / "x").touch()
    assert found.tells_case is not (tmp_path / "X").exists()
    assert found.keeps_unicode is not ((tmp_path / "É").exists() or (tmp_path / "e\u0301").exists())
    assert files(tmp_path) == ["x", "é"]


async def test_the_layout_is_recorded_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_filetree_layout, "probe", lambda directory: FOLDING)
    async with FileTreeStore(tmp_path) as store:
        await store.put("Users", "Ada", 1)
    assert "%55sers/%41da.json" in files(tmp_path)
    monkeypatch.undo()
    shutil.copytree(tmp_path, tmp_path / "copy")
    async with FileTreeStore(tmp_path / "copy") as store:
        assert await store.get("Users", "Ada") == 1
        await store.put("Users", "Bob", 2)
        assert sorted([key async for key in store.keys("Users")]) == ["Ada", "Bob"]
    assert "%55sers/%42ob.json" in files(tmp_path / "copy")


async def test_a_tree_copied_to_a_folding_file_system_is_read_and_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "Ada", 1)
        await store.put("c", "raw", b"2")
    (tmp_path / "c" / ".satchel.tmp").touch()
    (tmp_path / ".satchel" / "locks" / "gone.lock").touch()
    monkeypatch.setattr(_filetree_layout, "probe", lambda directory: FOLDING)
    # A hard link stands in for what such a file system does: another name leads to the same file.
    async with FileTreeStore(tmp_path) as store:
        assert await store.get_many("c", ["Ada", "raw"]) == {"Ada": 1, "raw": b"2"}
        assert await store.get("c", "ADA") is None
        assert await store.get("C", "Ada") is None
        assert [key async for key in store.keys("C")] == []
        before = files(tmp_path)
        for change in (
            store.put("c", "ADA", 2),
            store.delete("c", "Ada"),
            store.put_if_absent("c", "b", 1),
            store.touch("c", "Ada", ttl=None),
            store.destroy_collection("c"),
            store.destroy(),
        ):
            with pytest.raises(StoreError, match="copied to a file system"):
                await change
    assert files(tmp_path) == before


async def test_a_damaged_record_of_the_layout_is_an_integrity_error(tmp_path: Path):
    for text in ("", "{}", '{"satchel": 2, "tells_case": true, "keeps_unicode": true, "max_name_bytes": 250}'):
        shutil.rmtree(tmp_path / ".satchel", ignore_errors=True)
        (tmp_path / ".satchel").mkdir()
        (tmp_path / ".satchel" / "format.json").write_text(text)
        with pytest.raises(IntegrityError, match=r"format\.json"):
            await FileTreeStore(tmp_path).get("c", "k")


async def test_collections_keys_and_modes(tmp_path: Path):
    root = tmp_path / "above" / "data"
    async with FileTreeStore(root) as store:
        await store.put("users", "ada", 1)
        await store.put("users", "raw", b"1")
        await store.put(LONG, LONG, 1)
        assert store.capabilities | Capability.WATCH == ~Capability.NONE
    for path in [root.parent, root, *below(root)]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert {"users/ada.json", "users/raw.bin"} < set(files(root))


async def test_reading_and_deleting_what_is_missing_creates_nothing(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        await store.put("there", "k", 1)
        before = below(tmp_path)
        assert await store.get("missing", "k") is None
        assert await store.get("there", "other") is None
        assert await store.delete("missing", "k") is False
        assert await store.touch("missing", "k", ttl=1) is False
        assert await store.compare_and_delete("missing", "k", version="v") is False
        assert await store.destroy_collection("missing") is False
        assert [key async for key in store.keys("missing")] == []
    assert below(tmp_path) == before


@pytest.mark.parametrize("metadata", ["data", "data/meta", "beside", "data/.satchel"])
async def test_metadata_goes_where_it_is_told_and_meets_no_collection(tmp_path: Path, metadata: str):
    data = tmp_path / "data"
    names = [*LEGAL_NAMES, ".satchel", "locks", "lock", "format.json", "meta", "..", "../beside", str(tmp_path / "x")]
    async with FileTreeStore(data, metadata_directory=tmp_path / metadata) as store:
        for name in names:
            await store.put(name, name, name)
        for name in names:
            assert await store.get(name, name) == name
        assert sorted([name async for name in store.collections()]) == sorted(set(names))
        await store.destroy()
        assert [name async for name in store.collections()] == []
    assert inside(tmp_path) == sorted({"data", Path(metadata).parts[0]})
    assert not [name for name in files(data) if ".satchel" not in name]
    assert (tmp_path / metadata / ".satchel" / "format.json").exists()


async def test_destroy_leaves_what_others_wrote_and_cleans_up_its_own(tmp_path: Path):
    foreign = ["notes.txt", "project/package.json", "project/data.bin", "users/README.md", "users/theirs.json"]
    for name in foreign:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"name": "theirs"}')
    async with FileTreeStore(tmp_path) as store:
        await store.put("users", "ada", 1)
        await store.put("users", "raw", b"1")
        await store.put("other", "k", 1)
        await store.put(LONG, LONG, 1)
        (tmp_path / "users" / "raw.bin").write_bytes(b"\x89Sdamaged")
        assert await store.destroy() is True
        assert [name for name in files(tmp_path) if ".satchel" not in name] == sorted(foreign)
        assert inside(tmp_path, directories=True) == [".satchel", "project", "users"]
        assert "other.lock" not in inside(tmp_path / ".satchel" / "locks")
        assert await store.destroy() is False
        await store.put("users", "ada", 2)
        assert await store.get("users", "ada") == 2


async def test_destroy_leaves_a_file_whose_name_the_store_cannot_have_given(tmp_path: Path):
    odd = ["%zz.json", "UPPER%2F.json", "sp ace.json", ".hidden.json"]
    for way in ("destroy", "destroy_collection"):
        async with FileTreeStore(tmp_path) as store:
            await store.put("c", "k", 1)
            for name in odd:
                (tmp_path / "c" / name).write_text('{"satchel": 1, "value": 42}')
            assert [key async for key in store.keys("c")] == ["k"]
            assert await (store.destroy() if way == "destroy" else store.destroy_collection("c")) is True
        assert inside(tmp_path / "c") == sorted(odd)


async def test_listing_goes_past_foreign_files(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k", 1)
        await store.put("c", LONG, 1)
        for name in ("notes.txt", "%zz.json", ".hidden.json", "noext", "x%-y.json", "UPPER%2F.json"):
            (tmp_path / "c" / name).write_text("{}")
        (tmp_path / "file-beside-the-collections").touch()
        (tmp_path / "link").symlink_to(tmp_path / "c")
        assert sorted([key async for key in store.keys("c")]) == ["k", LONG]
        assert [name async for name in store.collections()] == ["c"]


async def test_a_collection_that_is_a_file_or_a_link_fails_alone(tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    async with FileTreeStore(tmp_path / "data") as store:
        await store.put("good", "k", 1)
        (tmp_path / "data" / "file").touch()
        (tmp_path / "data" / "link").symlink_to(outside)
        for collection in ("file", "link"):
            for call in (store.get(collection, "k"), store.put(collection, "k", 1), store.delete(collection, "k")):
                with pytest.raises(StoreError, match="where a directory should be"):
                    await call
        assert await store.get("good", "k") == 1
        assert [name async for name in store.collections()] == ["good"]
    assert list(outside.iterdir()) == []


async def test_a_file_in_place_of_the_data_directory(tmp_path: Path):
    (tmp_path / "data").write_text("mine")
    for directory in (tmp_path / "data", tmp_path / "data" / "below"):
        store = FileTreeStore(directory)
        with pytest.raises(StoreError, match="where a directory should be"):
            await store.put("c", "k", 1)
    assert (tmp_path / "data").read_text() == "mine"


@pytest.mark.parametrize("gone", ["data", "metadata", "metadata/.satchel"])
@pytest.mark.parametrize("again", [False, True])
async def test_a_tree_that_is_removed_while_it_is_open_is_not_made_again(tmp_path: Path, gone: str, again: bool):
    data, metadata = tmp_path / "data", tmp_path / "metadata"
    async with FileTreeStore(data, metadata_directory=metadata) as store:
        await store.put("c", "k", 1)
        (tmp_path / gone).rename(tmp_path / "elsewhere")
        shutil.rmtree(tmp_path / "elsewhere" / "c", ignore_errors=True)
        if again:
            async with FileTreeStore(data, metadata_directory=metadata) as other:
                await other.ping()
        before = below(tmp_path)
        for change in (
            store.put("c", "k", 2),
            store.put_many("new", {"k": 2}),
            store.delete("c", "k"),
            store.destroy(),
        ):
            with pytest.raises(StoreError, match="removed or replaced while it was open") as caught:
                await change
            assert not caught.value.retryable
        assert below(tmp_path) == before
    async with FileTreeStore(data, metadata_directory=metadata) as store:
        await store.put("c", "k", 3)
        assert await store.get("c", "k") == 3
    assert (metadata / ".satchel" / "format.json").exists()


async def test_a_data_directory_that_vanishes_is_an_error_for_readers_too(tmp_path: Path):
    async with FileTreeStore(tmp_path / "data") as store:
        await store.put("c", "k", 1)
        shutil.rmtree(tmp_path / "data")
        for call in (
            store.get("c", "k"),
            store.get_many("c", ["k"]),
            store.exists("other", "k"),
            store.get_entry("c", "k"),
        ):
            with pytest.raises(StoreError, match=r"removed while it was open|keys failed"):
                await call
        with pytest.raises(StoreError, match="removed while it was open"):
            [key async for key in store.keys("c")]
        with pytest.raises(StoreError, match="is not there"):
            [name async for name in store.collections()]
        with pytest.raises(StoreError, match="is not there") as caught:
            await store.ping()
        assert not caught.value.retryable


@pytest.mark.parametrize("name", ["long" * 100, "/".join(["long" * 20] * 60)])
async def test_a_path_that_is_too_long_is_not_worth_another_try(tmp_path: Path, name: str):
    async with FileTreeStore(tmp_path / name) as store:
        with pytest.raises(StoreError, match="too long") as caught:
            await store.put("c", "k", 1)
        assert not caught.value.retryable


@pytest.mark.parametrize("wrong", [None, "", b"bytes", 5, ["full"], "nul\0", "lone \ud800"])
def test_what_is_no_path_is_refused(wrong: object):
    with pytest.raises(ConfigurationError, match="data_directory"):
        FileTreeStore(wrong)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ConfigurationError, match="durability"):
        FileTreeStore("x", durability=wrong)  # type: ignore[arg-type]  # that is the point


async def test_temporary_files_of_dead_writers_are_swept_at_open(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k", 1)
    (tmp_path / "c" / ".satchel.tmp").write_text("half an en")
    (tmp_path / "c" / "k.bin").write_text("hidden")
    (tmp_path / "c" / ".satchel.changing").write_text("k")
    (tmp_path / ".satchel-probe").mkdir()
    (tmp_path / ".satchel" / ".format.tmp").touch()
    async with FileTreeStore(tmp_path) as store:
        assert await store.get("c", "k") == 1
    assert inside(tmp_path / "c") == ["k.json"]
    assert inside(tmp_path) == [".satchel", "c"]
    assert inside(tmp_path / ".satchel") == ["format.json", "lock", "locks"]


async def test_a_living_writers_temporary_file_is_not_swept(tmp_path: Path):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k", 1)
    half = tmp_path / "c" / ".satchel.tmp"
    half.write_text("half an en")
    lock = held(str(tmp_path / ".satchel" / "locks" / "c.lock"))
    await asyncio.to_thread(lock.__enter__)
    async with FileTreeStore(tmp_path) as store:
        assert await store.get("c", "k") == 1
        assert half.exists()
    await asyncio.to_thread(lock.__exit__, None, None, None)
    async with FileTreeStore(tmp_path) as store:
        await store.ping()
    assert not half.exists()


async def test_a_value_that_does_not_fit_leaves_the_old_one(tmp_path: Path):
    code = f"""
import asyncio, resource
from satchel import StoreError
from satchel.stores.filetree import FileTreeStore
async def main():
    async with FileTreeStore({str(tmp_path)!r}) as store:
        await store.put("c", "k", "old")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for big in (5_000_000 * "a", 5_000_000 * b"a"):
            try:
                await store.put_many("c", {{"small": "fits", "k": big}})
            except StoreError as error:
                assert "no room" in str(error.failed["k"]) and list(error.failed) == ["k"], error
            else:
                raise AssertionError("nothing was raised")
        assert await store.get_many("c", ["k", "small"]) == {{"k": "old", "small": "fits"}}
asyncio.run(main())
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-W", "error", "-c", code], check=True)
    assert [name for name in files(tmp_path) if "tmp" in name] == []


@pytest.fixture
def public_place():
    """A directory that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_without_permission_to_write_reading_goes_on(public_place: Path):
    """Run as another user where this one is root, whom no mode holds back."""
    data = public_place / "data"
    async with FileTreeStore(data) as store:
        await store.put("c", "k", "old")
    code = f"""
import asyncio, os
from satchel import StoreError
from satchel.stores.filetree import FileTreeStore
async def main():
    async with FileTreeStore({str(public_place / "other")!r}) as store:
        await store.put("c", "k", 1)  # so that every module is imported
    if os.getuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
    async with FileTreeStore({str(data)!r}) as store:
        assert await store.get("c", "k") == "old"
        assert [key async for key in store.keys("c")] == ["k"]
        for change in (store.put("c", "k", 1), store.put("new", "k", 1), store.delete("c", "k"), store.destroy()):
            try:
                await change
            except StoreError as error:
                assert "may not be read or written" in str(error), error
                assert not error.retryable
            else:
                raise AssertionError("nothing was raised")
asyncio.run(main())
"""
    for path in [*below(data), data]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-W", "error", "-c", code], check=True)
    for path in [data, *below(data)]:
        path.chmod(0o700)
    async with FileTreeStore(data) as store:
        assert await store.get("c", "k") == "old"
