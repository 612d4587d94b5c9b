"""The quickstart and the example, as a new user would run them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.markdown import Page

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]  # whole programs, on a machine that may be busy

ROOT = Path(__file__).parents[2]
SERVICE, TESTS = "Save this as `service.py`", "Save this as `test_service.py`"
SETTINGS = "Save this as `pyproject.toml`"


def run(*arguments, folder, **environment):
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ, **environment)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    text = (ROOT / "docs" / "quickstart.md").read_text()
    shown = {mark: next(Page(text[text.index(mark) :]).blocks).code for mark in (SERVICE, TESTS, SETTINGS)}
    service = shown[SERVICE].replace("disk:///tmp/service", f"disk://{tmp_path}/data")
    assert str(tmp_path) in service
    (tmp_path / "service.py").write_text(service)
    (tmp_path / "test_service.py").write_text(shown[TESTS])
    (tmp_path / "pyproject.toml").write_text(shown[SETTINGS])
    return tmp_path


def test_the_tests_of_the_quickstart_pass_and_open_no_real_store(folder):
    assert "4 passed" in run("-m", "pytest", "-q", "test_service.py", folder=folder)
    assert not (folder / "data").exists()


def blocks_as_files(folder):
    """Save every block of the page under the name that it says."""
    text = (ROOT / "docs" / "quickstart.md").read_text()
    for mark in re.finditer(r"Save this as `(\w+\.py)`", text):
        (folder / mark[1]).write_text(next(Page(text[mark.start() :]).blocks).code)
    return sorted(path.name for path in folder.glob("*.py"))


def test_every_block_of_the_quickstart_is_a_file(tmp_path):
    python = [
        block for block in Page((ROOT / "docs" / "quickstart.md").read_text()).blocks if block.language == "python"
    ]
    assert len(blocks_as_files(tmp_path)) == len(python)


@pytest.mark.parametrize("file", ["hello.py", "typed.py"])
def test_the_first_blocks_of_the_quickstart_run_as_files(tmp_path, file):
    blocks_as_files(tmp_path)
    run(file, folder=tmp_path)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [["mypy", "--strict"], ["basedpyright", "--level", "error"]])
def test_the_blocks_of_the_quickstart_pass_a_strict_type_checker(tmp_path, checker):
    files = blocks_as_files(tmp_path)
    settings = {"typeCheckingMode": "strict", "reportUnusedFunction": "none"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    where = (
        ["--pythonpath", sys.executable] if checker[0] == "basedpyright" else ["--python-executable", sys.executable]
    )
    run("-m", *checker, *where, *files, folder=tmp_path)


def test_the_service_of_the_quickstart_keeps_what_it_is_given(folder):
    code = (
        "import asyncio, sys, httpx, service\n"
        "async def main():\n"
        "    async with service.app.router.lifespan_context(service.app):\n"
        "        transport = httpx.ASGITransport(service.app)\n"
        "        async with httpx.AsyncClient(transport=transport, base_url='http://test') as client:\n"
        "            if sys.argv[1] == 'put':\n"
        "                await client.put('/users/ada', json={'name': 'Ada'})\n"
        "            print((await client.get('/users/ada')).text, (await client.get('/ready')).status_code)\n"
        "asyncio.run(main())\n"
    )
    for step in ("put", "get"):
        assert run("-c", code, step, folder=folder) == '{"name":"Ada","visits":0} 200\n'


def test_the_example_passes_its_own_tests(tmp_path):
    assert "7 passed" in run("-m", "pytest", "-q", "examples/fastapi_service", folder=ROOT)
