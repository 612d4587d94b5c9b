"""Metadata: facts about a run of a function, which are recorded with the call and are no part of its digest.

A source of metadata is a plain function without arguments, and its name is the name of its facts. One that returns a
dict is called in a worker thread before the run, so it may read files or start a program. A generator function yields
its dict once: what comes before the `yield` happens before the run, and what comes after it, once the run has ended.
"""

from __future__ import annotations

import inspect
import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..._threads import in_thread
from ...clock import system_clock
from ...codec import JsonCodec
from ...errors import ConfigurationError, SerializationError

MetadataSource = Callable[[], Mapping[str, Any] | Iterator[Mapping[str, Any]]]
"""Function that gives facts about a run: before it, or, if it is a generator function, around it."""

TagValue = str | int | float | bool | None
Tagging = Mapping[str, TagValue] | Callable[..., Mapping[str, TagValue]]
"""Tags, or a plain function that takes the arguments of a call and returns them."""

as_json = JsonCodec().encode
"""Encodes what is recorded beside values, or raises `SerializationError`."""

_GIT_SECONDS = 5

_tags: ContextVar[Mapping[str, TagValue] | None] = ContextVar("_tags", default=None)


def runtime() -> Iterator[dict[str, Any]]:
    """Yield when a run began and ended, in seconds since the Unix epoch, and its duration in seconds."""
    facts: dict[str, Any] = {"begun_at": round(system_clock(), 6)}
    begun = time.perf_counter()
    yield facts
    facts["seconds"] = round(time.perf_counter() - begun, 9)
    facts["ended_at"] = round(system_clock(), 6)


def environment() -> dict[str, Any]:
    """Return the versions of Python and satchel, and the platform."""
    from importlib.metadata import version  # noqa: PLC0415  # slow to import, and few need it

    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "satchel": version("satchel"),
    }


def host() -> dict[str, Any]:
    """Return the name of the computer, the number of the process, and its working directory."""
    return {"name": socket.gethostname(), "process": os.getpid(), "directory": str(Path.cwd())}


def git() -> dict[str, Any]:
    """Return the commit and branch of the working directory, and whether it has changes; None outside of git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "branch": None, "dirty": None}
    changes = _git("status", "--porcelain")
    return {
        "commit": commit,
        "branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": None if changes is None else bool(changes),
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  # fixed arguments
            ("git", *arguments),  # noqa: S607  # the user's own git
            capture_output=True,
            text=True,
            check=False,
            timeout=_GIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@contextmanager
def tagged(**tags: TagValue) -> Iterator[None]:
    """Give tags to every call that is recorded within the block, by this task or thread; inner blocks add theirs.

    Raises:
        ConfigurationError: A value is neither a str, int, float, bool nor None, or JSON does not have it.
    """
    check_tags(tags)
    token = _tags.set({**(_tags.get() or {}), **tags})
    try:
        yield
    finally:
        _tags.reset(token)


def check_tags(tags: object) -> None:
    """Refuse tags that are not legal.

    Raises:
        ConfigurationError: They are no dict of texts, numbers, bools and None by name.
    """
    if not isinstance(tags, Mapping):
        raise ConfigurationError(f'tags must be a dict such as {{"project": "alpha"}}, got {type(tags).__name__}')
    for name, value in tags.items():
        if not isinstance(name, str) or (value is not None and type(value) not in (str, int, float, bool)):
            raise ConfigurationError(
                f"a tag has a str as its name and is a str, int, float, bool or None, got {type(value).__name__}"
            )
    _check_json(tags, "a tag cannot be recorded")


def current_tags() -> dict[str, TagValue]:
    """Return the tags of the blocks of `tagged` that run now."""
    return dict(_tags.get() or {})


def check_sources(sources: Iterable[MetadataSource]) -> tuple[MetadataSource, ...]:
    """Return the sources of metadata, or refuse them.

    Raises:
        ConfigurationError: One is not a plain function with a name, or two have the same name.
    """
    if not isinstance(sources, Iterable):
        raise ConfigurationError("metadata must be a list of functions, such as [satchel.content.runtime]")
    found = tuple(sources)
    names: set[str] = set()
    for source in found:
        name = getattr(source, "__name__", None)
        is_async = inspect.iscoroutinefunction(source) or inspect.isasyncgenfunction(source)
        if not callable(source) or name is None or is_async:
            raise ConfigurationError(
                "metadata takes plain functions with a name, such as satchel.content.runtime, got an object of type "
                f"{type(source).__name__}{', which is async' if is_async else ''}"
            )
        if name in names:
            raise ConfigurationError(f"two sources of metadata have the name {name!r}")
        names.add(name)
    return found


class Facts:
    """Collector of the facts about one run.

    Args:
        sources: Where they come from.
    """

    def __init__(self, sources: tuple[MetadataSource, ...]) -> None:
        self._sources = sources
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._open: list[Iterator[Mapping[str, Any]]] = []

    async def begin(self) -> None:
        """Ask the sources that answer in a worker thread, and then those that stay with the run."""
        for source in self._sources:
            if not inspect.isgeneratorfunction(source):
                self._facts[source.__name__] = _checked(source, await in_thread(source))
        try:
            self._follow()
        except BaseException:
            self.drop()
            raise

    def end(self) -> dict[str, Mapping[str, Any]]:
        """Return the facts, after the sources that stayed with the run have had their last word."""
        while self._open:
            for _ in self._open.pop():
                pass
        return self._facts

    def drop(self) -> None:
        """Close the sources that stayed with a run that failed."""
        while self._open:
            self._open.pop().close()  # type: ignore[attr-defined]  # they are generators

    def _follow(self) -> None:
        for source in self._sources:
            if inspect.isgeneratorfunction(source):
                following = source()
                self._open.append(following)
                self._facts[source.__name__] = _checked(source, next(following, None))


def _checked(source: MetadataSource, facts: object) -> Mapping[str, Any]:
    if not isinstance(facts, Mapping):
        raise ConfigurationError(
            f"the source of metadata {source.__name__!r} must give a dict, got {type(facts).__name__}"
        )
    _check_json(facts, f"the source of metadata {source.__name__!r}")
    return facts


def _check_json(facts: Mapping[str, Any], complaint: str) -> None:
    try:
        as_json(dict(facts))
    except SerializationError as error:
        raise ConfigurationError(f"{complaint}: {error}") from None
