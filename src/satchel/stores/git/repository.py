"""The branch of a git repository: its trees and files read, and changed by commits of which none is lost."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from dulwich.file import FileLocked
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tree
from dulwich.objectspec import parse_commit
from dulwich.refs import Ref as RefName
from dulwich.repo import Repo

from ..._shortage import shortage_of_descriptors
from ...clock import Clock
from ...errors import ConfigurationError, ConflictError, IntegrityError, StoreError

T = TypeVar("T")

Folder = dict[bytes, tuple[int, ObjectID]]
"""The names in a directory of a commit, with their modes and objects."""

BUSY_SECONDS = 10.0
"""How long others may be faster, or hold the branch's lock."""

_FILE, _FOLDER = 0o100644, 0o040000
_KIND = 0o170000
_REMEMBERED = 64
_DESCRIPTORS = 2  # for the lock of the branch, and the branch itself
_LONGEST_PAUSE = 0.05
_HEADS = "refs/heads/"


class Identity(NamedTuple):
    """Author and committer of the commits.

    Attributes:
        author: `Name <address>`, in UTF-8.
        committer: The same.
    """

    author: bytes
    committer: bytes


class Repository:
    """One branch of a repository, or one commit. It belongs to one thread at a time.

    Args:
        path: The directory of the repository.
        branch: The name of the branch.
        at: A tag, branch or commit to read instead.
        identity: Author and committer of the commits.
        clock: Function that returns seconds since the Unix epoch.
    """

    def __init__(self, path: str, branch: str, at: str | None, identity: Identity, clock: Clock) -> None:
        self._path = path
        self._branch = branch
        self._ref = RefName(f"{_HEADS}{branch}".encode())
        self._at = at
        self._identity = identity
        self._clock = clock
        self._repo: Repo
        self._fixed: ObjectID | None = None

    def open(self) -> None:
        """Open the repository, made if there is none and nothing else.

        Raises:
            ConfigurationError: There is something else, or what is to be read is not there.
        """
        if self._at is None and _is_free(self._path):
            _make(self._path, self._branch)
        self._repo = Repo(self._path)
        # What an object has under its name never changes.
        self.folder = lru_cache(_REMEMBERED)(self._folder)
        self._fixed = None if self._at is None else self._resolve(self._at)

    def close(self) -> None:
        """Close the files of the repository."""
        self._repo.close()

    def head(self) -> ObjectID | None:
        """Return the commit to read: the last one of the branch; None if it has none."""
        if self._fixed is not None:
            return self._fixed
        try:
            return self._repo.refs[self._ref]
        except KeyError:
            (Path(self._repo.controldir()) / "HEAD").stat()  # it raises if the repository itself is gone
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                Path(self._repo.commondir(), os.fsdecode(self._ref)).read_bytes()  # dulwich hides what hinders it
            return None

    def root(self, commit: ObjectID | None) -> Folder:
        """Return the directory at the top of a commit."""
        return {} if commit is None else self.folder(self.commit(commit).tree)

    def commit(self, name: ObjectID) -> Commit:
        """Return a commit."""
        found = self._object(name)
        if not isinstance(found, Commit):
            raise StoreError(f"the branch {self._branch!r} of {self._path} does not name a commit")
        return found

    def content(self, name: ObjectID) -> bytes:
        """Return what is in a file."""
        return self._object(name).as_raw_string()

    def subfolder(self, root: Folder, name: bytes) -> Folder:
        """Return a directory within another one; an empty one if there is none."""
        mode, entry = root.get(name, (0, None))
        return self.folder(entry) if entry is not None and mode & _KIND == _FOLDER else {}

    def ancestors(self, head: ObjectID) -> Iterator[ObjectID]:
        """Yield a commit and those before it, the last one first."""
        return (entry.commit.id for entry in self._repo.get_walker(include=[head]))

    def change(self, work: Callable[[Draft], T]) -> T:
        """Commit what a function changes; again on the newer commit when another writer was faster.

        Args:
            work: Is called with the files of the last commit, once or several times. If it changes nothing, nothing is
                committed.

        Raises:
            ConfigurationError: The branch is checked out in a work tree.
            ConflictError: Others were faster all the time.
            StoreUnavailableError: Another process holds the lock of the branch all the time.
        """
        give_up, attempt, locked = time.monotonic() + BUSY_SECONDS, 0, None
        while attempt < 2 or time.monotonic() < give_up:
            if attempt:
                time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.001 * 2 ** min(attempt, 10))))  # noqa: S311  # spreads load, hides nothing
            attempt += 1
            head = self.head()
            draft = Draft(self, head)
            result = work(draft)
            if not draft.changes:
                return result
            self._refuse_checked_out()
            try:
                if self._advance(head, self._write(draft, head)):
                    return result
                locked = None
            except FileLocked as error:
                locked = error
        if locked is not None:
            raise locked
        raise ConflictError(f"for {BUSY_SECONDS:.0f} seconds other writers of {self._branch!r} were faster; try again")

    def _advance(self, head: ObjectID | None, commit: ObjectID) -> bool:
        """Let the branch name a new commit, if it still names the one before; return whether it did."""
        refs = self._repo.refs
        if refs.add_if_new(self._ref, commit) if head is None else refs.set_if_equals(self._ref, head, commit):
            return True
        if (used_up := shortage_of_descriptors(_DESCRIPTORS)) is not None:  # dulwich could not read the branch
            raise used_up
        return False

    def _write(self, draft: Draft, head: ObjectID | None) -> ObjectID:
        objects = self._repo.object_store
        root = draft.root
        for name, folder in draft.folders.items():
            for file, content in draft.contents.get(name, {}).items():
                blob = Blob.from_string(content)
                objects.add_object(blob)
                folder[file] = (_FILE, blob.id)
            if folder:
                root[name] = (_FOLDER, self._add_tree(folder))
            else:
                root.pop(name, None)
        commit = Commit()
        commit.tree = self._add_tree(root)
        commit.parents = [] if head is None else [head]
        commit.author, commit.committer = self._identity
        commit.author_time = commit.commit_time = max(0, int(self._clock()))
        commit.author_timezone = commit.commit_timezone = 0
        commit.encoding = b"UTF-8"
        commit.message = draft.message()
        objects.add_object(commit)
        return commit.id

    def _add_tree(self, folder: Folder) -> ObjectID:
        tree = Tree()
        for name, (mode, entry) in folder.items():
            tree.add(name, mode, entry)
        self._repo.object_store.add_object(tree)
        return tree.id

    def _object(self, name: ObjectID) -> ShaFile:
        try:
            return self._repo.object_store[name]
        except KeyError:
            raise StoreError(
                f"{self._path} lacks an object that its commits name: it is damaged, or a partial clone"
            ) from None
        except OSError:
            raise
        except Exception as error:  # dulwich raises a dozen kinds, and some of Python's own
            raise IntegrityError(f"an object of {self._path} is damaged; restore it from another clone") from error

    def _folder(self, name: ObjectID) -> Folder:
        found = self._object(name)
        if not isinstance(found, Tree):
            raise StoreError(f"{self._path} has something else where a directory should be")
        return {entry.path: (entry.mode, entry.sha) for entry in found.iteritems()}

    def _resolve(self, at: str) -> ObjectID:
        try:
            return parse_commit(self._repo, at.encode()).id
        except (KeyError, ValueError):
            raise ConfigurationError(f"{self._path} has no tag, branch or commit {at!r}") from None

    def _refuse_checked_out(self) -> None:
        """Raise when a work tree has the branch: its files would seem to have been changed back.

        Git refuses a push to such a branch for the same reason.
        """
        for place, name in self._checked_out():
            if name == self._ref:
                raise ConfigurationError(
                    f"the branch {self._branch!r} is checked out in {place}; choose another branch for the store, or "
                    "check out another one there"
                )

    def _checked_out(self) -> Iterator[tuple[str, bytes]]:
        """Yield the work trees of the repository and the branches that they have."""
        common = Path(self._repo.commondir())
        places = [] if self._repo.bare else [(str(common.parent), common)]
        with contextlib.suppress(FileNotFoundError):
            places += [(linked.name, linked) for linked in (common / "worktrees").iterdir()]
        for place, folder in places:
            with contextlib.suppress(FileNotFoundError):
                yield place, (folder / "HEAD").read_bytes().removeprefix(b"ref:").strip()


