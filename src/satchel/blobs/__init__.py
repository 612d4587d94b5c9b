"""Blobs: values of any size, streamed."""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports
from .base import BlobsBase
from .files import BlobReader, BlobWriter, TextBlobReader, TextBlobWriter
from .info import BlobInfo
from .options import PutOptions
from .protocol import Blobs
from .source import BlobSource
from .store import StoreBlobs
from .urls import UrlSigner

if TYPE_CHECKING:
    from .filesystems import FsspecBlobs as FsspecBlobs
    from .objects import ObjectBlobs as ObjectBlobs
    from .plain_files import FileBlobs

__all__ = [
    "BlobInfo",
    "BlobReader",
    "BlobSource",
    "BlobWriter",
    "Blobs",
    "BlobsBase",
    "FileBlobs",
    "PutOptions",
    "StoreBlobs",
    "TextBlobReader",
    "TextBlobWriter",
    "UrlSigner",
]

# A program pays for the targets that it uses, and needs only their drivers. Those with drivers of their own are not in
# __all__: a star import must not need them all.
__getattr__, __dir__ = lazy_exports(
    __name__, {"FileBlobs": "plain_files", "FsspecBlobs": "filesystems", "ObjectBlobs": "objects", "open_blobs": ".url"}
)
