"""Blobs: values of any size, streamed."""

from .base import BlobsBase
from .files import BlobReader, BlobWriter, TextBlobReader, TextBlobWriter
from .info import BlobInfo
from .options import PutOptions
from .protocol import Blobs
from .source import BlobSource
from .store import StoreBlobs
from .urls import UrlSigner

__all__ = [
    "BlobInfo",
    "BlobReader",
    "BlobSource",
    "BlobWriter",
    "Blobs",
    "BlobsBase",
    "PutOptions",
    "StoreBlobs",
    "TextBlobReader",
    "TextBlobWriter",
    "UrlSigner",
]
