"""Blobs need the drivers of the targets that are used, and name the extra of one that is missing."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
for driver in {drivers}:
    sys.modules[driver] = None
import satchel.blobs
try:
    {asked}
except satchel.MissingExtraError as error:
    print(error)
else:
    print("nothing is missing")
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("asked", "drivers", "told"),
    [
        ("satchel.blobs.ObjectBlobs", ["obstore"], 'pip install "satchel[objectstore]"'),
        ("satchel.open_blobs('s3://bucket')", ["obstore"], 'pip install "satchel[objectstore]"'),
        ("satchel.blobs.FsspecBlobs", ["fsspec"], 'pip install "satchel[fsspec]"'),
        ("import satchel.integrations.fsspec", ["fsspec"], 'pip install "satchel[fsspec]"'),
        ("import satchel.integrations.zarr", ["zarr"], 'pip install "satchel[zarr]"'),
        ("satchel.open_blobs('file:x')", ["obstore", "fsspec", "zarr", "aiofiles"], "nothing is missing"),
        ("satchel.blobs.open_blobs('memory:')", ["obstore", "fsspec", "zarr", "aiofiles"], "nothing is missing"),
    ],
)
def test_a_missing_driver_is_named_with_its_extra(asked, drivers, told):
    program = PROGRAM.format(asked=asked, drivers=drivers)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
