"""Virtual environments in the checkout: makes them, brings them up to date, and runs their tools."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from typing import NoReturn

from requirements import CONSTRAINTS, PROJECT, extras, resolve_lowest

ROOT = PROJECT.parent
TAIL = 30


def say(line: str) -> None:
    """Print a line at once, so that it stands before the output of what is started next."""
    print(line, flush=True)


def stop(message: str, code: int) -> NoReturn:
    """End with a message on standard error."""
    print(f"scripts/dev: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code)


class Environment:
    """Virtual environment with the project and what its tests need.

    Args:
        name: Its directory in the checkout.
        groups: The dependency groups to install.
        versions: "constraints" for those in `constraints.txt`, "newest" for the newest there are, "lowest" for the
            lowest that `pyproject.toml` allows.
        interpreter: The Python it is made with.
    """

    def __init__(
        self,
        name: str = ".venv",
        groups: tuple[str, ...] = ("dev",),
        versions: str = "constraints",
        interpreter: str = sys.executable,
    ) -> None:
        self.name = name
        self.versions = versions
        self.path = ROOT / name
        self.bin = self.path / ("Scripts" if os.name == "nt" else "bin")
        self.executable = self.bin / ("python.exe" if os.name == "nt" else "python")
        self._groups = groups
        self._interpreter = interpreter
        self._stamp = self.path / "installed"

    def variables(self) -> dict[str, str]:
        """Return the variables for what is started: nothing in them leads pip or Python out of the environment."""
        left_out = {"PYTHONHOME", "PYTHONPATH", "PIP_PREFIX", "PIP_ROOT", "PIP_TARGET"}
        # Each of the hundreds of processes that tests start would compile all modules again.
        left_out.add("PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        path = os.pathsep.join(filter(None, [str(self.bin), kept.get("PATH")]))
        return {**kept, "PATH": path, "VIRTUAL_ENV": str(self.path), "PIP_USER": "0", "PIP_NO_INPUT": "1"}

    def python(self, *arguments: str, **extra: str) -> int:
        """Run its Python in the checkout and return the exit code; `extra` adds variables."""
        command = [str(self.executable), *arguments]
        variables = {**self.variables(), **extra}
        return subprocess.run(command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, check=False).returncode

    def prepare(self) -> None:
        """Make it, and install the project with its tests, where either is not as it should be.

        Raises:
            SystemExit: That cannot be done.
        """
        wanted = self._wanted()
        found = self._read_stamp()
        if found == wanted and self.versions != "newest":  # what is the newest is only known by asking again
            return
        if found is None or found[0] != wanted[0]:
            self._make()
        self._stamp.unlink(missing_ok=True)
        self._install()
        self._stamp.write_text("\n".join(wanted), encoding="utf-8")

    def _wanted(self) -> tuple[str, str]:
        """Return what a made environment depends on, and what an installed one does."""
        # Its scripts have its path and its Python written into them.
        identity = f"{self.path} {sys.version if self._interpreter == sys.executable else self._interpreter}"
        sources = b"".join(path.read_bytes() for path in (PROJECT, CONSTRAINTS))
        return identity, hashlib.sha256(sources).hexdigest()

    def _read_stamp(self) -> tuple[str, str] | None:
        """Return what was installed, or None where nothing was, or not to the end, or its Python has gone."""
        if not self._stamp.is_file() or not self._works():
            return None
        identity, _, digest = self._stamp.read_text(encoding="utf-8").rpartition("\n")
        return identity, digest

    def _works(self) -> bool:
        try:
            return self._quietly([str(self.executable), "-m", "pip", "--version"]).returncode == 0
        except OSError:
            return False

    def _make(self) -> None:
        """Make it empty by the first of venv, uv and virtualenv that can."""
        say(f"Making {self.name} ...")
        python, target = self._interpreter, str(self.path)
        makers = [[python, "-m", "venv", target]]
        if shutil.which("uv"):
            makers.append(["uv", "venv", "--quiet", "--seed", "--python", python, target])
        makers.append([python, "-m", "virtualenv", "--quiet", target])
        if shutil.which("virtualenv"):
            makers.append(["virtualenv", "--quiet", "--python", python, target])
        if python != sys.executable:  # the tools in .venv have a virtualenv
            makers.append([str(Environment().executable), "-m", "virtualenv", "--quiet", "--python", python, target])
        for maker in makers:
            self._remove()
            try:
                made = self._quietly(maker).returncode == 0
            except OSError:
                continue
            if made and self._works():
                return
        self._remove()
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        cure = f"install venv (Debian, Ubuntu: apt-get install {package}), uv or virtualenv"
        stop(f"cannot make {self.name} with {python}: {cure}", 2)

    def _remove(self) -> None:
        if self.path.is_symlink() or self.path.is_file():
            self.path.unlink()
        elif self.path.exists():
            shutil.rmtree(self.path)

    def _install(self) -> None:
        say(f"Installing satchel and its tools into {self.name} (a minute or two the first time) ...")
        groups = [word for group in self._groups for word in ("--group", group)]
        # The pip that a Python brings may be older than dependency groups and constraints of builds.
        self._pip("--constraint", str(CONSTRAINTS), "pip", *(["uv"] if self.versions == "lowest" else []))
        if self.versions == "newest":
            self._pip("--upgrade", "--upgrade-strategy", "eager", "pip", *groups, "--editable", ".")
            return
        constraints, project = CONSTRAINTS, "."
        if self.versions == "lowest":
            constraints = self.path / "lowest.txt"
            project = f".[{','.join(extras())}]"
            constraints.write_text(self._resolve_lowest(), encoding="utf-8")
        limits = ["--constraint", str(constraints), "--build-constraint", str(constraints)]
        self._pip(*limits, *groups, "--editable", project)

    def _resolve_lowest(self) -> str:
        try:
            return resolve_lowest(str(self.bin / "uv"), str(self.executable), self._groups, self.variables())
        except RuntimeError as error:
            stop(f"no set of the lowest versions can be found:\n{error}", 1)

    def _pip(self, *arguments: str) -> None:
        pip = [str(self.executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        self._check([*pip, *arguments])

    def _check(self, command: list[str]) -> None:
        """Run a step of the installation, and end the program where it fails."""
        result = self._quietly(command)
        if result.returncode != 0:
            tail = "\n".join(result.stdout.splitlines()[-TAIL:])
            stop(f"the installation into {self.name} failed; the end of what was said:\n{tail}", 1)

    def _quietly(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
