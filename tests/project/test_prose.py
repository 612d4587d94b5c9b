"""The house style: what classes are called in their first line, and phrases that readers had to read twice."""

import ast
import re
from pathlib import Path

import pytest

from tests.project.checkout import ROOT, committed_files, parsed, short, statements

SOURCES = [path for path in committed_files() if path.suffix == ".py" and ROOT / "src" in path.parents]
PAGES = [path for path in committed_files() if path.suffix == ".md" and "golden" not in path.parts]
# Plural nouns, which look like verbs.
NOUNS = frozenset(
    (
        "Address",
        "Amounts",
        "Attributes",
        "Calls",
        "Capabilities",
        "Claims",
        "Connections",
        "Counts",
        "Deadlines",
        "Entries",
        "Fields",
        "Flights",
        "Guards",
        "Hooks",
        "Keys",
        "Listings",
        "Locks",
        "Methods",
        "Names",
        "Objects",
        "Outcomes",
        "Pauses",
        "Progress",
        "Prometheus",
        "Reads",
        "Records",
        "Requests",
        "Rules",
        "Statements",
        "Statistics",
        "Subclass",
        "Tests",
    )
)
VERB = re.compile(r"(?:Is|Has|[A-Z][a-z]+s)\b")
TWICE = re.compile(
    r"[.;:] who [a-z]+s\b"
    r"|\b(?:"  # once for all, which takes a seventh of the time
    r"is the base of\b|where that has it not\b|who comes later\b|says what in the value\b"
    r"|so many \w+ (?:are|is) under way\b|neither an? \w+ of at least \d+ nor None\b|has its like too\b"
    r"|A call of what is not there\b|how many times satchel's time\b"
    # Clauses as subjects or objects, where a noun is clearer.
    r"|what (?:was|is) there\b|whoever\b|what (?:answers|suits)\b"
    # "Says", "tells" and "calls" for returns, raises, describes and names.
    r"|says (?:yes|so|true|false|`(?:True|False)`)(?!\w)|tells (?:all|neither)\b|how (?:the )?messages? calls?\b"
    # Numbers and limits.
    r"|so many (?:keys|items|seconds|connections|requests|replies|times)\b|None for no end\b"
    # Old or foreign turns of phrase.
    r"|for ever\b|stands? on\b|lets? go of\b|somebody else\b|of yours\b"
    r"|by way of (?:an)?others?\b|has no form in a URL\b)",
    re.IGNORECASE,
)


def verbs(tree: ast.Module) -> list[str]:
    """Return the first lines of classes' docstrings that begin with a verb."""
    found = []
    for node in statements(tree):
        if isinstance(node, ast.ClassDef) and (text := ast.get_docstring(node)) is not None:
            first = re.split(r"[\s,.:`]", text, maxsplit=1)[0]
            if VERB.fullmatch(first) and first not in NOUNS:
                found.append(f"{node.name}: {text.splitlines()[0]}")
    return found


def twice(text: str) -> list[str]:
    """Return the phrases of a text that had to be read twice, also those broken over lines."""
    return TWICE.findall(re.sub(r"\s+(?:#:? )?", " ", text))


def test_a_verb_at_the_beginning_is_found() -> None:
    assert verbs(ast.parse('class A:\n    """Keeps entries."""')) == ["A: Keeps entries."]
    nouns = 'class A:\n    """Store that keeps entries."""\n\n\nclass B:\n    """Reads of entries."""'
    assert verbs(ast.parse(nouns)) == []


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_classes_are_described_by_nouns(path: Path) -> None:
    assert verbs(parsed(path)) == []


def test_a_phrase_is_found_across_lines_and_in_messages() -> None:
    assert twice("a = 1  # it stands\n# on it") == ["stands on"]
    assert twice('raise ValueError("Who\ncalls; who waits loses what was there")') == ["; who waits", "what was there"]
    assert twice("Text that is understood at once.") == []


def test_nothing_has_to_be_read_twice() -> None:
    found = [f"{short(path)}: {phrase}" for path in [*SOURCES, *PAGES] for phrase in twice(path.read_text("utf-8"))]
    assert not found, "\n".join(found)
