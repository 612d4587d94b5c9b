"""A blob of any length takes the same memory on its way in and out."""

import subprocess
import sys

import pytest

from tests.crash.harness import ROOT

MIB = 1024 * 1024
CODE = """
import asyncio, os, resource, sys
from satchel import DiskStore
from satchel.blobs import StoreBlobs

async def main(directory, size):
    piece = os.urandom(256 * 1024)

    async def pieces(size):
        for _ in range(size // len(piece)):
            yield piece

    async def in_and_out(size):
        await blobs.put("k", pieces(size))
        length = 0
        async for part in blobs.stream("k"):
            length += len(part)
        assert length == size
        async with blobs.open("k") as file:
            while await file.read(1_000_000):
                pass

    async with DiskStore(directory) as store:
        blobs = StoreBlobs(store)
        await in_and_out(16 * 1024 * 1024)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await in_and_out(size)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def further_memory(directory, size):
    """Return how many MiB more a long blob takes than one of 16 MiB."""
    arguments = [sys.executable, "-c", CODE, str(directory), str(size)]
    return int(subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True).stdout) / 1024


@pytest.mark.long
def test_a_long_blob_takes_no_more_memory_than_a_shorter_one(tmp_path):
    assert further_memory(tmp_path, 128 * MIB) < 32


@pytest.mark.night
@pytest.mark.timeout(900)
def test_1_gib_in_and_out_takes_less_than_64_mib(tmp_path):
    assert further_memory(tmp_path, 1024 * MIB) < 64
