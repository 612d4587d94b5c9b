"""Frames: results as they are kept together with the versions of their tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ..codec import UNDECODABLE

_FORMAT = b"\x01"
_LENGTH = 4


class Frame(NamedTuple):
    """Result with the versions of its tags.

    Attributes:
        tags: The versions that the tags had before the result was made.
        value: The result, as the store takes it.
    """

    tags: Mapping[str, str]
    value: Any


def framed(frame: Frame) -> Any:
    """Return what is kept: a dict, or for bytes the byte 1, the length of the tags as JSON, these, and the bytes."""
    if not isinstance(frame.value, bytes):
        return {"format": 1, "tags": dict(frame.tags), "value": frame.value}
    tags = msgspec.json.encode(frame.tags)
    return b"".join((_FORMAT, len(tags).to_bytes(_LENGTH, "big"), tags, frame.value))


def unframed(kept: object) -> Frame | None:
    """Return a frame from what was kept, None for what is none, as from before a function had tags."""
    match kept:
        case {"format": 1, "tags": dict(tags), "value": value}:
            return Frame(tags, value)
        case bytes() if kept[:1] == _FORMAT:
            end = 1 + _LENGTH + int.from_bytes(kept[1 : 1 + _LENGTH], "big")
            try:
                return Frame(msgspec.json.decode(kept[1 + _LENGTH : end], type=dict[str, str]), kept[end:])
            except UNDECODABLE:
                return None
    return None
