"""What all targets share: an input with its limits, inputs made from a seed, and the corpus.

A target is a module of `tests.fuzz.targets` with `seeds`, which returns inputs to begin with, and `check`, which raises
for an input on which a promise is broken. It passes over the errors that are documented, and over no others.
"""

import asyncio
import importlib
import json
import pkgutil
import random
import re
import signal
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from tests.fuzz import targets

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
CPU_SECONDS = 5.0
"""Time of the processor for one input, which no load of the machine lengthens."""
MEMORY = 16 << 20
"""Bytes that an input may take at once, if its target says nothing else."""
LONGEST = 4096
"""Bytes of an input."""
_BYTES = [0, 1, 0x7F, 0x80, 0xFF, *b' "%+,-./0:;=?@[\\]{}~\n']
_VALUE = re.compile(rb'[:\[,]\s*("(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null)')
_VALUES = [
    *(b"null", b"true", b"0", b"-1", b"1.5", b"1e308", b"9223372036854775807", b"1000000000000000", b"9" * 30),
    *(b'""', b'"x"', b'"\\ud800"', b'"\xff"', b"[]", b"{}", b'[1, "x"]', b'{"x": null}', b"[" * 3000),
    *(b"[" * 90 + b"]" * 90, b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59-23:59"', b'"2030-01-31T12:00:00Z"'),
]
R = TypeVar("R")


class HangError(BaseException):
    """An input took too long. No `except Exception` of what is tested catches it."""


class TooMuchMemoryError(Exception):
    """An input took more memory than its bound."""


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote."""

    name: str
    check: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]
    tokens: Sequence[bytes] = ()
    """Pieces of which inputs are made, beside bytes."""
    memory: int = MEMORY
    inputs: int = 1000
    """Inputs that are made in the default profile."""


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


@cache
def target(name: str) -> Target:
    """Return a target by its name."""
    module = importlib.import_module(f"{targets.__name__}.{name}")
    given = {
        field: getattr(module, field.upper())
        for field in ("tokens", "memory", "inputs")
        if hasattr(module, field.upper())
    }
    return Target(name, module.check, module.seeds, **given)


def corpus(name: str) -> list[bytes]:
    """Return the inputs that are kept, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


@contextmanager
def in_time() -> Iterator[None]:
    """Raise if what is done takes too long."""
    before = signal.signal(signal.SIGVTALRM, _hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def limited(memory: int) -> Iterator[None]:
    """Raise if what is done takes too much memory."""
    started = not tracemalloc.is_tracing()
    if started:
        tracemalloc.start()
    tracemalloc.reset_peak()
    held, _ = tracemalloc.get_traced_memory()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if started:
            tracemalloc.stop()
    if peak - held > memory:
        raise TooMuchMemoryError(f"{peak - held:,} bytes were held at once; the bound is {memory:,}")


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise HangError(f"more than {CPU_SECONDS} s of the processor")


def attempt(target: Target, data: bytes) -> None:
    """Check one input within the limits. What is raised carries the input in a note."""
    try:
        with in_time(), limited(target.memory):
            target.check(data)
    except BaseException as error:
        error.add_note(f"{target.name} with {data!r}")
        raise


def inputs(target: Target, seed: int, count: int) -> Iterator[bytes]:
    """Iterate over inputs made from those of the target and of its corpus, the same ones for the same seed."""
    chance = random.Random(f"{target.name} {seed}")
    known = [*target.seeds(), *corpus(target.name)]
    for _ in range(count):
        yield changed(target, chance.choice(known), chance.choice(known), chance)


def changed(target: Target, data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Return an input that is made from one, with pieces of another."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(_CHANGES)(made, chance, other, target.tokens)
    return bytes(made[:LONGEST])


Change = Callable[[bytearray, random.Random, bytes, Sequence[bytes]], None]


def _flip(data: bytearray, chance: random.Random, _other: bytes, _tokens: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random, _other: bytes, _tokens: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(_BYTES)


def _insert(data: bytearray, chance: random.Random, _other: bytes, tokens: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice(tokens) if tokens and chance.random() < 0.8 else bytes([chance.choice(_BYTES)])


def _replace(data: bytearray, chance: random.Random, _other: bytes, tokens: Sequence[bytes]) -> None:
    begin, end = _slice(data, chance)
    data[begin:end] = chance.choice(tokens) if tokens else chance.randbytes(chance.randrange(5))


def _remove(data: bytearray, chance: random.Random, _other: bytes, _tokens: Sequence[bytes]) -> None:
    begin, end = _slice(data, chance)
    del data[begin:end]


def _repeat(data: bytearray, chance: random.Random, _other: bytes, _tokens: Sequence[bytes]) -> None:
    begin, end = _slice(data, chance)
    data[end:end] = data[begin:end] * chance.choice((1, 2, 8, 100))
    del data[2 * LONGEST :]


def _splice(data: bytearray, chance: random.Random, other: bytes, _tokens: Sequence[bytes]) -> None:
    begin, end = _slice(data, chance)
    start, stop = _slice(other, chance)
    data[begin:end] = other[start:stop]


def _change_value(data: bytearray, chance: random.Random, _other: bytes, tokens: Sequence[bytes]) -> None:
    """Replace a value in JSON, so that the rest stays JSON."""
    if found := list(_VALUE.finditer(data)):
        begin, end = chance.choice(found).span(1)
        data[begin:end] = chance.choice([*_VALUES, *tokens])


def _cut(data: bytearray, chance: random.Random, _other: bytes, _tokens: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


_CHANGES: tuple[Change, ...] = (
    *(_flip, _set, _insert, _insert, _replace, _replace, _remove, _repeat, _splice, _cut),
    *(_change_value, _change_value),
)


def _slice(data: bytes | bytearray, chance: random.Random) -> tuple[int, int]:
    begin = chance.randrange(len(data) + 1)
    return begin, min(len(data), begin + chance.choice((1, 2, 4, 8, 40)))


# For the targets themselves.


@cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine to its end, on the same loop each time: to make one costs more than most inputs."""

    async def in_time() -> R:
        async with asyncio.timeout(60):
            return await coroutine

    return _runner().run(in_time())


async def reported(use: Callable[[], Awaitable[Any]], *errors: type[Exception]) -> Any:
    """Return what something returns, or the error of one that may be raised."""
    try:
        return await use()
    except errors as error:
        return error


def close() -> None:
    """Close the loop of `run`."""
    if _runner.cache_info().currsize:
        _runner().close()
        _runner.cache_clear()


def text_of(data: bytes) -> str:
    """Return bytes as text, in which each that is no UTF-8 is a lone surrogate."""
    return data.decode("utf-8", "surrogateescape")


def json_of(data: bytes) -> Any:
    """Return the value of which data is the JSON; None if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
