"""`PutOptions`: how a blob is to be stored, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from .._checks import check_bool
from ..clock import TTL, seconds
from ..errors import SerializationError


class PutOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Set of options for one write, checked.

    Attributes:
        if_absent: Write only if there is no blob; else `BlobExistsError`.
        if_version: Write only if the blob has this version; else `BlobChangedError`.
        content_type: Media type, given or guessed; None if unknown.
        metadata: Texts to keep.
        ttl: Seconds to live, or None.
        size: Bytes of the content, where it is known before it is read.
        type_is_guessed: `content_type` comes from the key. A target that does not keep it need not refuse it.
    """

    if_absent: bool = False
    if_version: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = {}
    ttl: float | None = None
    size: int | None = None
    type_is_guessed: bool = False


def checked_options(
    if_absent: bool,
    if_version: str | None,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
    ttl: TTL | None,
) -> PutOptions:
    """Return the options of a write.

    Raises:
        ConfigurationError: `if_absent` is no bool.
        InvalidTTLError: The ttl is not legal.
        SerializationError: A text is not a valid `str`.
        ValueError: Both conditions were given.
    """
    check_bool("if_absent", if_absent)
    if if_absent and if_version is not None:
        raise ValueError("if_absent and if_version contradict each other: give one of them")
    if not (metadata is None or isinstance(metadata, Mapping)):
        raise SerializationError(f"metadata must be a mapping of str to str, got {type(metadata).__name__}")
    kept = dict(metadata or {})
    for name, text in kept.items():
        _check_text(name, "a name in metadata")
        _check_text(text, f"metadata[{name!r}]")
    if content_type is not None:
        _check_text(content_type, "content_type")
    if if_version is not None:
        _check_text(if_version, "if_version")
    return PutOptions(
        if_absent=if_absent,
        if_version=if_version,
        content_type=content_type,
        metadata=kept,
        ttl=None if ttl is None else seconds(ttl),
    )


def _check_text(text: object, what: str) -> None:
    if type(text) is not str:
        raise SerializationError(f"{what} must be a str, got {type(text).__name__}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise SerializationError(f"{what} is not valid Unicode: it has a lone surrogate") from None
