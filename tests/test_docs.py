"""Everything that the documentation shows is run: a page, or a docstring, is one program told in blocks."""

import ast
import asyncio
import importlib
import inspect
import json
import logging
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest
from _pytest.mark import ParameterSet

from scripts.test_servers.kinds import KINDS, variable
from tests.project.checkout import ROOT, committed_files, parsed, short
from tests.project.markdown import Block, Page

# A fence that MyST reads as a directive starts with a brace.
KNOWN = {"python", "console", "toml", "json", "text"}
PAGES = [path for path in committed_files() if path.suffix == ".md"]
SHOWN = [path for path in PAGES if path.name == "README.md" or path.is_relative_to(ROOT / "docs")]
SAVED_AS = re.compile(r"Save this as `(\w+)\.py`")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Program:
    """What one page or docstring shows; a docstring's code can use the names of the module it stands in."""

    path: Path
    blocks: list[Block]
    lines_above: int = 0
    module: str | None = None


def docstrings() -> Iterator[tuple[str, Program]]:
    """Give every public docstring with a block."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        pending: list[tuple[str, DOCUMENTED]] = [(short(path), parsed(path))]
        while pending:
            name, node = pending.pop()
            text = ast.get_docstring(node, clean=False)
            if text is not None and "```" in text:
                blocks = list(Page(inspect.cleandoc(text)).blocks)
                module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
                yield name, Program(path, blocks, node.body[0].lineno - 1, module)
            pending += [
                (f"{name}:{inner.name}", inner)
                for inner in node.body
                if isinstance(inner, DOCUMENTED) and not inner.name.startswith("_")
            ]


PROGRAMS = {short(path): Program(path, list(Page(path.read_text("utf-8")).blocks)) for path in SHOWN}
PROGRAMS |= dict(docstrings())


def run_block(block: Block, program: Program, page: ModuleType, runner: asyncio.Runner) -> None:
    """Run one block in the page's namespace; its line numbers are those of the file."""
    tree = ast.parse(block.code, str(program.path))
    ast.increment_lineno(tree, block.line - 1 + program.lines_above)
    code = compile(tree, str(program.path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        # As in a program, where imports stand at the top: some drivers read files when they are imported.
        imports = [statement for statement in tree.body if isinstance(statement, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), str(program.path), "exec"), vars(page))  # noqa: S102  # as below
        runner.run(eval(code, vars(page)))  # noqa: S307  # the code is the project's own documentation
    else:
        exec(code, vars(page))  # noqa: S102  # the code is the project's own documentation


def namespace(program: Program) -> ModuleType:
    page = ModuleType("documentation_page")
    if program.module is not None:
        names = vars(importlib.import_module(program.module))
        vars(page).update({name: value for name, value in names.items() if not name.startswith("__")})
    return page


def with_servers(name: str) -> ParameterSet:
    """Mark a program with the servers whose URLs it takes from the environment."""
    text = "".join(block.code for block in PROGRAMS[name].blocks)
    needed = [server for server in KINDS if variable(server) in text]
    return pytest.param(name, marks=[pytest.mark.server(*needed)] if needed else [])


@pytest.mark.parametrize("name", [with_servers(name) for name in PROGRAMS])
def test_a_page_runs_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = PROGRAMS[name]
    page = namespace(program)
    for module in [page.__name__, *SAVED_AS.findall(program.path.read_text("utf-8"))]:
        monkeypatch.setitem(sys.modules, module, page)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SATCHEL_URL", raising=False)
    monkeypatch.setattr(logging.root, "handlers", [*logging.root.handlers])  # frameworks set up logging
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    with asyncio.Runner() as runner:
        for block in program.blocks:
            assert block.language.startswith("{") or block.language in KNOWN, f"line {block.line}: what is it?"
            if block.language == "python":
                run_block(block, program, page, runner)
            elif block.language == "toml":
                tomllib.loads(block.code)
            elif block.language == "json":
                json.loads(block.code)


@pytest.mark.parametrize("path", PAGES, ids=short)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in Page(path.read_text("utf-8")).links:
        target, _, anchor = unquote(link).partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or not file.is_relative_to(ROOT):
            broken.append(f"{link}: there is no such file")
        elif anchor and anchor not in Page(file.read_text("utf-8")).anchors:
            broken.append(f"{link}: there is no such heading")
    assert not broken


@pytest.mark.parametrize("path", PAGES, ids=short)
def test_rows_of_tables_have_all_their_cells(path: Path) -> None:
    assert list(Page(path.read_text("utf-8")).uneven_rows) == []
