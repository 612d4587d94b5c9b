"""Changes of files, as the operating system reports them: by other processes and by editors as well."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from watchfiles import Change as FileChange
from watchfiles import watch

from ...backend.watching import Feed
from .directory import BINARY, JSON, Directory
from .layout import Layout

_STEP = 10
"""Milliseconds within which changes are taken together: they are reported after two such times without another one."""
_LONGEST_STEP = 50
_SIGN_OF_LIFE = 50
"""Milliseconds after which it is known that the files are watched, though nothing has changed."""


class FileReporter:
    """Reporter of changed files by the names of their entries.

    Args:
        directory: The directory of the collections.
        layout: How names become file names.
        feed: What is reported to.
    """

    def __init__(self, directory: str, layout: Layout, feed: Feed) -> None:
        self._directory, self._layout, self._feed = directory, layout, feed

    def run(self, end: threading.Event) -> None:
        """Report changes of the files of all collections, by anybody, until an event is set."""
        is_watched = False
        for changes in watch(
            self._directory,
            watch_filter=None,
            debounce=_LONGEST_STEP,
            step=_STEP,
            rust_timeout=_SIGN_OF_LIFE,
            yield_on_timeout=True,
            stop_event=end,
            raise_interrupt=False,
        ):
            if not is_watched:
                is_watched = True
                self._feed.ready()
            for kind, path in changes:
                self._report(kind, os.path.relpath(path, self._directory).split(os.sep))

    def _report(self, kind: FileChange, parts: list[str]) -> None:
        """Report a change of a directory or a file by its path below the directory of the collections."""
        folder = parts[0]
        if not self._layout.makes(folder):
            return
        if len(parts) == 2:
            self._report_file(folder, parts[1])
        elif len(parts) == 1 and kind is FileChange.added:  # what was written before it was watched is not reported
            with suppress(OSError):
                for name in os.listdir(os.path.join(self._directory, folder)):
                    self._report_file(folder, name)

    def _report_file(self, folder: str, name: str) -> None:
        stem, dot, suffix = name.rpartition(".")
        if dot + suffix not in (JSON, BINARY) or not self._layout.makes(stem):
            return
        collection, key = map(self._layout.escaping.unescape, (folder, stem))
        if collection is None or key is None:  # it is stored hashed, and the file itself has it
            names = self._names_in(folder, name)
            collection = collection or self._unhashed(names[0], folder)
            key = key or self._unhashed(names[1], stem)
        if collection is None or key is None:
            self._feed.lost(collection)
        else:
            self._feed.changed(collection, key)

    def _names_in(self, folder: str, name: str) -> tuple[str | None, str | None]:
        try:
            with Directory(os.path.join(self._directory, folder)) as directory:
                head = directory.head_with_names(name)
        except OSError:
            return None, None
        return (None, None) if head is None or head.names is None else head.names

    def _unhashed(self, name: str | None, hashed: str) -> str | None:
        """Return a name from a file, if its hashed form is this one."""
        return name if name is not None and self._layout.escaping.escape(name) == hashed else None
