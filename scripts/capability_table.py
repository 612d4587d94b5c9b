"""Writes the table of stores and capabilities into README.md, from the stores themselves.

`python scripts/capability_table.py` rewrites it; with `--check` it only says whether it is up to date.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from satchel import AsyncKeyValue, Capability, DiskStore, FileTreeStore, MemoryStore, NullStore

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- capabilities -->\n", "<!-- end of capabilities -->\n"


def stores(directory: str) -> list[tuple[str, str, str, AsyncKeyValue]]:
    """Return for each store its URL, its docs page, where it keeps data, and an instance."""
    return [
        ("memory://", "memory", "this process", MemoryStore()),
        ("disk:///dir", "disk", "SQLite", DiskStore(directory)),
        ("file:///dir", "filetree", "readable files", FileTreeStore(directory)),
        ("null://", "null", "nowhere", NullStore()),
    ]


def table(directory: str) -> str:
    """Return the table in Markdown."""
    rows = stores(directory)
    flags = [flag for flag in Capability if any(flag in store.capabilities for *_, store in rows)]
    titles = [str(flag.name).lower().replace("_", " ") for flag in flags]
    lines = ["| store | URL | keeps data in | " + " | ".join(titles) + " |", "| --- " * (3 + len(flags)) + "|"]
    for url, page, place, store in rows:
        marks = ["yes" if flag in store.capabilities else "" for flag in flags]
        name = f"[`{type(store).__name__}`](docs/stores/{page}.md)"
        lines.append(f"| {name} | `{url}` | {place} | " + " | ".join(marks) + " |")
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
