"""Checks the project in environments of its own: `nox`, or `nox --session tests`.

A Python that is not installed is reported as skipped; where CI is set, it is an error.
"""

import os
import shutil
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent / "scripts"))
from requirements import resolve_lowest

nox.options.sessions = ["lint", "types", "tests", "docs", "package"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")
CONSTRAINTS = "constraints.txt"
PYTHONS = nox.project.python_versions(PROJECT)
SMOKE = Path("tests/project/smoke.py").resolve()


def install(session: nox.Session, *groups: str) -> None:
    """Install the project, from its checkout, with dependency groups, in the versions of `constraints.txt`."""
    requirements = nox.project.dependency_groups(PROJECT, *groups)
    session.install("--constraint", CONSTRAINTS, "--editable", ".", *requirements)


def run_tests(session: nox.Session, *options: str) -> None:
    """Run the tests; arguments behind -- are for pytest."""
    session.run("pytest", "--numprocesses", "2", *options, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style."""
    session.install("--constraint", CONSTRAINTS, *nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, of the package and of programs that use it."""
    install(session, "types")
    session.run("mypy")
    if Path("tests/typing").is_dir():
        session.run("basedpyright")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; arguments behind -- are for pytest."""
    install(session, "test", "types")
    run_tests(session)


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """Run the tests with the newest versions of all packages; arguments behind -- are for pytest."""
    requirements = nox.project.dependency_groups(PROJECT, "test", "types")
    session.install("--upgrade", "--upgrade-strategy", "eager", "--editable", ".", *requirements)
    run_tests(session)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that are allowed; arguments behind -- are for pytest.

    FastMCP's own bounds are higher, so that it is left out. On later Pythons the lowest versions lack wheels.
    """
    session.install("--constraint", CONSTRAINTS, "uv")
    groups = ["test-base", "types"]
    uv, python = Path(session.bin) / "uv", Path(session.bin) / "python"
    found = Path(session.create_tmp()) / "lowest.txt"
    found.write_text(resolve_lowest(str(uv), str(python), groups, os.environ), encoding="utf-8")
    extras = ",".join(sorted(PROJECT["project"]["optional-dependencies"]))
    requirements = nox.project.dependency_groups(PROJECT, *groups)
    session.install("--constraint", str(found), "--editable", f".[{extras}]", *requirements)
    run_tests(session, "--ignore", "tests/integrations/test_fastmcp.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    install(session, "docs")
    session.run("sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "docs", "build/docs")


@nox.session
def package(session: nox.Session) -> None:
    """Build the archives, and try the wheel where there is nothing else, with no checkout in reach."""
    place = Path(session.create_tmp()).resolve()
    dist = place / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.install("--constraint", CONSTRAINTS, "build")
    session.run("python", "-m", "build", "--outdir", str(dist))
    (wheel,) = dist.glob("*.whl")
    session.run("python", "-m", "venv", "--clear", str(place / "clean"))
    python = str(place / "clean" / "bin" / "python")
    session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
    with session.chdir(place):
        session.run(python, "-I", "-W", "error", str(SMOKE), external=True)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Run the benchmarks; arguments behind -- name some."""
    install(session, "benchmark")
    session.run("python", "-m", "benchmarks", *session.posargs)
