"""What compression, encryption and signing cost beside the same work done by hand."""

from __future__ import annotations

import hmac
import os
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.harness import Contender, Report, Work
from benchmarks.value import POST
from satchel import JsonCodec, MemoryStore
from satchel.wrappers import CompressionWrapper, EncryptionWrapper, SigningWrapper

try:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # new in Python 3.14
except ModuleNotFoundError:
    from backports import zstd  # type: ignore[no-redef,unused-ignore]  # the same before

KEY = os.urandom(32)
VALUES = {
    "300 bytes of JSON": POST,
    "9 kB of JSON": [POST | {"id": number, "author": f"author {number * number}"} for number in range(30)],
}
STEPS = {"300 bytes of JSON": 4000, "9 kB of JSON": 1000}

encode, decode = JsonCodec().encode_if_small, JsonCodec().decode  # with the check that every put makes
aes = AESGCM(KEY)

Transform = Callable[[bytes], bytes]


def decrypt(frame: bytes) -> bytes:
    return aes.decrypt(frame[:12], frame[12:], b"c k")


def encrypt(body: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + aes.encrypt(nonce, body, b"c k")


def sign(body: bytes) -> bytes:
    return hmac.digest(KEY, b"c k" + body, "sha256") + body


def verify(frame: bytes) -> bytes:
    if not hmac.compare_digest(frame[:32], hmac.digest(KEY, b"c k" + frame[32:], "sha256")):
        raise ValueError("forged")
    return frame[32:]


KINDS: dict[str, tuple[Transform, Transform, Callable[[Any], Any]]] = {
    "zstd": (
        lambda body: zstd.compress(body, 3),
        zstd.decompress,
        lambda inner: CompressionWrapper(inner, threshold=1),
    ),
    "gzip": (
        lambda body: zlib.compress(body, 6, 31),
        lambda frame: zlib.decompress(frame, 31),
        lambda inner: CompressionWrapper(inner, algorithm="gzip", threshold=1),
    ),
    "encryption": (encrypt, decrypt, lambda inner: EncryptionWrapper(inner, key=KEY)),
    "signing": (sign, verify, lambda inner: SigningWrapper(inner, key=KEY)),
}


def by_hand(value: Any, forth: Transform, back: Transform, *, puts: bool) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = MemoryStore()
        await store.put("c", "k", forth(encode(value)))

        async def put(steps: range) -> None:
            for _ in steps:
                await store.put("c", "k", forth(encode(value)))

        async def get(steps: range) -> None:
            for _ in steps:
                decode(back(await store.get("c", "k")))

        yield put if puts else get

    return contender


def wrapped(value: Any, wrap: Callable[[Any], Any], *, puts: bool) -> Contender:
    @asynccontextmanager
    async def contender() -> AsyncIterator[Work]:
        store = wrap(MemoryStore())
        await store.put("c", "k", value)

        async def put(steps: range) -> None:
            for _ in steps:
                await store.put("c", "k", value)

        async def get(steps: range) -> None:
            for _ in steps:
                await store.get("c", "k")

        yield put if puts else get

    return contender


def run(report: Report) -> None:
    for size, value in VALUES.items():
        for name, (forth, back, wrap) in KINDS.items():
            for verb, puts in {"put": True, "get": False}.items():
                report.compare(
                    f"{verb} {size}, {name}",
                    {
                        "by hand": by_hand(value, forth, back, puts=puts),
                        "wrapper": wrapped(value, wrap, puts=puts),
                    },
                    steps=STEPS[size],
                )
