"""The entries of a branch: each a file `{collection}/{key}.json`, or `.bin`, as a file tree store has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar, TypeVarTuple

import msgspec
from dulwich.objects import ObjectID

from ...backend.base import Condition
from ...backend.record import Record, pack, unpack
from ...clock import NEVER
from ...codec import RAW_BYTES, JsonCodec
from ...errors import IntegrityError, SatchelError
from ...names import SAFE, Escaping, Ref
from .._documents import Head, head_of_document, nanoseconds, read_committed_document, read_head, write_document
from .repository import Draft, Folder, Repository

JSON, BINARY = b".json", b".bin"

_DEVICES = ("com", "lpt")
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(name + digit for name in _DEVICES for digit in "0123456789¹²³")})
# As a file tree store has it on Linux, so that a checkout is one.
_ESCAPING = Escaping(SAFE, 255 - len(JSON), True, _RESERVED)
_PAGE = 500
_REMEMBERED = 10_000
_HISTORY_PAGE = 100

Given = TypeVarTuple("Given")
R = TypeVar("R")
Outcomes = list[bool | SatchelError]


class EntryChange(NamedTuple):
    """Change of one entry in the history of a branch.

    Attributes:
        commit: The commit that made it.
        committed_at: When, in seconds since the Unix epoch.
        author: Who, as `Name <address>`.
        record: The entry after it; None if it removed the entry.
    """

    commit: str
    committed_at: float
    author: str
    record: Record | None


class Entries:
    """Entries of a branch, read and changed. It belongs to one thread at a time.

    Args:
        repository: Where the branch is.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._escape = lru_cache(1000)(_escape)
        self._head_of = lru_cache(_REMEMBERED)(self._read_head)

    def read(self, refs: Sequence[Ref]) -> list[Record | SatchelError | None]:
        """Return the records, expired ones as they are."""
        root = self._repository.root(self._repository.head())
        return [self._attempt(self._read_one, root, ref) for ref in refs]

    def read_heads(self, refs: Sequence[Ref]) -> list[Record | SatchelError | None]:
        """Return records with a deadline and nothing else."""
        root = self._repository.root(self._repository.head())
        return [self._attempt(self._read_head_of_one, root, ref) for ref in refs]

    def write(self, items: Sequence[tuple[Ref, Record]]) -> list[SatchelError | None]:
        """Store records in one commit."""

        def put(draft: Draft, index: int) -> bool:
            return self._put(draft, *items[index])

        return [outcome if isinstance(outcome, SatchelError) else None for outcome in self._change(len(items), put)]

    def delete(self, refs: Sequence[Ref], now: float) -> Outcomes:
        """Remove entries in one commit, damaged ones too; say of each whether it existed and lived."""

        def remove(draft: Draft, index: int) -> bool:
            head = self._draft_head(draft, refs[index])
            return self._remove(draft, refs[index]) and head is not None and head.deadline > now

        return self._change(len(refs), remove)

    def put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Outcomes:
        """Store each record where the condition holds, in one commit."""

        def put(draft: Draft, index: int) -> bool:
            ref, record, condition = items[index]
            return self._holds(draft, ref, condition, now) and self._put(draft, ref, record)

        return self._change(len(items), put)

    def delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Outcomes:
        """Remove each entry that has the version, in one commit."""

        def remove(draft: Draft, index: int) -> bool:
            ref, version = items[index]
            return self._holds(draft, ref, version, now) and self._remove(draft, ref)

        return self._change(len(items), remove)

    def touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Outcomes:
        """Give each living entry a new deadline, in one commit."""

        def renew(draft: Draft, index: int) -> bool:
            ref, deadline = items[index]
            record = self._draft_record(draft, ref)
            if record is None or record.deadline <= now:
                return False
            return record.deadline == deadline or self._put(
                draft, ref, msgspec.structs.replace(record, deadline=deadline, checksum=None)
            )

        return self._change(len(items), renew)

    def keys(self, collection: str, prefix: str, now: float) -> Iterator[list[str]]:
        """Yield the keys of living entries of one commit in pages."""
        name = self._escape(collection)
        files = self._repository.subfolder(self._repository.root(self._repository.head()), name)
        page: list[str] = []
        for file, head in self._heads(name, files):
            key = self._name(1, _stem(file), head)
            if head.readable and head.deadline > now and key is not None and key.startswith(prefix):
                page.append(key)
            if len(page) >= _PAGE:
                yield page
                page = []
        yield page

    def collections(self, now: float) -> Iterator[list[str]]:
        """Yield the collections with a living entry, one or none at a time."""
        root = self._repository.root(self._repository.head())
        for name in root:
            for file, head in self._heads(name, self._repository.subfolder(root, name)):
                collection = self._name(0, name, head)
                lives = head.readable and head.deadline > now
                if lives and collection is not None and self._name(1, _stem(file), head) is not None:
                    yield [collection]
                    break

    def remove_where(self, folder: str | None, unwanted: Callable[[Head], bool]) -> list[Head]:
        """Remove entries in one commit; return their heads.

        Args:
            folder: Their collection; None for all.
            unwanted: Function that returns whether an entry is to go.
        """
        chosen = None if folder is None else self._escape(folder)

        def remove(draft: Draft) -> list[Head]:
            gone = []
            for name in [chosen] if chosen is not None else list(draft.root):
                for file, head in list(self._heads(name, self._repository.subfolder(draft.root, name))):
                    if head.marked and unwanted(head) and draft.remove(name, file):
                        gone.append(head)
            return gone

        return self._repository.change(remove)

    def history(self, ref: Ref) -> Iterator[list[EntryChange]]:
        """Yield the commits that changed an entry, the last one first, in pages."""
        head = self._repository.head()
        if head is None:
            return
        page: list[EntryChange] = []
        for count, name in enumerate(self._repository.ancestors(head), 1):
            commit = self._repository.commit(name)
            here = self._files_of(name, ref)
            before = [self._files_of(parent, ref) for parent in commit.parents]
            if (before and here not in before) or (not before and here):
                record = self._attempt(self._record_of, ref, here)
                page.append(
                    EntryChange(
                        name.decode(),
                        float(commit.commit_time),
                        commit.author.decode("utf-8", "replace"),
                        record if isinstance(record, Record) else None,
                    )
                )
            if count % _HISTORY_PAGE == 0:
                yield page
                page = []
        yield page

    def _change(self, count: int, change: Callable[[Draft, int], bool]) -> Outcomes:
        def work(draft: Draft) -> Outcomes:
            return [self._attempt(change, draft, index) for index in range(count)]

        return self._repository.change(work)

    def _attempt(self, work: Callable[[*Given], R], *given: *Given) -> R | SatchelError:
        try:
            return work(*given)
        except SatchelError as error:
            return error

    def _read_one(self, root: Folder, ref: Ref) -> Record | None:
        return self._record_of(ref, self._files(root, ref))

    def _read_head_of_one(self, root: Folder, ref: Ref) -> Record | None:
        found = self._files(root, ref)
        if not found:
            return None
        suffix, name = found[0]
        head = self._head_of(suffix, name)
        if not head.readable:
            return self._record_of(ref, found)  # which says what is wrong with it
        return Record(b"", RAW_BYTES, head.version or "", 0.0, head.deadline)

    def _record_of(self, ref: Ref, files: Sequence[tuple[bytes, ObjectID]]) -> Record | None:
        return _record(ref, files[0][0], self._repository.content(files[0][1])) if files else None

    def _files_of(self, commit: ObjectID, ref: Ref) -> list[tuple[bytes, ObjectID]]:
        return self._files(self._repository.root(commit), ref)

    def _files(self, root: Folder, ref: Ref) -> list[tuple[bytes, ObjectID]]:
        """Return the kinds and objects of an entry's files; where a person made two, the first one counts."""
        folder = self._repository.subfolder(root, self._escape(ref[0]))
        stem = self._escape(ref[1])
        return [(suffix, folder[stem + suffix][1]) for suffix in (JSON, BINARY) if stem + suffix in folder]

    def _heads(self, name: bytes, files: Folder) -> Iterator[tuple[bytes, Head]]:
        """Yield the files of a directory that may be entries, with their heads."""
        if not _is_name(name):
            return
        for file, (_, entry) in files.items():
            suffix = b"." + file.rpartition(b".")[2]
            is_second = suffix == BINARY and _stem(file) + JSON in files  # a person made it; the first one counts
            if suffix in {JSON, BINARY} and _is_name(_stem(file)) and not is_second:
                yield file, self._head_of(suffix, entry)

    def _read_head(self, suffix: bytes, name: ObjectID) -> Head:
        return _head(suffix, self._repository.content(name))

    def _name(self, which: int, escaped: bytes, head: Head) -> str | None:
        """Return the collection or key of an entry, from the name of its file, or else from the file."""
        name = _ESCAPING.unescape(os.fsdecode(escaped))
        if name is not None:
            return name
        inside = None if head.names is None else head.names[which]
        return inside if inside is not None and self._escape(inside) == escaped else None

    def _draft_file(self, draft: Draft, ref: Ref) -> tuple[bytes, bytes] | None:
        folder, stem = self._escape(ref[0]), self._escape(ref[1])
        for suffix in (JSON, BINARY):
            content = draft.content(folder, stem + suffix)
            if content is not None:
                return suffix, content
        return None

    def _draft_head(self, draft: Draft, ref: Ref) -> Head | None:
        found = self._draft_file(draft, ref)
        return None if found is None else _head(*found)

    def _draft_record(self, draft: Draft, ref: Ref) -> Record | None:
        found = self._draft_file(draft, ref)
        return None if found is None else _record(ref, *found)

    def _holds(self, draft: Draft, ref: Ref, condition: Condition, now: float) -> bool:
        record = self._draft_record(draft, ref)
        if record is None or record.deadline <= now:
            return condition is None
        return record.version == condition

    def _put(self, draft: Draft, ref: Ref, record: Record) -> bool:
        folder, stem = self._escape(ref[0]), self._escape(ref[1])
        is_json = record.codec == JsonCodec.number
        new, old = (JSON, BINARY) if is_json else (BINARY, JSON)
        sealed = record if record.checksum is not None else record.sealed(ref)
        content = write_document(ref, sealed, nanoseconds(record.updated_at)) if is_json else pack(sealed)
        draft.put(folder, stem + new, content)
        draft.discard(folder, stem + old)
        return True

    def _remove(self, draft: Draft, ref: Ref) -> bool:
        folder, stem = self._escape(ref[0]), self._escape(ref[1])
        return draft.remove(folder, stem + JSON) | draft.remove(folder, stem + BINARY)


def _record(ref: Ref, suffix: bytes, content: bytes) -> Record:
    return unpack(content) if suffix == BINARY else read_committed_document(ref, content)


def _head(suffix: bytes, content: bytes) -> Head:
    if suffix == JSON:
        return read_head(content) or head_of_document(content)
    try:
        record = unpack(content, whole=False)
    except IntegrityError:
        return Head(NEVER, marked=content.startswith(b"\x89S"), readable=False)
    return Head(record.deadline, record.names, version=record.version)


def _escape(name: str) -> bytes:
    return os.fsencode(_ESCAPING.escape(name))


def _is_name(escaped: bytes) -> bool:
    return b"%-" in escaped or _ESCAPING.unescape(os.fsdecode(escaped)) is not None


def _stem(file: bytes) -> bytes:
    return file.rpartition(b".")[0]
