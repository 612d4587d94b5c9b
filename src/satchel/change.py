"""`Change`: what a watcher is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a watcher is told: that a key may have another value now, or how far it can rely on being told.

    Attributes:
        kind: `"ready"`: from now on every change is reported; what is listed or read after it misses nothing.
            `"changed"`: the entry under the key was put, removed or given another deadline, or has expired.
            `"lost"`: changes may have been missed: anything that was read before may be out of date. Until the next
            `"ready"`, more may be missed.
        collection: The collection that is watched.
        key: The key; None unless the kind is `"changed"`.
    """

    kind: Literal["ready", "changed", "lost"]
    collection: str
    key: str | None = None
