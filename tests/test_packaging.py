"""What is shipped, what it needs, and what an import costs."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import satchel
from tests.project.checkout import ROOT

PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MODULES = sorted(path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src/satchel").rglob("*.py"))
INSPECTOR = [f"satchel/server/inspector/{name}" for name in ("index.html", "inspector.css", "inspector.js")]
IMPORT = """
import sys, threading
before = set(sys.modules)
import satchel
assert threading.enumerate() == [threading.main_thread()], threading.enumerate()
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    (path,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("sdist")), versions=["standard"])
    with tarfile.open(path) as file:
        return [name.partition("/")[2] for name in file.getnames()]


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted([*MODULES, *INSPECTOR, "satchel/py.typed"])


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    assert metadata["Version"] == satchel.__version__
    assert metadata["License-Expression"] == "MIT"
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_the_source_archive_can_be_tested(archive: list[str]) -> None:
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/conftest.py", "docs/index.md", "scripts/dev"} <= set(
        archive
    )
    assert not [name for name in archive if "__pycache__" in name or name.startswith((".venv", ".git/"))]


def test_the_extra_all_has_every_extra_that_a_program_needs() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    (named,) = re.findall(r"\[(.*)\]", everything)
    assert set(named.split(",")) == set(extras) - {"all", "testing"}


def test_an_import_brings_no_driver_and_starts_no_thread(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    brought = set(result.stdout.split()) - sys.stdlib_module_names
    assert "satchel" in brought
    assert {name for name in brought if not name.startswith("_")} <= {"satchel", "msgspec", "typing_extensions"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", satchel.__all__)
def test_everything_offered_is_there_and_documented(name: str) -> None:
    thing = getattr(satchel, name)
    assert not isinstance(thing, type) or thing.__doc__
