"""`match`: which keys a prefix and a pattern choose."""

from __future__ import annotations

import re
from functools import lru_cache

_STARS = re.compile(r"(\*\*|\*)")


def match(
    key: str, *, prefix: str = "", exclude_prefix: str | None = None, glob: str | None = None, depth: int | None = None
) -> bool:
    """Say whether a key is among those chosen.

    Args:
        key: The key.
        prefix: It starts with this.
        exclude_prefix: It does not start with this.
        glob: It fits this as a whole; `*` stands for anything but a `/`, `**` for anything.
        depth: It has at most so many parts between slashes, after the prefix.
    """
    return (
        key.startswith(prefix)
        and not (exclude_prefix is not None and key.startswith(exclude_prefix))
        and not (glob is not None and _compiled(glob).fullmatch(key) is None)
        and not (depth is not None and key.count("/", len(prefix)) >= depth)
    )


@lru_cache
def _compiled(glob: str) -> re.Pattern[str]:
    forms = {"*": "[^/]*", "**": ".*"}
    return re.compile("".join(forms.get(part) or re.escape(part) for part in _STARS.split(glob)), re.DOTALL)
