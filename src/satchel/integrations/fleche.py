"""Calls that fleche recorded, moved into `Calls`.

fleche itself is needed only for what it does not keep in pickle files: values in HDF5, and calls in a SQL database.

```python
from pathlib import Path
from satchel import MemoryStore
from satchel.content import Calls, ContentStore
from satchel.integrations.fleche import copy_fleche, read_fleche

calls = Calls(ContentStore(MemoryStore()))
Path("cache/calls").mkdir(parents=True)            # as fleche's template = "pickle", root = "cache"
```

```python
copied = await copy_fleche(read_fleche("cache"), calls)
```
"""

from __future__ import annotations

import gzip
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from .._threads import in_thread
from ..content import Calls, FunctionCall
from ..errors import IntegrityError

_GZIP = b"\x1f\x8b"
_DIGEST_LENGTH = 64


class RecordedByFleche(Protocol):
    """Call as fleche's queries and `read_fleche` give it."""

    @property
    def name(self) -> str:
        """Qualified name of the function."""

    @property
    def module(self) -> str | None:
        """Its module, unless it was not to be part of the call."""

    @property
    def version(self) -> str | int | None:
        """Version of the function."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments by name."""

    @property
    def result(self) -> Any:
        """Result."""

    @property
    def metadata(self) -> Mapping[str, Mapping[str, Any]]:
        """Facts about the run."""


@dataclass
class FlecheCall:
    """Call that was read from fleche's files.

    Attributes:
        name: Qualified name of the function.
        module: Its module.
        version: Version of the function.
        arguments: Arguments by name.
        result: Result.
        metadata: Facts about the run.
    """

    name: str
    module: str | None
    version: str | int | None
    arguments: Mapping[str, Any]
    result: Any
    metadata: Mapping[str, Mapping[str, Any]]


async def copy_fleche(found: Iterable[RecordedByFleche], calls: Calls) -> int:
    """Record calls that fleche recorded, and return their number. Those whose values are gone are passed over.

    A function that is memoized with the same version, under its module and name, finds them as its own.

    Args:
        found: What `read_fleche` reads, or, for values in HDF5 or calls in SQL, `cache().query()` of fleche itself.
        calls: Where they are recorded. Values that are no JSON need a `ContentStore(..., leaf="pickle", keys=...)`.

    Raises:
        SerializationError, DigestError: A value cannot be saved; what was copied before stays.
    """
    copied, left = 0, iter(found)
    while (call := await in_thread(_next_call, left)) is not None:
        await calls.record(call)
        copied += 1
    return copied


def read_fleche(root: str | Path) -> Iterator[FlecheCall]:
    """Read the calls that fleche keeps in files, written by pickle, cloudpickle or dill, compressed and signed or not.

    This unpickles the files, as fleche does: read only a directory that nobody else can write to.

    Args:
        root: The directory, with the directories `calls` and `values`.

    Raises:
        FileNotFoundError: There is no directory of calls.
        IntegrityError: A file is damaged, or its classes cannot be imported.
    """
    values = _FlecheValues(Path(root) / "values")
    for path in sorted((Path(root) / "calls").iterdir()):
        if len(path.name) == _DIGEST_LENGTH and path.is_file():
            call = _read(path)
            try:
                arguments = {name: values.load(digest) for name, digest in call.arguments.items()}
                result = values.load(call.result)
            except FileNotFoundError:  # it was evicted
                continue
            yield replace(call, arguments=arguments, result=result)


def _next_call(found: Iterator[RecordedByFleche]) -> FunctionCall | None:
    for call in found:
        try:
            arguments, result = dict(call.arguments), call.result
        except KeyError:  # it was evicted
            continue
        facts = {name: dict(values) for name, values in call.metadata.items()}
        tags, runtime = facts.pop("tags", {}), facts.get("runtime", {})
        if "walltime" in runtime:
            facts["runtime"] = {
                "begun_at": runtime["timestart"],
                "seconds": runtime["walltime"],
                "ended_at": runtime["timestop"],
            }
        name = call.name if call.module is None else f"{call.module}.{call.name}"
        return FunctionCall(name, arguments, result, call.version, tags, facts, runtime.get("timestop"))
    return None


class _FlecheValues:
    """Reader of the values in fleche's files, which has containers taken apart into files of their own."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def load(self, value: Any) -> Any:
        """Return the value of a digest; anything else unchanged."""
        if not isinstance(value, _Digest):
            return value
        read = _read(self._place / value)
        return read.joined(self.load) if isinstance(read, _Apart) else read


class _Digest(str):
    """Digest, as fleche pickles it."""

    __slots__ = ()


class _Apart:
    """Container that was taken apart, as fleche pickles it."""

    items: Any
    cls: type
    fields: Mapping[str, Any]

    def joined(self, load: Callable[[Any], Any]) -> Any:
        """Return the container with its values."""
        if hasattr(self, "cls"):
            made: Any = object.__new__(self.cls)
            for name, value in self.fields.items():
                object.__setattr__(made, name, load(value))
            return made
        if isinstance(self.items, dict):
            return {load(key): load(value) for key, value in self.items.items()}
        return type(self.items)(map(load, self.items))


class _Unpickler(pickle.Unpickler):
    """Unpickler that takes classes of its own for those of fleche."""

    def find_class(self, module: str, name: str, /) -> Any:
        """Return the class of a name."""
        if module == "fleche.digest":
            return _Digest
        if module == "fleche.call":
            return FlecheCall
        if module == "fleche.storage.destructuring":
            return _Apart
        return super().find_class(module, name)


def _read(path: Path) -> Any:
    data = path.read_bytes()
    try:
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        return _Unpickler(io.BytesIO(data)).load()  # a signature comes after the end of the pickle
    except Exception as error:
        raise IntegrityError(
            f"fleche's file {path.name[:12]} cannot be read: {type(error).__name__}; it is damaged, or needs a module"
        ) from error
