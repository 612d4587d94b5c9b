"""Media types, guessed from the end of a name."""

from __future__ import annotations

import mimetypes

from .._threads import in_thread


async def guessed(name: str) -> str | None:
    """Return the media type that the end of a name stands for, such as `image/png` for `.png`; None if unknown."""
    dot = name.rfind(".")
    if dot <= name.rfind("/") + 1:  # a name that begins with its only dot has no end
        return None
    if not mimetypes.inited:
        await in_thread(mimetypes.init)  # it reads files of the system
    return mimetypes.types_map.get(name[dot:].lower())
