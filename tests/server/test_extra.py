"""A server without the packages that it needs says which extra brings them."""

import subprocess
import sys

import pytest

from tests.cli.shell import environment, made_script

pytestmark = pytest.mark.long  # whole programs, which take long to start


@pytest.mark.parametrize(
    ("driver", "program"),
    [
        ("starlette", "import satchel.server"),
        ("uvicorn", "import satchel.server.serving"),
        ("starlette", "from satchel.cli import run; sys.exit(run(['serve', 'memory:']))"),
        ("uvicorn", "from satchel.cli import run; sys.exit(run(['serve', 'memory:']))"),
    ],
)
def test_the_extra_is_named(driver, program):
    blocked = f"import sys; sys.modules[{driver!r}] = None; {program}"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "serve'" in program else 1)
    last = done.stderr.splitlines()[-1]
    assert 'pip install "satchel[server]"' in last
    assert driver in last
    assert done.stderr.count("\n") == 1 or "serve'" not in program


def test_the_app_needs_no_more_than_starlette(tmp_path):
    made_script(tmp_path / "bin")
    missing = ("uvicorn", "prometheus_client", "httpx", "aiofiles", "typer")
    blocked = f"import sys; sys.modules.update(dict.fromkeys({missing})); "
    program = blocked + "import satchel, satchel.server as server; server.create_app(satchel.MemoryStore())"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(tmp_path / "bin"), capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
