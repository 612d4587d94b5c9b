"""What a type checker knows about blobs from a URL, and about targets."""

from typing import assert_type

from satchel import open_blobs
from satchel.blobs import BlobInfo, Blobs, FileBlobs, ObjectBlobs


async def use(url: str) -> None:
    async with open_blobs(url, max_size=1000) as blobs:
        assert_type(await blobs.put("k", b"1"), BlobInfo)
        assert_type(await blobs.get("k"), bytes | None)
        takes(blobs)
    awaited = await open_blobs(url)
    assert_type(await awaited.info("k"), BlobInfo | None)
    await awaited.aclose()


def takes(blobs: Blobs) -> None:
    """Take any blobs."""


files = FileBlobs("data")
objects = ObjectBlobs("s3://bucket", prefix="photos", max_size=1000)
takes(files)
takes(objects)


async def read() -> None:
    assert_type(await files.get("k"), bytes | None)
    assert_type(await objects.get("k"), bytes | None)
    assert_type(await objects.get("k", 0, start=5), bytes | int)
    assert_type(await objects.pop("k", b""), bytes)
