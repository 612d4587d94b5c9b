"""`BlobInfo`: what is known about a blob besides its content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobInfo:
    """What is known about a blob besides its content.

    Attributes:
        key: The key.
        size: Bytes of the content.
        sha256: SHA-256 of the content in hexadecimal; None where the target does not keep it.
        content_type: Media type, such as `image/png`; None if unknown.
        metadata: What was given as `metadata=`.
        created_at: When a blob was first put under this key, an aware UTC datetime; None where the target does not
            keep it.
        updated_at: When this content was put, an aware UTC datetime.
        expires_at: When it expires, an aware UTC datetime, or None.
        version: Identifies this content. It is opaque: compare it, pass it as `if_version=`.
        uri: Where the blob is, for people and logs; `url_for` makes addresses for a browser.
    """

    key: str
    size: int
    sha256: str | None
    content_type: str | None
    metadata: Mapping[str, str]
    created_at: datetime | None
    updated_at: datetime
    expires_at: datetime | None
    version: str
    uri: str

    def __repr__(self) -> str:
        return f"BlobInfo(size={self.size}, content_type={self.content_type!r}, version={self.version!r})"
