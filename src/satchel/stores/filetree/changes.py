"""Changes of files, as the operating system reports them: by other processes and by editors as well."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from watchfiles import Change as FileChange
from watchfiles import watch

from ...backend.watching import Feed
from .directory import BINARY, JSON
from .layout import Layout

_STEP = 10
"""Milliseconds within which changes are taken together: they are reported after two such times without another one."""
_LONGEST_STEP = 50
_SIGN_OF_LIFE = 50
"""Milliseconds after which it is known that the files are watched, though nothing has changed."""


def report_changes(
    directory: str, layout: Layout, feed: Feed, begin: Callable[[], object], end: threading.Event
) -> None:
    """Report the changes of the files of all collections until an event is set.

    Args:
        directory: The directory of the collections.
        layout: How names become file names.
        feed: What is reported to.
        begin: Is called once all that happens from then on is reported.
        end: The event.
    """
    is_watched = False
    for changes in watch(
        directory,
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
            begin()
        for kind, path in changes:
            _report(kind, os.path.relpath(path, directory).split(os.sep), layout, feed)


def _report(kind: FileChange, parts: list[str], layout: Layout, feed: Feed) -> None:
    """Report a change of a directory or a file by its path below the directory of the collections."""
    folder = parts[0]
    if not layout.makes(folder) or len(parts) > 2:
        return
    collection = layout.escaping.unescape(folder)
    if len(parts) == 1:
        if kind is FileChange.added:  # what was written into it before it was watched is not reported
            feed.lost(collection)
        return
    stem, dot, suffix = parts[1].rpartition(".")
    if dot + suffix not in (JSON, BINARY) or not layout.makes(stem):
        return
    key = layout.escaping.unescape(stem)
    if collection is None or key is None:  # it is stored hashed
        feed.lost(collection)
    else:
        feed.changed(collection, key)
