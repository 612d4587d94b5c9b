"""What commands write: values, names, JSON, and the progress of long work."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from ..entry import Entry
from ..errors import SerializationError, with_article

STREAM = "-"
"""File name that stands for standard input or output."""

_PLAIN_EVERY = 5.0
"""Seconds between two lines of progress if there is no terminal."""

Show = Callable[[str], None]
"""Function that shows the progress of work."""


def line(text: str) -> None:
    """Write a line to standard output; characters that its encoding lacks are escaped."""
    if not _can_be_written(text):
        text = text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)
    sys.stdout.write(f"{text}\n")


def json_line(value: object) -> None:
    """Write a value to standard output as one line of JSON, in ASCII if its encoding lacks a character."""
    text = json_text(value)
    line(text if _can_be_written(text) else json.dumps(json.loads(text)))


def _can_be_written(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8", sys.stdout.errors or "strict")
    except UnicodeEncodeError:
        return False
    return True


def json_text(value: object) -> str:
    """Return a value as JSON.

    Raises:
        SerializationError: It cannot be represented in JSON; a custom codec can decode such values.
    """
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError) as error:
        raise SerializationError(f"{with_article(type(value))} cannot be represented in JSON") from error


def as_bytes(value: object) -> bytes:
    """Return a value as it is written to a file: `bytes` unchanged, anything else as a line of JSON."""
    return value if isinstance(value, bytes) else f"{json_text(value)}\n".encode()


def name(text: str) -> str:
    """Return a key or collection as people read it: as JSON if it is ambiguous, or the terminal cannot show it."""
    plain = text.isprintable() and not text.startswith('"') and _can_be_written(text)
    return text if plain else json.dumps(text)


def moment(when: datetime) -> str:
    """Return a time in UTC with its microseconds."""
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def described(collection: str, key: str, entry: Entry) -> dict[str, Any]:
    """Return an entry as the object that `--json` writes, and that is one line of an export."""
    value = {"bytes": entry.value} if isinstance(entry.value, bytes) else {"value": entry.value}
    expires = {} if entry.expires_at is None else {"expires_at": moment(entry.expires_at)}
    times = {"updated_at": moment(entry.updated_at), **expires, "version": entry.version}
    return {"collection": collection, "key": key, **value, **times}


def kind(value: object) -> str:
    """Return the everyday name of a value's type."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "list", dict: "object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


@contextmanager
def progress(what: str) -> Iterator[Show]:
    """Show the progress of long work on standard error: a bar on a terminal, otherwise a line now and then."""
    if sys.stderr.isatty():
        with _bar(what) as show:
            yield show
        return
    last = time.monotonic()

    def show_plain(state: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _PLAIN_EVERY:
            sys.stderr.write(f"{what}: {state}\n")
            sys.stderr.flush()
            last = time.monotonic()

    yield show_plain


@contextmanager
def _bar(what: str) -> Iterator[Show]:
    from rich.console import Console  # noqa: PLC0415  # most commands do not need it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  # as above

    columns = TextColumn(what), BarColumn(), TextColumn("{task.fields[state]}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, state="")
        yield lambda state: bar.update(task, state=state)
