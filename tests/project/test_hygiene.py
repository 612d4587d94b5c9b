"""What no committed file may hold. Patterns are written so that they do not match themselves."""

import re
from pathlib import Path

import pytest

from tests.project.checkout import committed_files, short

TEXTS = [path for path in committed_files() if b"\0" not in path.read_bytes()]
LEAKS = {
    "a registry's host (say the package's name; clients know where to look)": (
        r"\b(pypi\.org|pythonhosted\.org|npmjs\.(org|com)|crates\.io|(deb|security)\.debian\.org|docker\.io|ghcr\.io)\b"
    ),
    "a path of somebody's machine": r"(?<![\w.])(?<!:/)/([r]oot|[h]ome/\w+|[U]sers/\w+|[w]ork)(?=/|\b(?![\w-]))",
    "notes that are not part of the project": r"\b(DESIGN[.]md|LESSONS[.]md|[iI]ssue[ ]#?\d+)\b",
    "a name of whoever or whatever wrote it": r"(?i)\b(clau[d]e|anthrop[i]c|chatg[p]t|open[a]i|copil[o]t)\b",
}
SUPPRESSION = re.compile(r"#\s*(type:\s*ignore|pyright:\s*ignore|noqa|nosec)\b")
# A suppression names what it suppresses and is followed by a second comment: why.
REASONED = re.compile(
    r"#\s*((type|pyright):\s*ignore\[[\w\s,-]+\]|noqa:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*|nosec\s+B\d+)\s+#\s*\S+"
)


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8", errors="replace").split("\n")


def found(pattern: re.Pattern[str], path: Path) -> list[str]:
    return [
        f"{short(path)}:{number}: {line.strip()}" for number, line in enumerate(lines(path), 1) if pattern.search(line)
    ]


@pytest.mark.parametrize("what", LEAKS)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(LEAKS[what])
    assert [hit for path in TEXTS for hit in found(pattern, path)] == []


def test_every_suppressed_warning_has_its_reason() -> None:
    bare = [
        f"{short(path)}:{number}: {line.strip()}"
        for path in TEXTS
        if path.suffix == ".py" or short(path) == "scripts/dev"
        for number, line in enumerate(lines(path), 1)
        if SUPPRESSION.search(line) and not REASONED.search(line)
    ]
    assert bare == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a registry's host (say the package's name; clients know where to look)", "see py" + "pi.org/project"),
        ("a path of somebody's machine", "cd /ro" + "ot/satchel"),
        ("a path of somebody's machine", "cd /wo" + "rk"),
        ("a path of somebody's machine", "/ho" + "me/ada/.cache"),
        ("notes that are not part of the project", "see iss" + "ue 2"),
        ("a name of whoever or whatever wrote it", "by Clau" + "de"),
    ],
)
def test_the_patterns_find(what: str, text: str) -> None:
    assert re.search(LEAKS[what], text)


@pytest.mark.parametrize("text", ["a tmp/work/x", "/worker", "disk:///data"])
def test_the_patterns_leave(text: str) -> None:
    assert not any(re.search(pattern, text) for pattern in LEAKS.values())


def test_a_suppression_without_reason_is_found() -> None:
    reasoned = "x = 1  # no" + "qa: S101  # because"
    bare = "x = 1  # no" + "qa: S101"
    assert SUPPRESSION.search(bare)
    assert not REASONED.search(bare)
    assert REASONED.search(reasoned)
