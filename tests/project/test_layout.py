"""Which part of `src/satchel` may import which, and that a class name means one thing.

Every import counts: those inside of functions, and those for type checkers alone. What `lazy_exports` and the table of
URLs import by name does not.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.project.checkout import ROOT, parsed, statements

SOURCE = ROOT / "src"
CONTRACT = {
    "protocol", "capability", "change", "entry", "errors", "clock", "codec", "names", "verbs", "collection", "caching",
    "matching", "tags",
}  # fmt: skip
"""The modules at the top on which all else stands, with those whose names begin with an underscore."""
LAYERS = {
    "backend", "stores", "wrappers", "sync", "url", "coordination", "integrations", "testing", "copying",
    "cli", "sessions", "environment", "server", "blobs", "content",
}  # fmt: skip
PLUMBING = {
    "backend.record": "writes that wait for a failing or a cold store are kept encoded",
    "backend.serializer": "what encodes and decodes these writes",
    "backend.lifecycle": "a wrapper with work of its own waits for its calls, and closes what is inside",
}
"""What wrappers use of the plumbing of stores, and why."""
DRIVERS_OF_BLOBS = {
    "backend.network": "the check of options that exclude each other",
    "stores.filetree.layout": "which file names a file system takes",
    "stores.filetree.system": "locks between processes, and what errors of files mean",
    "stores.objectstore.bucket": "requests to a bucket",
    "stores.objectstore.client": "clients of buckets, and their options",
    "stores.objectstore.errors": "what errors of buckets mean",
    "stores.objectstore.requests": "starting requests so that the end of the process and forks know of them",
    "stores.objectstore.sweep": "deletion on a condition",
}
"""What blobs that are files or objects share with the stores on the same drivers, and why."""
SHARED_BY_STORES = {
    "_documents": {"filetree", "git"},
    "_redislike": {"redis", "valkey"},
    "_sqllike": {"postgresql", "sql"},
}
LAZY = ["", "backend", "url", "sync", "testing", "testing.conformance"]
"""Packages that import no module of theirs but the contract's before it is asked for."""


def module_name(path: Path) -> str:
    """Return the name of a module without `satchel.`; that of the whole package is empty."""
    parts = path.relative_to(SOURCE / "satchel").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {name: parsed(path) for name, path in PATHS.items()}


def imported(name: str, node: ast.AST) -> Iterator[str]:
    """Iterate over the modules of satchel that a statement of a module imports."""
    if isinstance(node, ast.Import):
        targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        start = f"satchel.{name}".rstrip(".").split(".")
        if PATHS[name].name != "__init__.py":
            start.pop()
        base = ".".join([*start[: len(start) - node.level + 1], *([node.module] if node.module else [])])
        base = base if node.level else str(node.module)
        targets = [f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base for alias in node.names]
    else:
        return
    yield from (short for target in targets if (short := inside(target)) is not None)


def inside(target: str) -> str | None:
    return target.removeprefix("satchel").removeprefix(".") if target.partition(".")[0] == "satchel" else None


def is_module(target: str) -> bool:
    return inside(target) in PATHS


IMPORTS = {
    name: {target for node in statements(tree) for target in imported(name, node)} for name, tree in TREES.items()
}
EDGES = [(name, target) for name, targets in IMPORTS.items() for target in sorted(targets)]


def layer(name: str) -> str:
    """Return the part that a module belongs to."""
    top = name.partition(".")[0]
    return "contract" if top in CONTRACT or (top.startswith("_") and top != "") else top


def wrong(part: str, allowed: set[str]) -> list[tuple[str, str]]:
    """Return the imports of a part from elsewhere than itself, the contract, and the parts or modules allowed."""
    return [
        (name, target)
        for name, target in EDGES
        if layer(name) == part and layer(target) not in {part, "contract", *allowed} and target not in allowed
    ]


def test_every_module_belongs_to_a_part() -> None:
    assert {layer(name) for name in PATHS} <= {"", "contract"} | LAYERS
    assert ("stores.memory.store", "backend.record") in EDGES
    assert ("sync.store", "url") in EDGES


@pytest.mark.parametrize(
    ("part", "allowed"),
    [
        ("contract", set()),
        ("backend", {"url.description"}),  # for `Described`
        ("stores", {"backend"}),
        ("wrappers", {"url.description", "stores.memory", *PLUMBING}),  # the memory of NearCacheWrapper
        ("coordination", set()),
        ("copying", set()),
        ("sessions", set()),
        ("environment", set()),
        ("server", {"", "blobs", "wrappers.statistics", "integrations.prometheus"}),  # "" is for its own version
        ("cli", {"", "copying", "url", "server", "server.serving"}),
        ("url", {"blobs.protocol"}),
        ("blobs", set(DRIVERS_OF_BLOBS)),
        ("content", {"coordination.lock", "sync.face", "sync.store"}),  # one run across processes; calls without await
        ("sync", {"url", "backend.lifecycle"}),
    ],
)
def test_a_part_imports_only_what_is_below_it(part: str, allowed: set[str]) -> None:
    assert wrong(part, allowed) == []


def test_every_plumbing_module_is_still_needed_by_wrappers() -> None:
    used = {target for name, target in EDGES if layer(name) == "wrappers" and layer(target) == "backend"}
    assert used == set(PLUMBING)


def test_the_engine_is_written_against_the_hooks() -> None:
    assert not {"backend.base", "backend.keyed"} & (IMPORTS["backend.engine"] | IMPORTS["backend.coalescer"])


def test_no_store_imports_another() -> None:
    def backend(name: str) -> str:
        return name.split(".")[1] if name.count(".") else ""

    assert [
        (name, target)
        for name, target in EDGES
        if layer(name) == layer(target) == "stores"
        and backend(name) != backend(target)
        and backend(name) not in SHARED_BY_STORES.get(backend(target), set())
    ] == []


def packages(name: str) -> set[str]:
    """Return the packages that a module is in, which are imported before it."""
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(len(parts))}


def runs_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Iterate over what runs when a module is imported: not the bodies of functions, nor what is for type checkers."""
    is_for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not is_for_checkers:
        yield node
        for child in ast.iter_child_nodes(node):
            yield from runs_at_import(child)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return some modules that import each other, the first again as the last; none where there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other() -> None:
    assert circle(IMPORTS) == []


def test_no_modules_import_each_other_through_their_packages() -> None:
    graph: dict[str, set[str]] = {}
    for name, tree in TREES.items():
        targets = {target for node in runs_at_import(tree) for target in imported(name, node)}
        around = {package for target in targets for package in packages(target)}
        graph[name] = targets | around - packages(name) - {name}
    assert circle(graph) == []


@pytest.mark.parametrize("package", LAZY)
def test_a_package_imports_its_modules_when_they_are_asked_for(package: str) -> None:
    at_once = [target for node in runs_at_import(TREES[package]) for target in imported(package, node)]
    assert [target for target in at_once if layer(target) != "contract"] == []


def test_a_class_name_means_one_thing_outside_of_the_backends() -> None:
    places = defaultdict(list)
    for name, tree in TREES.items():
        for node in statements(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    shared = {kind: names for kind, names in places.items() if len(names) > 1}
    assert {kind: names for kind, names in shared.items() if {layer(name) for name in names} != {"stores"}} == {}