class Draft:
    """Draft of a commit that is being made.

    Args:
        repository: Where the files are.
        head: The commit before it.

    Attributes:
        root: The directory at the top.
        folders: The directories that were looked into, as they are to be.
        contents: The files that are new in them.
        changes: What was done, as the commit says it.
    """

    def __init__(self, repository: Repository, head: ObjectID | None) -> None:
        self._repository = repository
        self.root: Folder = dict(repository.root(head))
        self.folders: dict[bytes, Folder] = {}
        self.contents: dict[bytes, dict[bytes, bytes]] = {}
        self.changes: list[str] = []

    def folder(self, name: bytes) -> Folder:
        """Return a directory to change; it is empty if it is not there.

        Raises:
            StoreError: There is something else in its place.
        """
        if name not in self.folders:
            mode, _ = self.root.get(name, (_FOLDER, None))
            if mode & _KIND != _FOLDER:
                raise StoreError(f"the branch has a file where the directory {os.fsdecode(name)} should be; remove it")
            self.folders[name] = dict(self._repository.subfolder(self.root, name))
        return self.folders[name]

    def content(self, folder: bytes, file: bytes) -> bytes | None:
        """Return what is in a file; None if there is none."""
        new = self.contents.get(folder, {}).get(file)
        if new is not None:
            return new
        entry = self.folder(folder).get(file)
        return None if entry is None else self._repository.content(entry[1])

    def put(self, folder: bytes, file: bytes, content: bytes) -> None:
        """Replace a file."""
        self.folder(folder)
        self.contents.setdefault(folder, {})[file] = content
        self.changes.append(f"put {os.fsdecode(folder)}/{os.fsdecode(file)}")

    def remove(self, folder: bytes, file: bytes) -> bool:
        """Remove a file, and return whether there was one."""
        was_new = self.contents.get(folder, {}).pop(file, None) is not None
        was_there = self.folder(folder).pop(file, None) is not None
        if was_there:
            self.changes.append(f"delete {os.fsdecode(folder)}/{os.fsdecode(file)}")
        return was_new or was_there

    def discard(self, folder: bytes, file: bytes) -> None:
        """Remove the file that an entry had before its other one was put."""
        self.folder(folder).pop(file, None)
        self.contents.get(folder, {}).pop(file, None)

    def message(self) -> bytes:
        """Return the message of the commit."""
        if len(self.changes) == 1:
            return os.fsencode(f"{self.changes[0]}\n")
        shown = self.changes[:20] + ["..."] * (len(self.changes) > 20)
        return os.fsencode("\n".join([f"{len(self.changes)} changes", "", *shown, ""]))


def _is_free(path: str) -> bool:
    """Return whether there is nothing at a path, or an empty directory."""
    try:
        with os.scandir(path) as found:
            return next(found, None) is None
    except FileNotFoundError:
        return True


def _make(path: str, branch: str) -> None:
    """Make a bare repository, unless another process is faster."""
    parent = Path(path).parent
    parent.mkdir(parents=True, exist_ok=True)
    place = tempfile.mkdtemp(prefix=".satchel-", dir=parent)
    try:
        Repo.init_bare(place, default_branch=branch.encode()).close()
        with contextlib.suppress(OSError):  # then there is one
            Path(place).rename(path)
    finally:
        shutil.rmtree(place, ignore_errors=True)
