"""How names become file names in one tree: found by a look at its file system once, then recorded for every opener."""

from __future__ import annotations

import contextlib
import os
import shutil
from functools import cached_property

import msgspec

from ..._shortage import FULL, shortage
from ...codec import UNDECODABLE
from ...errors import ConfigurationError, IntegrityError
from ...names import FOLDED_SAFE, SAFE, Escaping
from .system import UNWRITABLE, held

FORMAT = 1
_LONGEST_SUFFIX = len(".json")

_PROBE = ".satchel-probe"
_RECORD = "format.json"
_TEMPORARY = ".format.tmp"
_DEVICES = ("com", "lpt")
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(name + digit for name in _DEVICES for digit in "0123456789¹²³")})
_ALIKE = (("\u00e9", "\u00c9"), ("\u00e9", "e\u0301"), ("\u00df", "ss"), ("\u0130", "i\u0307"), ("\u212a", "k"))
"""Names that a file system which folds case or normalises beyond ASCII takes for one."""


class Layout(msgspec.Struct, frozen=True, dict=True, forbid_unknown_fields=True):
    """Rules for the file names of a tree.

    Attributes:
        satchel: The format of this record.
        tells_case: Upper-case letters stay as they are.
        keeps_unicode: Printable characters beyond ASCII stay as they are.
        max_name_bytes: The longest file name, without its suffix.
    """

    satchel: int
    tells_case: bool
    keeps_unicode: bool
    max_name_bytes: int

    @cached_property
    def escaping(self) -> Escaping:
        """The escaping of collections and keys."""
        safe = SAFE if self.tells_case else FOLDED_SAFE
        return Escaping(safe, self.max_name_bytes, self.keeps_unicode, _RESERVED)

    def makes(self, name: str) -> bool:
        """Whether a directory may have got this name from the layout."""
        fits = len(os.fsencode(name)) <= self.max_name_bytes
        return fits and ("%-" in name or self.escaping.unescape(name) is not None)

    def is_safe_on(self, found: Layout) -> bool:
        """Whether no two file names of this layout are one on a file system on which that layout was found."""
        return (
            found.tells_case >= self.tells_case
            and found.keeps_unicode >= self.keeps_unicode
            and found.max_name_bytes >= self.max_name_bytes
        )


def probe(directory: str) -> Layout:
    """Find the layout that a directory's file system takes, by writing a few files. One prober at a time."""
    limit = min(255, os.pathconf(directory, "PC_NAME_MAX")) - _LONGEST_SUFFIX
    if limit < 80:
        raise ConfigurationError(f"the file system of {directory} allows only names of {limit} bytes; use another")
    place = os.path.join(directory, _PROBE)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place)  # of a prober that died
    os.mkdir(place, 0o700)
    try:
        tells_case = _tells_apart(place, "a", "A")
        keeps_unicode = tells_case and all(_tells_apart(place, *pair) for pair in _ALIKE)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Layout(FORMAT, tells_case, keeps_unicode, limit)


def settle(data: str, metadata: str) -> tuple[Layout, bool]:
    """Return the recorded layout of a tree, recording it first if nobody has, and whether it is safe here.

    Raises:
        OSError: The directories cannot be used.
        IntegrityError: The record is damaged.
    """
    try:
        with held(os.path.join(metadata, "lock")):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(metadata, _TEMPORARY))  # of an opener that died
            found = probe(data)
            recorded = _recorded(metadata)
            if recorded is None:
                _record(metadata, found)
                recorded = found
            return recorded, recorded.is_safe_on(found)
    except OSError as error:
        if error.errno not in UNWRITABLE | FULL:
            raise
        layout = _recorded(metadata)
        if layout is None and error.errno in FULL:
            raise
        # A tree on a full disk has to open, or nothing could be removed from it.
        layout = layout or Layout(FORMAT, True, True, 255 - _LONGEST_SUFFIX)
        folder, name = os.path.split(metadata)
        return layout, not (layout.tells_case and os.path.lexists(os.path.join(folder, name.upper())))


def _tells_apart(place: str, name: str, other: str) -> bool:
    path, other_path = os.path.join(place, name), os.path.join(place, other)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        apart = name in os.listdir(place) and not os.path.lexists(other_path)
        os.unlink(path)
    except (OSError, UnicodeError) as error:
        if shortage(error) is not None:  # this says nothing about names
            raise
        return False  # it does not take this name at all
    return apart


def _recorded(metadata: str) -> Layout | None:
    path = os.path.join(metadata, _RECORD)
    try:
        with open(path, "rb") as file:
            recorded = msgspec.json.decode(file.read(), type=Layout)
        if recorded.satchel != FORMAT:
            raise IntegrityError(f"{path} has format {recorded.satchel}, this release reads format {FORMAT}")
        recorded.escaping  # noqa: B018  # checks the limit
    except FileNotFoundError:
        return None
    except UNDECODABLE:
        raise IntegrityError(f"{path} is damaged; restore it: it records how names are mapped to file names") from None
    return recorded


def _record(metadata: str, layout: Layout) -> None:
    temporary = os.path.join(metadata, _TEMPORARY)
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, msgspec.json.format(msgspec.json.encode(layout), indent=2) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, os.path.join(metadata, _RECORD))
