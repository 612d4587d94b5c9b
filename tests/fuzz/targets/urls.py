"""URLs of stores and wrappers: a store, or an error; and the line that describes a store makes the same one again."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress

from satchel import ConfigurationError, InvalidKeyError, InvalidTTLError, open_store
from satchel._url_parts import split_url
from satchel.url.registry import WRAPPERS
from tests.fuzz.harness import text_of

INPUTS = 400
PLACE = tempfile.gettempdir() + "/satchel-fuzz-nothing-is-made-here"
LIGHT = ("memory", "null", "disk", "file", "zip", "redis", "redis+cluster", "redis+sentinel", "unix", "http", "nats")
"""Schemes whose drivers load quickly; the others are left to the long runs."""
TOKENS = [
    *(f"wrap={name}(".encode() for name in WRAPPERS),
    *(b"://", b"//", b"@", b"[::1]", b":99999", b"***", b"%00", b"%zz", b"&", b"?", b",", b")", b"_env=HOME", b"#"),
    *(
        b"timeout=",
        b"default_ttl=",
        b"read_only=",
        b"max_entries=",
        b"nan",
        b"inf",
        b"-1",
        b"1e400",
        b"9" * 5000,
        b"\xff",
    ),
]


def seeds() -> Sequence[bytes]:
    return [
        b"memory://?max_entries=10&wrap=ttl(default=60)&wrap=compression(algorithm=gzip,level=6)",
        b"memory:?wrap=prefix_keys(prefix=a%2Fb)&wrap=statistics&wrap=retry(attempts=3)",
        f"disk://{PLACE}?default_ttl=3600&read_only=true".encode(),
        f"file:{PLACE}?timeout=5".encode(),
        f"zip:{PLACE}.zip".encode(),
        b"redis://user:pa%40ss@localhost:6379/0?prefix=x",
        b"redis+cluster://localhost:7000,localhost:7001",
        b"redis+sentinel://localhost:26379/mymaster",
        b"unix:///tmp/redis.sock?db=1",
        b"http://localhost:8377/store?token=secret",
        b"nats://localhost:4222?bucket=x",
        b"null://",
    ]


def check(data: bytes) -> None:
    text = text_of(data)
    with suppress(ConfigurationError):
        split_url(text)
    if text.partition(":")[0].lower() not in LIGHT:
        text = f"memory:{text.partition(':')[2]}"
    opened(text)


def opened(text: str) -> None:
    try:
        store = open_store(text)
    except (ConfigurationError, InvalidKeyError, InvalidTTLError):
        return
    line = str(store.describe())
    if "***" not in line and "<" not in line:
        assert str(open_store(line).describe()) == line
