"""Content-addressed values and recorded calls.

* `digest` gives any value a `Digest`, which depends on nothing but the value; `register_hook` teaches it other types.
* A `ContentStore` keeps values under their digests, and equal parts once; `register_destructurer` teaches it to take
  other types apart.
"""

from .collecting import CollectionReport
from .destructuring import register_destructurer
from .digest import digest
from .hooks import register_hook
from .parts import Part, take_apart
from .store import ContentStore, Saving
from .walk import Digest

__all__ = [
    "CollectionReport",
    "ContentStore",
    "Digest",
    "Part",
    "Saving",
    "digest",
    "register_destructurer",
    "register_hook",
    "take_apart",
]
