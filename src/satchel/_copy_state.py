"""`CopyState`: progress of a copy in a file of JSON lines, so that another run resumes after an interruption."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ._places import replaceable
from .codec import UNDECODABLE
from .errors import ConfigurationError

FORMAT = 1

_WHOLE = ""
"""Stands for all keys of a collection; no key is empty."""


class CopyState:
    """Record of the keys that a copy has dealt with. Every method blocks: call it in a worker thread.

    The first line identifies the copy. The others are `{"collection": ..., "keys": [...]}` or, when a collection is
    done, `{"collection": ..., "done": true}`. A line that a killed process left unfinished is cut off. The keys of
    earlier runs are kept in a temporary SQLite database, so that memory does not grow with their number.

    Args:
        path: The file, created if it does not exist.
        about: Arguments that must be the same in every run of one copy.

    Raises:
        ConfigurationError: The file cannot be read or written, is not a state file, or belongs to another copy.
    """

    def __init__(self, path: Path, about: Mapping[str, object]) -> None:
        self._path = path
        self._header = {"satchel-copy": FORMAT, **about}
        self._index = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._index.execute(
            "create table done (collection text, key text, primary key (collection, key)) without rowid"
        )
        self.resumed = False
        """Whether an earlier run has dealt with anything."""
        try:
            self._file = self._opened()
        except OSError as error:
            self._index.close()
            raise ConfigurationError(f"state {path} cannot be read and written ({type(error).__name__})") from None
        except BaseException:
            self._index.close()
            raise

    def is_done(self, collection: str) -> bool:
        """Return whether a whole collection has been dealt with."""
        return self.left(collection, [_WHOLE]) == []

    def left(self, collection: str, keys: Sequence[str]) -> list[str]:
        """Return the keys that no earlier run has dealt with, in the same order."""
        if not self.resumed:
            return list(keys)
        marks = ",".join("?" * len(keys))
        query = f"select key from done where collection = ? and key in ({marks})"  # noqa: S608  # question marks alone
        found = {key for (key,) in self._index.execute(query, (collection, *keys))}
        return [key for key in keys if key not in found]

    def note(self, collection: str, keys: Sequence[str]) -> None:
        """Record that keys have been dealt with."""
        self._write({"collection": collection, "keys": list(keys)})

    def note_done(self, collection: str) -> None:
        """Record that a collection has been dealt with."""
        self._write({"collection": collection, "done": True})

    def close(self, *, complete: bool) -> None:
        """Close the file, and remove it if the copy is complete."""
        self._file.close()
        self._index.close()
        if complete:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def _write(self, line: Mapping[str, object]) -> None:
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()
        except OSError as error:
            raise ConfigurationError(f"state {self._path} cannot be written ({type(error).__name__})") from None

    def _opened(self) -> BinaryIO:
        if replaceable(self._path) is None:  # it would be removed in the end
            raise ConfigurationError(f"state {self._path} is no regular file")
        self._path.touch(mode=0o600)
        file = self._path.open("r+b")
        try:
            end = self._read(file)
            file.seek(end)
            file.truncate()
            if not end:
                file.write(msgspec.json.encode(self._header) + b"\n")
                file.flush()
        except BaseException:
            file.close()
            raise
        return file

    def _read(self, file: BinaryIO) -> int:
        """Read the lines, and return the offset at which the last complete one ends."""
        end = 0
        self._index.execute("begin")
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                if number == 1 and not msgspec.json.encode(self._header).startswith(line):
                    raise self._refusal(number, "this is not the state of a copy")
                break
            self._take(number, line)
            end += len(line)
        self._index.execute("commit")
        return end

    def _take(self, number: int, line: bytes) -> None:
        try:
            said: Any = msgspec.json.decode(line)
        except UNDECODABLE:
            said = None
        if number == 1:
            if not isinstance(said, dict) or said.get("satchel-copy") != FORMAT:
                raise self._refusal(number, "this is not the state of a copy")
            other = [name for name in self._header if said.get(name) != self._header[name]]
            if other:
                raise self._refusal(
                    number, f"it is the state of a copy with another {other[0]}; remove it to start over"
                )
            return
        match said:
            case {"collection": str(collection), "done": True}:
                self._index.execute("delete from done where collection = ?", (collection,))
                keys = [_WHOLE]
            case {"collection": str(collection), "keys": [*keys]} if all(isinstance(key, str) for key in keys):
                pass
            case _:
                raise self._refusal(number, "this is not a line of a copy's state")
        self._index.executemany("insert or ignore into done values (?, ?)", [(collection, key) for key in keys])
        self.resumed = True

    def _refusal(self, number: int, what: str) -> ConfigurationError:
        return ConfigurationError(f"state {self._path}, line {number}: {what}")
