"""The demonstration runs to its end, twice, and ends cleanly when something is in its way."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "catalogue" / "demo.py"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "SATCHEL_URL"}


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(DEMO), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT, start_new_session=True)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_the_demonstration_passes_twice_in_a_row(tmp_path: Path) -> None:
    for _ in range(2):
        demo = start("--data", tmp_path / "data")
        output, errors = demo.communicate(timeout=110)
        assert demo.returncode == 0, output + errors
        assert "Everything that was put came back as it was, also after the kill." in output


def test_an_interrupted_demonstration_stops_its_service_and_says_so(tmp_path: Path) -> None:
    demo = start("--data", tmp_path / "data")
    assert demo.stdout is not None
    lines = iter(demo.stdout.readline, "")
    assert any("Load" in line for line in lines)
    os.killpg(demo.pid, signal.SIGINT)
    output, errors = demo.communicate(timeout=20)
    assert demo.returncode == 130, output + errors
    assert "Interrupted. The service has been stopped" in output
    assert "Traceback" not in output + errors
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.pid, 0)


def test_a_busy_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        demo = start("--data", tmp_path / "data", "--port", taken.getsockname()[1])
        output, errors = demo.communicate(timeout=20)
    assert demo.returncode == 1, output + errors
    assert "choose another with --port" in errors
    assert "Traceback" not in errors


def test_a_data_directory_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    demo = start("--data", tmp_path / "file")
    output, errors = demo.communicate(timeout=20)
    assert demo.returncode == 1, output + errors
    assert "make it a directory to write in" in errors
    assert "Traceback" not in errors
