"""The frames of wrappers that are kept here, one file each.

`python -m tests.golden.wrappers.frames` writes the files that are missing. It never writes over one: a frame, once
released, stays readable for ever, and a file that cannot be read any more means that the code is wrong.
"""

import asyncio
import re
from functools import partial
from pathlib import Path
from unittest.mock import patch

from satchel import MemoryStore
from satchel.wrappers import CompressionWrapper, EncryptionWrapper, SigningWrapper

KEY = bytes(range(32))
NONCE = bytes(range(12))
REF = ("users", "Åda 🙂\0/..")
TEXT = "a few words, and " * 100
RECORD = {"name": "Ada", "tags": [1, 2.5, None, True], "notes": TEXT}

WRAPPERS = {
    "zstd": partial(CompressionWrapper, algorithm="zstd"),
    "gzip": partial(CompressionWrapper, algorithm="gzip"),
    "lz4": partial(CompressionWrapper, algorithm="lz4"),
    "encryption": partial(EncryptionWrapper, key=KEY),
    "signing": partial(SigningWrapper, key=KEY),
}
VALUES = {
    "zstd-json": RECORD,
    "zstd-bytes": TEXT.encode(),
    "zstd-stored": b"\x89C short",
    "gzip-json": RECORD,
    "gzip-bytes": TEXT.encode(),
    "lz4-json": RECORD,
    "lz4-bytes": TEXT.encode(),
    "encryption-json": [1, 2.5, None],
    "encryption-bytes": bytes(range(256)),
    "encryption-empty": b"",
    "signing-json": [1, 2.5, None],
    "signing-bytes": bytes(range(256)),
    "signing-empty": b"",
}


def path_of(name: str) -> Path:
    return Path(__file__).parent / f"{name}.bin"


def documented(magic: str) -> bytes:
    """Return the example of a frame in the page of the format."""
    page = Path(__file__).parents[3] / "docs" / "format.md"
    (example,) = re.findall(rf"^```text\n({magic} +#.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return bytes.fromhex(re.sub("#.*", "", example))


async def frame_of(name: str) -> bytes:
    inner = MemoryStore()
    with patch("os.urandom", lambda size: NONCE[:size]):
        await WRAPPERS[name.partition("-")[0]](inner).put(*REF, VALUES[name])
    return await inner.get(*REF)


if __name__ == "__main__":
    for name in VALUES:
        if not path_of(name).exists():
            path_of(name).write_bytes(asyncio.run(frame_of(name)))
