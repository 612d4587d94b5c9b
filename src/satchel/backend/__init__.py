"""What authors of backends import: a base class, the record that it keeps, and ways to pack records and escape names.

`docs/writing-a-store.md` shows a whole store.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports

if TYPE_CHECKING:
    from ..names import Escaping, Ref
    from .base import BaseStore
    from .hooks import ABSENT, UNPROCESSED
    from .keyed import KeyedStore
    from .record import Record, pack, unpack

__all__ = ["ABSENT", "UNPROCESSED", "BaseStore", "Escaping", "KeyedStore", "Record", "Ref", "pack", "unpack"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ABSENT": "hooks",
        "UNPROCESSED": "hooks",
        "BaseStore": "base",
        "Escaping": ".names",
        "KeyedStore": "keyed",
        "Record": "record",
        "Ref": ".names",
        "pack": "record",
        "unpack": "record",
    },
)
