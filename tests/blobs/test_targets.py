"""Targets that keep blobs in their own way pass the suite; what they cannot keep they refuse by name."""

from typing import ClassVar

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from obstore.store import MemoryStore

from satchel.blobs.filesystems import FsspecBlobs
from satchel.blobs.objects import ObjectBlobs
from satchel.blobs.plain_files import FileBlobs
from satchel.testing import BlobConformance
from tests.blobs.s3 import s3_blobs


class TestFiles(BlobConformance):
    supports: ClassVar = frozenset({"if_absent", "if_version", "pop", "move"})

    def make_blobs(self, clock, place, new_store, **options):
        return FileBlobs(place / "data", clock=clock, **options)


class TestObjectsInMemory(BlobConformance):
    supports: ClassVar = frozenset({"metadata", "content_type", "if_absent", "if_version", "nested"})

    @pytest.fixture(autouse=True)
    def client(self):
        self._client = MemoryStore()

    def make_blobs(self, clock, place, new_store, **options):
        return ObjectBlobs(client=self._client, clock=clock, **options)


@pytest.mark.server("s3")
class TestObjectsInS3(BlobConformance):
    supports: ClassVar = frozenset({"metadata", "content_type", "if_absent", "if_version", "pop", "move", "nested"})

    def make_blobs(self, clock, place, new_store, **options):
        return s3_blobs(place.name, clock=clock, **options)


class TestFilesOfFsspec(BlobConformance):
    supports: ClassVar = frozenset({"move"})

    def make_blobs(self, clock, place, new_store, **options):
        return FsspecBlobs(LocalFileSystem(), str(place / "data"), clock=clock, **options)


class TestMemoryOfFsspec(BlobConformance):
    supports: ClassVar = frozenset({"move"})

    def make_blobs(self, clock, place, new_store, **options):
        return FsspecBlobs(MemoryFileSystem(), f"memory://{place.name}", clock=clock, **options)
