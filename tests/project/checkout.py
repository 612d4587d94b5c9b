"""Finds the project's own files."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".nox", "__pycache__", "build"}
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def committed_files() -> list[Path]:
    """Return the files under version control, or all files where the checkout is an unpacked archive."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607  # git has no fixed place
    if listing.returncode == 0 and listing.stdout:
        files = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        files = [path for path in ROOT.rglob("*") if not any(map(is_not_ours, path.relative_to(ROOT).parts))]
    return sorted(path for path in files if path.is_file())


def is_not_ours(name: str) -> bool:
    """Tell whether a directory holds what was made or fetched."""
    return name in NOT_OURS or name.startswith(".venv")


def short(path: Path) -> str:
    """Return the path as seen from the checkout."""
    return path.relative_to(ROOT).as_posix()


@cache
def parsed(path: Path) -> ast.Module:
    """Return the tree of a Python file, which several tests look at and none changes."""
    return ast.parse(path.read_text("utf-8"))


def statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Iterate over all statements, at any depth, without going over expressions, which are most of a tree."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        for block in BLOCKS:
            pending += getattr(node, block, ())
