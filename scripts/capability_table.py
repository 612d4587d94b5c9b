"""Writes the table of stores and capabilities into README.md, from the stores themselves.

`python scripts/capability_table.py` rewrites it; with `--check` it only says whether it is up to date.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from satchel import Capability, open_store

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- capabilities -->\n", "<!-- end of capabilities -->\n"


STORES = [
    ("memory://", "memory", "this process", ""),
    ("disk:///dir", "disk", "SQLite", ""),
    ("file:///dir", "filetree", "readable files", ""),
    ("git:///dir/repository", "git", "a branch of a git repository", ""),
    ("zip:///dir/archive.zip", "zip", "a zip archive, read-only", ""),
    ("redis://host", "redis", "Redis", "7.0, 8.2, cluster, Sentinel"),
    ("valkey://host", "valkey", "Valkey", "9.1, cluster"),
    ("memcached://host", "memcached", "Memcached", "1.6"),
    ("postgresql://host/db", "postgresql", "PostgreSQL", "15, behind PgBouncer too"),
    ("mongodb://host/db", "mongodb", "MongoDB", "an emulator"),
    ("nats://host/bucket", "nats", "NATS JetStream", "2.15, 2.10"),
    ("dynamodb://table", "dynamodb", "DynamoDB", "Amazon's DynamoDB Local"),
    ("elasticsearch://host", "elasticsearch", "Elasticsearch", "an emulator"),
    ("s3://bucket", "objectstore", "S3; gs:// and az:// untested", "SeaweedFS"),
    ("http://host", "http", "another process", "`satchel serve`"),
    ("null://", "null", "nowhere", ""),
]
"""Each store's URL, its page, where it keeps data, and on which server it is tested."""


def table(directory: str) -> str:
    """Return the table in Markdown."""
    made = [open_store(url.replace("/dir", directory)) for url, *_ in STORES]
    flags = [flag for flag in Capability if any(flag in store.capabilities for store in made)]
    titles = [str(flag.name).lower().replace("_", " ") for flag in flags]
    lines = [
        "| store | URL | keeps data in | tested on | " + " | ".join(titles) + " |",
        "| --- " * (4 + len(flags)) + "|",
    ]
    for store, (url, page, place, server) in zip(made, STORES, strict=True):
        marks = ["yes" if flag in store.capabilities else "" for flag in flags]
        name = f"[`{type(store).__name__}`](docs/stores/{page}.md)"
        lines.append(f"| {name} | `{url}` | {place} | {server} | " + " | ".join(marks) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Rewrite or check the table, and return the exit code."""
    text = README.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with tempfile.TemporaryDirectory() as directory:
        wanted = before + BEGIN + table(directory) + END + after
    if "--check" in sys.argv:
        print("README.md is up to date" if wanted == text else "README.md is not: run scripts/capability_table.py")
        return int(wanted != text)
    README.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
