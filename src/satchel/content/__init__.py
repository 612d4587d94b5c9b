"""Content-addressed values and recorded calls.

* `digest` gives any value a `Digest`, which depends on nothing but the value; `register_hook` teaches it other types.
* A `ContentStore` keeps values under their digests, and equal parts once; `register_destructurer` teaches it to take
  other types apart.
* `Calls` records calls of functions with their arguments and results, and `memoize` runs a function only for calls
  that are not recorded.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports
from .collecting import CollectionReport
from .destructuring import register_destructurer
from .digest import digest
from .hooks import register_hook
from .parts import Part, take_apart
from .store import ContentStore, Saving
from .walk import Digest

if TYPE_CHECKING:
    from .calls import (
        ANY,
        Calls,
        FunctionCall,
        Memoized,
        Query,
        RecordedCall,
        SyncMemoized,
        environment,
        git,
        host,
        memoize,
        runtime,
        tagged,
    )

__all__ = [
    "ANY",
    "Calls",
    "CollectionReport",
    "ContentStore",
    "Digest",
    "FunctionCall",
    "Memoized",
    "Part",
    "Query",
    "RecordedCall",
    "Saving",
    "SyncMemoized",
    "digest",
    "environment",
    "git",
    "host",
    "memoize",
    "register_destructurer",
    "register_hook",
    "runtime",
    "tagged",
    "take_apart",
]

_CALLS = "ANY Calls FunctionCall Memoized Query RecordedCall SyncMemoized environment git host memoize runtime tagged"
__getattr__, __dir__ = lazy_exports(__name__, dict.fromkeys(_CALLS.split(), "calls"))
