"""`Session`: the data of one visitor, as a dict that knows what was changed in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from ..clock import as_datetime
from .records import SessionRecord

USER = "user"
"""The key of a session's data under which the application keeps the user's id."""

_encode = msgspec.msgpack.encode
_UNENCODABLE = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)


class StoredSession(NamedTuple):
    """Session as it was read or written last.

    Attributes:
        id: The id, which is secret.
        key: The key of its entry.
        record: Its record.
        version: The version of its entry.
        renewed: Whether it was renewed by the read.
    """

    id: str
    key: str
    record: SessionRecord
    version: str
    renewed: bool = False


class Session(dict[str, Any]):
    """Data of one visitor: a dict, of which `Sessions.save` writes the top-level keys that were changed.

    `session["user"]` is the id of the user who is logged in, a `str` or `int`: it is what `revoke_user` goes by, and
    a change of it gives the session a new id.

    Attributes:
        accessed: Whether it was read or changed.
    """

    __slots__ = ("_ending", "_rotating", "_snapshot", "_stored", "accessed")

    def __init__(self) -> None:
        super().__init__()
        self._stored: StoredSession | None = None
        self._snapshot = _encode({})
        self._rotating = self._ending = self.accessed = False

    def __repr__(self) -> str:
        return f"Session({dict.__len__(self)} keys, {'new' if self._stored is None else 'stored'})"

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(dict.items(self)),)  # a copy, or what is pickled, has the data and not the id

    @property
    def id(self) -> str | None:
        """The id, which belongs into a cookie and nowhere else; None before the session is stored."""
        return None if self._stored is None else self._stored.id

    @property
    def key(self) -> str | None:
        """The key of its entry, the SHA-256 of its id, which may be shown; None before the session is stored."""
        return None if self._stored is None else self._stored.key

    @property
    def created_at(self) -> datetime | None:
        """When it began, an aware UTC datetime; None before it is stored."""
        return None if self._stored is None else as_datetime(self._stored.record.created)

    def rotate(self) -> None:
        """Let the session have a new id when it is saved, and end the old one: call it where rights change."""
        self.accessed = self._rotating = True

    def end(self) -> None:
        """Let the session end when it is saved: a logout. What is put into it afterwards begins a new one."""
        self.clear()
        self.accessed = self._ending = True

    def mark_accessed(self) -> None:
        """Note that it was read or changed; Starlette calls it."""
        self.accessed = True

    def _adopt(self, stored: StoredSession) -> None:
        """Take over what was read or written."""
        self._stored = stored
        data = stored.record.data
        if data is not self:
            dict.clear(self)
            dict.update(self, data)
        self._snapshot = _encode(data)

    def _drop(self) -> None:
        """Be a new session again, with the data that was put in since."""
        self._stored, self._snapshot = None, _encode({})
        self._ending = self._rotating = False

    def _is_changed(self) -> bool:
        """Return whether the data differ, at any depth, from what was read or written last."""
        return _encoded(self) != self._snapshot

    def _changes(self) -> tuple[dict[str, Any], set[str]]:
        """Return the top-level keys with new values, and those that were removed."""
        if not self._is_changed():
            return {}, set()
        before: dict[str, Any] = msgspec.msgpack.decode(self._snapshot)
        data = dict(dict.items(self))
        changed = {key: value for key, value in data.items() if key not in before or _differs(value, before[key])}
        return changed, before.keys() - data.keys()


def _encoded(value: object) -> bytes | None:
    """Return a value in a form that shows every difference; None where a store would refuse the value anyway."""
    try:
        return _encode(value)
    except _UNENCODABLE:
        return None


def _differs(value: object, before: object) -> bool:
    encoded = _encoded(value)
    return encoded is None or encoded != _encode(before)


def _marking(name: str) -> Callable[..., Any]:
    """Return a method of `dict` that also notes the access, for frameworks that do not."""
    method = getattr(dict, name)

    def marked(self: Session, *arguments: Any, **named: Any) -> Any:
        self.accessed = True
        return method(self, *arguments, **named)

    marked.__name__, marked.__doc__ = name, method.__doc__
    return marked


for _name in ("__contains__", "__getitem__", "__iter__", "__len__", "get", "items", "keys", "values"):
    setattr(Session, _name, _marking(_name))
