"""Content-addressed values and recorded calls.

* `digest` gives any value a `Digest`, which depends on nothing but the value; `register_hook` teaches it other types.
"""

from .digest import digest
from .hooks import register_hook
from .parts import Part, take_apart
from .walk import Digest

__all__ = ["Digest", "Part", "digest", "register_hook", "take_apart"]
