"""The commits of the git store: what they contain, what they leave alone, and what others do to the repository."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from dulwich import porcelain
from dulwich.index import build_index_from_tree
from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo

from satchel import (
    Capability,
    ConfigurationError,
    Entry,
    IntegrityError,
    ReadOnlyError,
    StoreError,
    StoreUnavailableError,
    UnsupportedOperationError,
    open_store,
)
from satchel.backend.record import Record
from satchel.clock import NEVER
from satchel.stores.filetree import FileTreeStore
from satchel.stores.git import GitStore, repository
from satchel.stores.git.repository import Identity, Repository
from satchel.stores.git.tree import Entries
from satchel.testing import FakeClock
from satchel.testing.conformance.cases import LEGAL_NAMES

GOLDEN = Path(__file__).parents[2] / "golden" / "filetree" / "tree" / "users"
WRITTEN = 1767268800.25
REF = b"refs/heads/satchel"


def commits(path: Path, ref: bytes = REF) -> list[Commit]:
    """Return the commits of a branch, the last one first."""
    with Repo(str(path)) as repo:
        return [entry.commit for entry in repo.get_walker(include=[repo.refs[ref]])] if ref in repo.refs else []


def files(path: Path, ref: bytes = REF) -> dict[str, bytes]:
    """Return the files of the last commit of a branch."""
    with Repo(str(path)) as repo:
        tree = repo[repo[repo.refs[ref]].tree]
        found = repo.object_store.iter_tree_contents(tree.id)
        return {entry.path.decode(): repo[entry.sha].data for entry in found}


def commit(path: Path, changed: dict[str, bytes], ref: bytes = REF) -> bytes:
    """Commit files as a person does."""
    with Repo(str(path)) as repo:
        head = repo.refs.as_dict().get(ref)
        root = repo[repo[head].tree] if head else Tree()
        for name, content in changed.items():
            folder, _, file = name.rpartition("/")
            blob = Blob.from_string(content)
            repo.object_store.add_object(blob)
            if not folder:
                root.add(file.encode(), 0o100644, blob.id)
                continue
            inner = repo[root[folder.encode()][1]] if folder.encode() in root else Tree()
            inner.add(file.encode(), 0o100644, blob.id)
            repo.object_store.add_object(inner)
            root.add(folder.encode(), 0o040000, inner.id)
        repo.object_store.add_object(root)
        new = Commit()
        new.tree, new.parents = root.id, [head] if head else []
        new.author = new.committer = b"Ada <ada@example.org>"
        new.author_time = new.commit_time = int(WRITTEN)
        new.author_timezone = new.commit_timezone = 0
        new.message = b"by hand\n"
        repo.object_store.add_object(new)
        repo.refs[ref] = new.id
        return new.id


async def test_a_batch_is_one_commit_and_tasks_share_them(tmp_path: Path) -> None:
    async with GitStore(tmp_path / "r") as store:
        await store.put_many("users", {str(number): number for number in range(100)})
        assert await asyncio.to_thread(lambda: len(commits(tmp_path / "r"))) == 1
        await asyncio.gather(*(store.put("users", str(number), -number) for number in range(100)))
        made = await asyncio.to_thread(commits, tmp_path / "r")
        assert 2 <= len(made) <= 4
        assert made[-1].message.startswith(b"100 changes\n\nput users/0.json\n")
        await store.put("users", "a/b", 1)
        assert (await asyncio.to_thread(commits, tmp_path / "r"))[0].message == b"put users/a%2fb.json\n"
        assert await store.get_many("users", ["5", "99"]) == {"5": -5, "99": -99}


async def test_what_changes_nothing_is_no_commit(tmp_path: Path) -> None:
    async with GitStore(tmp_path) as store:
        await store.put("c", "k", 1)
        assert await store.delete("c", "other") is False
        assert await store.put_if_absent("c", "k", 2) is None
        assert await store.touch("c", "other", ttl=5) is False
        assert await store.touch("c", "k", ttl=None) is True
        assert await store.destroy_collection("d") is False
    assert len(commits(tmp_path)) == 1


async def test_a_delete_and_a_destroy_keep_their_parents(tmp_path: Path) -> None:
    async with GitStore(tmp_path) as store:
        await store.put("c", "k", 1)
        await store.delete("c", "k")
        await store.put("c", "k", 2)
        await store.destroy()
    made = commits(tmp_path)
    assert [len(one.parents) for one in made] == [1, 1, 1, 0]
    assert files(tmp_path) == {}


async def test_history_has_every_change_of_an_entry_and_no_other(tmp_path: Path) -> None:
    clock = FakeClock()
    async with GitStore(tmp_path, clock=clock, author="Ada <ada@example.org>") as store:
        assert [one async for one in store.history("users", "ada")] == []
        for value in ({"n": 1}, b"bytes"):
            await store.put("users", "ada", value)
            await store.put("users", "bob", value)
            clock.advance(10)
        await store.delete("users", "ada")
        clock.advance(10)
        await store.put("users", "ada", {"n": 3}, ttl=60)
        current = await store.get_entry("users", "ada")
        found = [one async for one in store.history("users", "ada")]
    assert [None if one.entry is None else one.entry.value for one in found] == [{"n": 3}, None, b"bytes", {"n": 1}]
    assert isinstance(found[0].entry, Entry)
    assert found[0].entry == current
    assert {one.author for one in found} == {"Ada <ada@example.org>"}
    assert [(found[0].committed_at - one.committed_at).seconds for one in found] == [0, 10, 20, 30]
    assert found[0].commit == commits(tmp_path)[0].id.decode()


async def test_a_view_at_a_tag_reads_what_was_and_refuses_changes(tmp_path: Path) -> None:
    async with GitStore(tmp_path) as store:
        await store.put("c", "k", "old")
        first = (await asyncio.to_thread(commits, tmp_path))[0].id
        await asyncio.to_thread(
            porcelain.tag_create, str(tmp_path), b"v1", annotated=True, message=b"m", objectish=first, author=b"A <a@b>"
        )
        await store.put("c", "k", "new")
        for at in ("v1", first.decode(), first.decode()[:10], "refs/tags/v1"):
            async with open_store(f"git://{tmp_path}?at={at}") as view:
                assert await view.get("c", "k") == "old"
                assert [key async for key in view.keys("c")] == ["k"]
                assert view.capabilities == Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS
                for change in (view.put("c", "k", 1), view.delete("c", "k")):
                    with pytest.raises(ReadOnlyError, match="is read-only"):
                        await change
                with pytest.raises(UnsupportedOperationError):
                    await view.destroy()
        assert await store.get("c", "k") == "new"
    async with GitStore(tmp_path, at="v2") as absent:
        with pytest.raises(ConfigurationError, match="no tag, branch or commit 'v2'"):
            await absent.get("c", "k")


async def test_a_view_of_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    async with GitStore(tmp_path / "absent", at="v1") as view:
        with pytest.raises(ConfigurationError, match="not a git repository"):
            await view.get("c", "k")
    assert not (tmp_path / "absent").exists()


async def test_a_branch_that_a_work_tree_has_is_refused_and_another_leaves_it_alone(tmp_path: Path) -> None:
    def prepare() -> None:
        with Repo.init(str(tmp_path), default_branch=b"main") as repo:
            (tmp_path / "README").write_text("theirs")
            porcelain.add(repo, paths=[str(tmp_path / "README")])
            porcelain.commit(repo, message=b"m", author=b"A <a@b>", committer=b"A <a@b>")

    await asyncio.to_thread(prepare)
    async with GitStore(tmp_path, branch="main") as store:
        for change in (store.put("c", "k", 1), store.put_if_absent("c", "k", 1)):
            with pytest.raises(ConfigurationError, match="is checked out in"):
                await change
        assert await store.get("c", "k") is None
    async with GitStore(tmp_path) as store:
        await store.put("c", "k", 1)
    status = await asyncio.to_thread(porcelain.status, str(tmp_path))
    assert (status.staged, status.unstaged, status.untracked) == ({"add": [], "delete": [], "modify": []}, [], [])
    linked = tmp_path / ".git" / "worktrees" / "other"
    linked.mkdir(parents=True)
    (linked / "HEAD").write_text("ref: refs/heads/satchel\n")
    async with GitStore(tmp_path) as store:
        with pytest.raises(ConfigurationError, match="is checked out in other"):
            await store.put("c", "k", 2)


async def test_files_of_others_stay(tmp_path: Path) -> None:
    theirs = {"README.md": b"# Read me", "c/notes.txt": b"notes", "c/other.json": b"{}", "d/x.json": b'{"a": 1}'}
    async with GitStore(tmp_path) as store:
        await store.put("c", "k", 1)
        await asyncio.to_thread(commit, tmp_path, theirs)
        await store.put("c", "k", 2)
        with pytest.raises(IntegrityError, match="cannot be read as an entry"):
            await store.get("c", "other")
        assert [key async for key in store.keys("c")] == ["k"]
        assert [name async for name in store.collections()] == ["c"]
        await asyncio.to_thread(commit, tmp_path, {"e": b"a file"})
        with pytest.raises(StoreError, match="where the directory e should be"):
            await store.put("e", "k", 1)
        assert await store.destroy() is True
    assert files(tmp_path) == {**theirs, "e": b"a file"}


async def test_an_edit_by_hand_is_a_new_version(tmp_path: Path) -> None:
    async with GitStore(tmp_path) as store:
        await store.put("users", "ada", {"name": "Ada"}, ttl=3600)
        before = await store.get_entry("users", "ada")
        assert before is not None
        edited = (await asyncio.to_thread(files, tmp_path))["users/ada.json"].replace(b'"Ada"', b'"Lovelace"')
        await asyncio.to_thread(
            commit, tmp_path, {"users/ada.json": edited, "users/new.json": b'{"satchel":1,"value":5}'}
        )
        after = await store.get_entry("users", "ada")
        assert after is not None
        assert (after.value, after.expires_at, after.updated_at) == (
            {"name": "Lovelace"},
            before.expires_at,
            before.updated_at,
        )
        assert after.version != before.version
        assert await store.compare_and_put("users", "ada", 1, version=before.version) is None
        assert await store.compare_and_put("users", "ada", 1, version=after.version) is not None
        assert await store.get("users", "new") == 5


@pytest.mark.long
async def test_hostile_names_stay_in_their_folders_and_a_checkout_is_a_file_tree(tmp_path: Path) -> None:
    names = [
        *list(LEGAL_NAMES)[::7],
        ".git",
        "..",
        ".",
        "../x",
        "/etc",
        "git~1",
        ".GIT",
        "a\\b",
        "con",
        "x.lock",
        "\r\n",
    ]
    async with GitStore(tmp_path / "repository") as store:
        for name in names:
            await store.put_many(name, dict.fromkeys(names, name))
        assert sorted([name async for name in store.collections()]) == sorted(set(names))
    for path in await asyncio.to_thread(files, tmp_path / "repository"):
        file = path.partition("/")[2]
        assert file
        assert "/" not in file
        assert not path.startswith(".")
        assert ".." not in path.split("/")
        assert "git~1" not in path
        assert not set(path) & set("\\\r\n\0")

    def check_out() -> None:
        (tmp_path / "checkout").mkdir()
        with Repo(str(tmp_path / "repository")) as repo:
            build_index_from_tree(
                str(tmp_path / "checkout"), str(tmp_path / "index"), repo.object_store, repo[repo.refs[REF]].tree
            )

    await asyncio.to_thread(check_out)
    async with FileTreeStore(tmp_path / "checkout") as tree:
        for name in names:
            assert await tree.get_many(name, names) == dict.fromkeys(names, name)


async def test_packing_by_others_harms_nobody(tmp_path: Path) -> None:
    def pack() -> None:
        with Repo(str(tmp_path)) as repo:
            porcelain.repack(repo)
            repo.refs.pack_refs(all=True)

    async with GitStore(tmp_path) as store:
        for number in range(5):
            await store.put("c", "k", number)
            await asyncio.to_thread(pack)
            assert await store.get("c", "k") == number
            assert not (tmp_path / "refs" / "heads" / "satchel").exists()
        await store.put("c", "k", "last")
        assert await store.get("c", "k") == "last"
        assert len([one async for one in store.history("c", "k")]) == 6


async def test_a_lock_that_stays_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "BUSY_SECONDS", 0.2)
    async with GitStore(tmp_path) as store:
        await store.put("c", "k", 1)
        lock = tmp_path / "refs" / "heads" / "satchel.lock"
        lock.touch()
        with pytest.raises(StoreUnavailableError, match=r"satchel\.lock is there: .* remove that file"):
            await store.put("c", "k", 2)
        assert await store.get("c", "k") == 1
        lock.unlink()
        await store.put("c", "k", 2)


async def test_a_damaged_object_is_an_error_of_its_entry_alone(tmp_path: Path) -> None:
    async with GitStore(tmp_path) as store:
        await store.put("c", "good", 1)
        await store.put("c", "bad", 2)
        (name,) = [
            entry.sha.decode()
            for entry in await asyncio.to_thread(lambda: list(_contents(tmp_path)))
            if entry.path == b"c/bad.json"
        ]
        file = tmp_path / "objects" / name[:2] / name[2:]
        file.chmod(0o600)
        file.write_bytes(b"x")
        with pytest.raises(IntegrityError, match="is damaged"):
            await store.get("c", "bad")
        assert await store.get("c", "good") == 1


def _contents(path: Path):
    with Repo(str(path)) as repo:
        yield from repo.object_store.iter_tree_contents(repo[repo.refs[REF]].tree)


def test_a_commit_has_the_form_it_had_in_every_release(tmp_path: Path) -> None:
    identity = Identity(b"satchel <satchel@localhost>", b"satchel <satchel@localhost>")
    place = Repository(str(tmp_path / "r"), "satchel", None, identity, lambda: WRITTEN)
    place.open()
    entries = Entries(place)
    version = "00112233445566778899aabbccddeeff"
    payload = json.dumps(
        {"name": "Ada Lovelace", "notes": ["é", 1.5, None, {}]}, ensure_ascii=False, separators=(",", ":")
    )
    entries.write(
        [
            (("users", "ada"), Record(payload.encode(), 1, version, WRITTEN, WRITTEN + 3600.25)),
            (("users", "photo/1"), Record(b"\x00\x01photo", 0, version, WRITTEN, NEVER)),
        ]
    )
    place.close()
    golden = {f"users/{file.name}": file.read_bytes() for file in GOLDEN.iterdir() if file.name != "by%20hand.json"}
    found = files(tmp_path / "r")
    assert found["users/photo%2f1.bin"] == golden["users/photo%2f1.bin"]
    assert json.loads(found["users/ada.json"]).keys() == json.loads(golden["users/ada.json"]).keys()
    (made,) = commits(tmp_path / "r")
    assert made.id == b"483e0cb7e78b556dd8ec6fd5ab59deb50305b0cb"


async def test_golden_files_are_read(tmp_path: Path) -> None:
    def prepare() -> None:
        Repo.init_bare(str(tmp_path / "r"), mkdir=True).close()
        commit(tmp_path / "r", {f"users/{file.name}": file.read_bytes() for file in GOLDEN.iterdir()})

    await asyncio.to_thread(prepare)
    async with GitStore(tmp_path / "r", clock=lambda: WRITTEN) as store:
        found = await store.get_entries("users", ["ada", "photo/1", "by hand"])
        assert found["ada"].value == {"name": "Ada Lovelace", "notes": ["é", 1.5, None, {}]}
        assert found["photo/1"].value == b"\x00\x01photo"
        assert found["ada"].version == found["photo/1"].version == "00112233445566778899aabbccddeeff"
        assert sorted([key async for key in store.keys("users")]) == ["ada", "by hand", "photo/1"]


@pytest.mark.parametrize("option", ["author", "committer"])
@pytest.mark.parametrize("given", ["", "Ada", "Ada <a", "<a@b>", "A\nB <a@b>", "A <a@b> C", 5])
def test_an_identity_of_another_form_is_refused(tmp_path: Path, option: str, given: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{option} must have the form"):
        GitStore(tmp_path, **{option: given})  # type: ignore[arg-type]  # it is what is tested


@pytest.mark.parametrize("branch", ["", "a b", "..", "-x", "x.lock", "a//b", "\ud800", 5])
def test_a_branch_that_git_does_not_take_is_refused(tmp_path: Path, branch: object) -> None:
    with pytest.raises(ConfigurationError, match="branch must be"):
        GitStore(tmp_path, branch=branch)  # type: ignore[arg-type]  # it is what is tested


async def test_author_and_committer_are_in_the_commit(tmp_path: Path) -> None:
    async with GitStore(tmp_path, branch="a/b", author="Ada É <a@b>", committer="Bot <c@d>") as store:
        await store.put("c", "k", 1)
    (made,) = commits(tmp_path, b"refs/heads/a/b")
    assert (made.author, made.committer) == ("Ada É <a@b>".encode(), b"Bot <c@d>")


async def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("theirs")
    async with GitStore(tmp_path) as store:
        with pytest.raises(ConfigurationError, match="not a git repository"):
            await store.put("c", "k", 1)
    assert await asyncio.to_thread(lambda: [path.name for path in tmp_path.iterdir()]) == ["file"]


async def test_a_repository_that_vanishes_is_an_error_for_readers_too(tmp_path: Path) -> None:
    async with GitStore(tmp_path / "data") as store:
        await store.put("c", "k", 1)
        shutil.rmtree(tmp_path / "data")
        for call in (store.get("c", "k"), store.exists("c", "k"), store.delete("c", "k"), store.cull(), store.ping()):
            with pytest.raises(StoreError, match="is not there") as caught:
                await call
            assert not caught.value.retryable
        with pytest.raises(StoreError, match="is not there"):
            [key async for key in store.keys("c")]
