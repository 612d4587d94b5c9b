"""The pytest plugin, in a pytest of its own."""

import os
import subprocess
import sys

import pytest

TEST = """
import pytest

@pytest.mark.asyncio
async def test_one(satchel_store):
    await satchel_store.put("c", "k", 1)
    assert await satchel_store.get("c", "k") == 1

@pytest.mark.asyncio
async def test_other(satchel_store):
    assert [name async for name in satchel_store.collections()] == []
    await satchel_store.put("c", "other", 1)
"""


def run(path, configuration=""):
    (path / "pytest.ini").write_text(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{configuration}\n")
    (path / "conftest.py").write_text('pytest_plugins = ["satchel.testing.plugin"]\n')
    (path / "test_stores.py").write_text(TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "pytest_asyncio.plugin",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
    ]
    # Plugins of other packages that happen to be there take longer to load than all of this.
    variables = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=path, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_each_test_gets_an_empty_store_for_each_url(tmp_path):
    shared = tmp_path / "shared.db"
    done = run(tmp_path, f"satchel_urls =\n    memory://\n    disk:///{{tmp_path}}/x.db\n    disk:///{shared}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout
    assert "test_one[memory://]" in done.stdout
    assert shared.exists()


def test_without_configuration_it_is_memory(tmp_path):
    done = run(tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
