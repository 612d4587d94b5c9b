"""Recorded calls: what functions returned for which arguments."""

from typing import TYPE_CHECKING

from ..._lazy import lazy_exports
from .anything import ANY
from .calls import Calls
from .decorator import memoize
from .memoized import Memoized
from .metadata import environment, git, host, runtime, tagged
from .query import Query
from .record import FunctionCall
from .recorded import RecordedCall

if TYPE_CHECKING:
    from .blocking import SyncMemoized

__all__ = [
    "ANY",
    "Calls",
    "FunctionCall",
    "Memoized",
    "Query",
    "RecordedCall",
    "SyncMemoized",
    "environment",
    "git",
    "host",
    "memoize",
    "runtime",
    "tagged",
]

__getattr__, __dir__ = lazy_exports(__name__, {"SyncMemoized": "blocking"})
