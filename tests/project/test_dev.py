"""The workshop's command, as far as it says no."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.checkout import ROOT


@pytest.fixture
def empty_checkout(tmp_path: Path) -> Path:
    """A checkout on a path with a space, in which there is nothing but the scripts."""
    checkout = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return checkout


def dev(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "scripts/dev"), *arguments]
    environment = {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **variables}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_an_older_python_can_read_the_command_and_be_told() -> None:
    ast.parse((ROOT / "scripts/dev").read_text("utf-8"), feature_version=(3, 7))


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_an_unknown_command_shows_those_there_are(empty_checkout: Path, arguments: list[str]) -> None:
    result = dev(empty_checkout, *arguments)
    assert result.returncode == 2
    assert "\ntest  " in result.stderr
    assert not (empty_checkout / ".venv").exists()


def test_a_demo_that_is_not_there_is_said_before_anything_is_made(empty_checkout: Path) -> None:
    result = dev(empty_checkout, "demo")
    assert (result.returncode, result.stdout) == (2, "")
    assert "examples/catalogue/demo.py" in result.stderr
    assert not (empty_checkout / ".venv").exists()


def test_an_example_that_is_none_is_said_before_anything_is_made(empty_checkout: Path) -> None:
    result = dev(empty_checkout, "serve", EXAMPLE="shop")
    assert (result.returncode, result.stdout) == (2, "")
    assert "EXAMPLE=shop is none of" in result.stderr
    assert not (empty_checkout / ".venv").exists()


def test_versions_that_are_none_are_said_before_anything_is_made(
    empty_checkout: Path,
) -> None:
    result = dev(empty_checkout, "test", VERSIONS="oldest")
    assert result.returncode == 2
    assert "VERSIONS=oldest is none of newest, lowest" in result.stderr
    assert not list(empty_checkout.glob(".venv*"))


def test_clean_removes_what_was_made_and_nothing_else(empty_checkout: Path) -> None:
    for name in [".venv", ".venv-3.12", ".venv-lowest", "build", "dist", "src/__pycache__", "src/kept"]:
        (empty_checkout / name).mkdir(parents=True)
    assert dev(empty_checkout, "clean").returncode == 0
    assert sorted(path.name for path in empty_checkout.iterdir()) == ["scripts", "src"]
    assert [path.name for path in (empty_checkout / "src").iterdir()] == ["kept"]


def test_every_target_of_make_is_a_command(empty_checkout: Path) -> None:
    (line,) = [line for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if line.startswith(".PHONY:")]
    commands = dev(empty_checkout).stderr
    assert [target for target in line.split()[1:] if f"\n{target}  " not in commands] == []
