"""Keeps the virtual environment in `.venv`: makes it, brings it up to date, and runs its tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "installed"
TAIL = 30


def say(line: str) -> None:
    """Print a line at once, so that it stands before the output of what is started next."""
    print(line, flush=True)


def stop(message: str, code: int) -> NoReturn:
    """End with a message on standard error."""
    print(f"scripts/dev: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def variables() -> dict[str, str]:
    """Return the environment for what is started: nothing in it leads pip or Python out of `.venv`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONHOME", "PYTHONPATH", "PIP_PREFIX", "PIP_ROOT", "PIP_TARGET"}
    }
    path = os.pathsep.join(filter(None, [str(BIN), kept.get("PATH")]))
    return {**kept, "PATH": path, "VIRTUAL_ENV": str(VENV), "PIP_USER": "0", "PIP_NO_INPUT": "1"}


def python(*arguments: str, **extra: str) -> int:
    """Run the environment's Python in the checkout and return its exit code; `extra` adds variables."""
    command = [str(PYTHON), *arguments]
    environment = {**variables(), **extra}
    return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def prepare() -> None:
    """Make `.venv`, and install the project with all its tools, where either is not as it should be."""
    wanted = _identity(), hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    found = _read_stamp()
    if found == wanted:
        return
    if found is None or found[0] != wanted[0]:
        _make()
    _install()
    STAMP.write_text("\n".join(wanted), encoding="utf-8")


def _identity() -> str:
    """Say what a made environment depends on: it has the path and the Python written into its scripts."""
    return f"{VENV} {sys.version}"


def _read_stamp() -> tuple[str, str] | None:
    """Return what was installed, or None where nothing was, or not to the end, or its Python has gone."""
    if not STAMP.is_file() or not _works():
        return None
    identity, _, digest = STAMP.read_text(encoding="utf-8").rpartition("\n")
    return identity, digest


def _works() -> bool:
    try:
        return _quietly([str(PYTHON), "-m", "pip", "--version"]).returncode == 0
    except OSError:
        return False


def _make() -> None:
    """Make an empty `.venv` by the first of venv, uv and virtualenv that can."""
    say("Making .venv ...")
    target = str(VENV)
    makers = [[sys.executable, "-m", "venv", target]]
    if shutil.which("uv"):
        makers.append(["uv", "venv", "--quiet", "--seed", "--python", sys.executable, target])
    makers.append([sys.executable, "-m", "virtualenv", "--quiet", target])
    if shutil.which("virtualenv"):
        makers.append(["virtualenv", "--quiet", "--python", sys.executable, target])
    for maker in makers:
        _remove()
        if _quietly(maker).returncode == 0 and _works():
            return
    _remove()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stop(f"cannot make .venv: install venv (Debian, Ubuntu: apt-get install python{version}-venv), uv or virtualenv", 2)


def _remove() -> None:
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    elif VENV.exists():
        shutil.rmtree(VENV)


def _install() -> None:
    say("Installing satchel and its tools into .venv (a minute or two the first time) ...")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # The pip that a Python brings may be older than dependency groups.
    for step in (["pip>=25.1"], ["--group", "dev", "--editable", "."]):
        result = _quietly([*pip, *step])
        if result.returncode != 0:
            tail = "\n".join(result.stdout.splitlines()[-TAIL:])
            stop(f"the installation failed; the end of what pip said:\n{tail}", 1)


def _quietly(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
