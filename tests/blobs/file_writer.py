"""Writes blobs into a directory until it is killed: `file_writer.py DIRECTORY`."""

import asyncio
import os
import sys

from satchel.blobs import FileBlobs

PIECES, PIECE = 8, 256 * 1024


async def main(directory: str) -> None:
    blobs = FileBlobs(directory)
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    while True:
        mark = os.urandom(16)

        async def pieces(mark: bytes = mark):
            for _ in range(PIECES):
                yield mark * (PIECE // len(mark))

        await blobs.put("a/b/k", pieces())
        await blobs.move("a/b/k", "c/k")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
