"""`GitStore`: entries as files on a branch of a git repository, with their history (`git:///path?branch=name`)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from ..._places import settled
from ..._threads import Worker
from ...backend.base import BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.record import Record
from ...capability import Capability
from ...clock import Clock, as_datetime, system_clock
from ...codec import Codec
from ...entry import Entry
from ...errors import ConfigurationError, ReadOnlyError, SatchelError, missing_extra, safe_repr
from ...names import Ref, check_ref

try:
    from dulwich.refs import Ref as RefName
    from dulwich.refs import check_ref_format
except ModuleNotFoundError as error:
    raise missing_extra("GitStore", "git", error) from error

from .errors import translate
from .repository import Identity, Repository
from .tree import Entries, EntryChange

T = TypeVar("T")

_AUTHOR = "satchel <satchel@localhost>"
_LISTING = Capability.ENUMERATE_KEYS | Capability.ENUMERATE_COLLECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """Change of one entry in the history of a branch.

    Attributes:
        commit: The commit that made it, as 40 hexadecimal digits.
        committed_at: When it was made, an aware UTC datetime.
        author: Who made it, as `Name <address>`.
        entry: The entry after it; None if it was removed, or cannot be read.
    """

    commit: str
    committed_at: datetime
    author: str
    entry: Entry | None


class GitStore(BaseStore):
    """Store that keeps entries as files on a branch of a git repository, and every change as a commit.

    The files are those of `FileTreeStore`. What several tasks change at once is one commit; several processes may
    commit to one branch, and none loses the changes of another. It suits configuration and other values that change
    rarely and whose history matters: tens of commits a second are possible.

    Args:
        path: The directory of a repository, bare or with a work tree. A missing or empty one becomes a bare repository.
        branch: The branch. It must not be checked out in a work tree: the store changes no work tree.
        at: A tag, branch or commit to read instead; then the store is read-only, and stays at what that names now.
        author: Author of the commits, as `Name <address>`.
        committer: Committer of the commits, in the same form; the author by default.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An argument is unusable. At the first call: the path is not a repository. At the first
            write: a work tree has the branch.
    """

    url_parts = {"path": "path"}  # noqa: RUF012  # the base says ClassVar
    _shield_writes = False  # one thread carries out all writes in order, cut off or not

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        branch: str = "satchel",
        at: str | None = None,
        author: str = _AUTHOR,
        committer: str | None = None,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str) or not os.fspath(path):
            raise ConfigurationError(f"path must be the path of a directory, got {safe_repr(path)}")
        self._path = str(settled(os.fspath(path), "path"))
        if not isinstance(branch, str) or not _is_branch(branch):
            raise ConfigurationError(f"branch must be a name that git takes for a branch, got {safe_repr(branch)}")
        if at is not None and (not isinstance(at, str) or not at or at.startswith("-")):
            raise ConfigurationError(f"at must be a tag, a branch or a commit, got {safe_repr(at)}")
        applies = author if committer is None else committer
        self._branch = branch
        self._at = at
        self._process = 0
        self._identity = Identity(_identity("author", author), _identity("committer", applies))
        if at is not None:
            self._missing = ~_LISTING
        super().__init__(codec=codec, clock=clock)

    def __repr__(self) -> str:
        what = f"branch={self._branch!r}" if self._at is None else f"at={self._at!r}"
        return f"GitStore({self._path!r}, {what})"

    async def _open(self) -> None:
        if self._process != os.getpid():  # a forked child has none of its parent's threads
            self._reader, self._writer = (Worker(f"satchel-git-{work}", _nothing) for work in ("read", "write"))
            self._process = os.getpid()
        # dulwich's repositories are not for several threads.
        self._repositories = [
            Repository(self._path, self._branch, self._at, self._identity, self.clock) for _ in range(2)
        ]
        await self._writer.run(self._repositories[0].open)
        await self._reader.run(self._repositories[1].open)
        self._changing, self._reading = (Entries(repository) for repository in self._repositories)

    async def _close(self) -> None:
        for thread, repository in zip((self._writer, self._reader), self._repositories, strict=True):
            await thread.run(repository.close)
            thread.end()
        self._process = 0

    async def _ping(self) -> None:
        await self._reader.run(self._repositories[1].head)

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._reader.run(self._reading.read, refs)

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._reader.run(self._reading.read_heads, refs)

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        self._refuse_view()
        return await self._writer.run(self._changing.write, records)

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        self._refuse_view()
        return await self._writer.run(self._changing.delete, refs, now)

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        return await self._writer.run(self._changing.put_if, items, now)

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        return await self._writer.run(self._changing.delete_if, items, now)

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        return await self._writer.run(self._changing.touch, items, now)

    async def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        pages = self._reading.keys(collection, prefix, now)
        while (page := await self._reader.run(_next, pages)) is not None:
            yield page

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        pages = self._reading.collections(now)
        while (page := await self._reader.run(_next, pages)) is not None:
            yield page

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._destroy_where(collection, now)

    async def _destroy(self, now: float) -> bool:
        return await self._destroy_where(None, now)

    async def _cull(self, now: float) -> int:
        gone = await self._writer.run(self._changing.remove_where, None, lambda head: head.deadline <= now)
        return len(gone)

    def history(self, collection: str, key: str) -> AsyncIterator[Revision]:
        """Iterate over the changes of an entry, the last one first.

        The walk goes over all commits of the branch, or of what the store reads.

        Args:
            collection: The collection of the entry.
            key: Its key.

        Raises:
            InvalidKeyError: A name is not legal.
        """
        return self._history(check_ref(collection, key, self.max_key_bytes))

    async def _history(self, ref: Ref) -> AsyncIterator[Revision]:
        pages: Iterator[list[EntryChange]] | None = None

        async def next_page() -> list[EntryChange] | None:
            nonlocal pages
            if pages is None:
                pages = self._reading.history(ref)
            return await self._reader.run(_next, pages)

        while (page := await self._run_admin("history", next_page)) is not None:
            for change in page:
                yield Revision(
                    commit=change.commit,
                    committed_at=as_datetime(change.committed_at),
                    author=change.author,
                    entry=None if change.record is None else await self._engine.entry("history", ref, change.record),
                )

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return ref

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, self._path)

    async def _destroy_where(self, collection: str | None, now: float) -> bool:
        gone = await self._writer.run(self._changing.remove_where, collection, lambda _: True)
        return any(head.deadline > now for head in gone)

    def _refuse_view(self) -> None:
        if self._at is not None:
            raise ReadOnlyError(f"{self!r} is read-only: it is at one commit; open the branch to change it")


def _next(pages: Iterator[list[T]]) -> list[T] | None:
    return next(pages, None)


def _is_branch(name: str) -> bool:
    try:
        return not name.startswith("-") and check_ref_format(RefName(f"refs/heads/{name}".encode()))
    except UnicodeEncodeError:
        return False


def _identity(option: str, given: object) -> bytes:
    if isinstance(given, str):
        name, opening, rest = given.partition(" <")
        address, closing, behind = rest.partition(">")
        if name and opening and closing and not behind and not set(name + address) & set("<>\n\r\0"):
            return given.encode()
    raise ConfigurationError(f"{option} must have the form Name <address>, got {safe_repr(given)}")


def _nothing() -> None:
    """Hurry nothing: no call waits longer than a commit takes."""
