"""Keys that are made for blobs: `uuid7`, `uuid4`, `sha256`, in a template."""

from __future__ import annotations

import secrets
import uuid
from typing import Literal

from .._checks import check_choice
from ..clock import Clock
from ..errors import ConfigurationError
from ..names import check_name

IdKind = Literal["uuid7", "uuid4", "sha256"]

_KINDS = ("uuid7", "uuid4", "sha256")
_PLACE = "{}"


class KeyMaker:
    """Maker of keys.

    Args:
        ids: The kind of id.
        template: The key, with `{}` for the id.
        clock: Returns the present as seconds since the Unix epoch.

    Raises:
        ConfigurationError: The kind is not known, or the template has not exactly one `{}`.
    """

    def __init__(self, ids: IdKind, template: str, clock: Clock) -> None:
        check_choice("ids", ids, _KINDS)
        if not isinstance(template, str) or template.count(_PLACE) != 1:
            raise ConfigurationError("template must be a str with exactly one {}, the place of the id")
        self._kind, self._template, self._clock = ids, template, clock
        self.needs_content: bool = ids == "sha256"
        """Whether a key is made from the SHA-256 of the content."""

    def __call__(self, digest: str | None = None) -> str:
        """Return a new key.

        Args:
            digest: SHA-256 of the content in hexadecimal.
        """
        if digest is None:
            digest = str(uuid.uuid4() if self._kind == "uuid4" else uuid7(self._clock()))
        return check_name(self._template.replace(_PLACE, digest))


def uuid7(now: float) -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562): milliseconds since the Unix epoch, then 74 random bits."""
    value = (int(now * 1000) & (1 << 48) - 1) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
