"""The demonstration runs to its end, twice, and ends cleanly when something is in its way."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.long  # whole programs, which take long to start

DEMO = Path(__file__).parents[2] / "examples" / "catalogue" / "demo.py"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "SATCHEL_URL"}


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(DEMO), *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT, start_new_session=True
    ) as demo:
        try:
            yield demo
        finally:
            with suppress(ProcessLookupError):
                os.killpg(demo.pid, signal.SIGKILL)


def ended(demo: subprocess.Popen[str], within: float) -> tuple[str, str]:
    output, errors = demo.communicate(timeout=within)
    assert "Traceback" not in output + errors
    return output, errors


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.night
def test_the_demonstration_passes_over_all_that_an_earlier_one_left(tmp_path: Path) -> None:
    data = tmp_path / "my data, 100%"
    with started("--data", data) as demo:
        assert demo.stdout is not None
        assert any("Read back" in line for line in iter(demo.stdout.readline, "")), demo.stderr.read()
    with started("--data", data) as demo:
        output, errors = ended(demo, within=200)
    assert demo.returncode == 0, output + errors
    assert "Everything that was put came back as it was, also after the kill." in output


def test_an_interrupted_demonstration_stops_its_service_and_says_so(tmp_path: Path) -> None:
    with started("--data", tmp_path / "data") as demo:
        assert demo.stdout is not None
        assert any("Load" in line for line in iter(demo.stdout.readline, ""))
        os.killpg(demo.pid, signal.SIGINT)
        output, errors = ended(demo, within=20)
        with pytest.raises(ProcessLookupError):
            os.killpg(demo.pid, 0)
    assert demo.returncode == 130, output + errors
    assert "Interrupted. The service has been stopped" in output


def test_a_busy_port_is_said_in_one_line(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        started("--data", tmp_path / "data", "--port", taken.getsockname()[1]) as demo,
    ):
        _, errors = ended(demo, within=20)
    assert demo.returncode == 1, errors
    assert "choose another with --port" in errors


def test_a_data_directory_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with started("--data", tmp_path / "file") as demo:
        _, errors = ended(demo, within=20)
    assert demo.returncode == 1, errors
    assert "make it a writable directory" in errors
