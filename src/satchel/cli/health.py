"""The commands about a store as a whole: cull, stats, describe, doctor."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, Literal

from .. import __version__
from .._threads import in_thread
from ..capability import Capability
from ..entry import Entry
from ..errors import (
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from ..protocol import require
from . import output, places
from .outcome import DONE, STORE, code_of, one_line
from .transfer import Chosen

_REQUIREMENT = re.compile(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]")
_NOT_FOR_USERS = {"all", "testing"}


async def cull(place: str | None, *, as_json: bool) -> int:
    """Reclaim the space of expired entries."""
    async with await places.opened(place) as store:
        culled = await require(store, Capability.CULL).cull()
    output.json_line({"culled": culled}) if as_json else output.line(f"{culled:,} expired entries removed")
    return DONE


@dataclass
class CollectionSize:
    """Size of a collection."""

    collection: str
    entries: int = 0
    bytes: int = 0
    expiring: int = 0
    unreadable: int = 0

    def take(self, entry: Entry | SatchelError) -> None:
        """Count an entry."""
        if isinstance(entry, Entry):
            self.entries += 1
            self.bytes += entry.size
            self.expiring += entry.expires_at is not None
        else:
            self.unreadable += 1


async def stats(place: str | None, chosen: Chosen, *, as_json: bool) -> int:
    """Count the entries of each collection."""
    current: CollectionSize | None = None
    damaged = 0

    def show(size: CollectionSize | None) -> None:
        if size is None:
            return
        if as_json:
            output.json_line(asdict(size))
        else:
            numbers = size.entries, size.bytes, size.expiring, size.unreadable
            output.line("  ".join(f"{number:>12,}" for number in numbers) + f"  {output.name(size.collection)}")

    async with await places.opened(place) as store:
        selection = chosen.of(store)
        if not as_json:
            output.line(
                "  ".join(f"{title:>12}" for title in ("entries", "bytes", "expiring", "unreadable")) + "  collection"
            )
        with output.progress("counting") as bar:
            async for collection, found in selection.entries():
                if current is None or current.collection != collection:
                    show(current)
                    current = CollectionSize(collection)
                for entry in found.values():
                    current.take(entry)
                    damaged += not isinstance(entry, Entry)
                bar(f"{output.name(collection)}: {current.entries:,} entries")
    show(current)
    return STORE if damaged else DONE


async def describe(place: str | None, *, as_json: bool) -> int:
    """Show what a store is and can do, without connecting to it."""
    async with await places.opened(place) as store:
        about = _described(store)
    if as_json:
        output.json_line(about)
        return DONE
    for title, text in about.items():
        output.line(f"{title:<14}  {', '.join(text) or 'none' if isinstance(text, list) else text}")
    return DONE


def _described(store: Any) -> dict[str, object]:
    flags = [str(flag.name) for flag in Capability if flag in store.capabilities]
    return {"url": str(store.describe()), "max_key_bytes": store.max_key_bytes, "capabilities": flags}


@dataclass
class Finding:
    """Result of one check."""

    about: str
    state: Literal["ok", "missing", "problem"]
    said: str
    todo: str | None = None


@dataclass
class Diagnosis:
    """Report of all checks."""

    findings: list[Finding] = field(default_factory=list)
    code: int = DONE

    def add(self, about: str, state: Literal["ok", "missing", "problem"], said: str, todo: str | None = None) -> None:
        """Add a finding."""
        self.findings.append(Finding(about, state, said, todo))


async def doctor(place: str | None, *, as_json: bool) -> int:
    """Show what is installed, which stores answer, and how to mend what is wrong."""
    diagnosis = Diagnosis()
    diagnosis.add("satchel", "ok", f"{__version__}, Python {platform.python_version()}, {platform.system()}")
    for extra, packages in await in_thread(_extras):
        missing = [package for package, found in packages.items() if found is None]
        if missing:
            todo = f'pip install "satchel[{extra}]", if you need it'
            diagnosis.add(extra, "missing", f"{', '.join(missing)} not installed", todo)
        else:
            diagnosis.add(extra, "ok", ", ".join(f"{package} {found}" for package, found in packages.items()))
    for title, given in await in_thread(list, _stores(place, diagnosis)):
        await _examine(title, given, diagnosis)
    for finding in diagnosis.findings:
        if as_json:
            output.json_line({name: value for name, value in asdict(finding).items() if value is not None})
        else:
            todo = "" if finding.todo is None else f" -> {finding.todo}"
            output.line(f"{finding.state:<8}  {finding.about}: {finding.said}{todo}")
    return diagnosis.code


def _extras() -> list[tuple[str, dict[str, str | None]]]:
    """Return each extra with the version of each package that it brings; None for one that is not installed."""
    try:
        requirements = requires("satchel") or []
    except PackageNotFoundError:  # it runs from its source tree
        return []
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        if found is None or found[2] in _NOT_FOR_USERS or "python_version" in requirement:
            continue
        extras.setdefault(found[2], {})[found[1]] = _version(found[1])
    return sorted(extras.items())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _stores(place: str | None, diagnosis: Diagnosis) -> Iterator[tuple[str, str | None]]:
    if place is not None:
        yield "store", place
        return
    source = places.default()
    if source is None:
        todo = f"give --store, set SATCHEL_URL, or write [satchel] with url to {places.FILE}"
        diagnosis.add("default store", "missing", "none is configured", todo)
    else:
        yield f"default store, from {source}", None
    try:
        names = list(places.named())
    except SatchelError:
        return  # the check of the default store reports the same file
    for name in names:
        yield f"store {name}", name


async def _examine(title: str, place: str | None, diagnosis: Diagnosis) -> None:
    try:
        async with await places.opened(place) as store:
            said = str(store.describe())
            started = time.perf_counter()
            await store.ping()
            diagnosis.add(title, "ok", f"{said} answers in {(time.perf_counter() - started) * 1000:.1f} ms")
    except SatchelError as error:
        diagnosis.add(title, "problem", one_line(error), _advice(error))
        diagnosis.code = max(diagnosis.code, code_of(error))


def _advice(error: SatchelError) -> str | None:
    if isinstance(error, StoreTimeoutError):
        return "check whether the server is busy or a firewall drops requests; to wait longer, set timeout= in the URL"
    if isinstance(error, StoreUnavailableError):
        return "check that the server runs, and that host and port in the URL are right"
    if isinstance(error, StoreError):
        return "check user, password and permissions, and the log of the server"
    return None  # the message itself says what to do
