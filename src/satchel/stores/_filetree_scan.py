"""Listing one collection: keys from file names and, where these are hashed, from the beginning of the files."""

from __future__ import annotations

from itertools import islice

import msgspec

from ..names import Escaping
from ._filetree_directory import BINARY, JSON, Directory
from ._filetree_document import Head

_PAGE = 500  # files looked at for one page of keys


class Page(msgspec.Struct):
    """Holds what was found in some files of a collection: living keys, and the names of expired files."""

    collection: str | None
    keys: list[str]
    expired: list[str]


class Scan:
    """Lists a collection a page at a time. Between pages it keeps the directory open, and nothing else."""

    def __init__(self, directory: Directory, folder: str, escaping: Escaping) -> None:
        self._directory = directory
        self._files = directory.names()
        self._unescape = escaping.unescape
        self._escape = escaping.escape
        self._folder = folder
        self._collection = self._unescape(folder)

    def close(self) -> None:
        """Let go of the directory."""
        self._files.close()
        self._directory.__exit__()

    def page(self, prefix: str, now: float) -> Page | None:
        """Return what is in the next files; None after the last."""
        page = Page(self._collection, [], [])
        names = list(islice(self._files, _PAGE))
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            if dot + suffix not in {JSON, BINARY} or not stem or stem[0] == ".":
                continue
            key = self._unescape(stem)
            if not ("%-" in stem if key is None else key.startswith(prefix)):
                continue
            if dot + suffix == BINARY and self._directory.has(stem + JSON):
                continue  # a writer died between the two, and the other counts
            self._add(page, name, stem, key, prefix, now)
        page.collection = self._collection
        return page if names else None

    def living_collection(self, now: float) -> str | None:
        """Return the collection's name if it has a living entry, and let go of the directory."""
        try:
            while (page := self.page("", now)) is not None:
                if page.collection is not None and page.keys:
                    return page.collection
        finally:
            self.close()
        return None

    def _add(self, page: Page, name: str, stem: str, key: str | None, prefix: str, now: float) -> None:
        is_whole = key is not None and self._collection is not None
        head = self._directory.head(name) if is_whole else self._directory.head_with_names(name)
        if head is None:
            return
        if head.deadline <= now:
            page.expired.append(name)
            return
        if self._collection is None:
            self._collection = self._name_of(head, 0, self._folder)
        key = key or self._name_of(head, 1, stem)
        if key is not None and key.startswith(prefix):
            page.keys.append(key)

    def _name_of(self, head: Head, which: int, hashed: str) -> str | None:
        """Return the name that the file says, if its hashed form is this one."""
        name = None if head.names is None else head.names[which]
        return name if name is not None and self._escape(name) == hashed else None
