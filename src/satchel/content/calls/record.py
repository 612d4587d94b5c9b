"""Records of calls: what a store keeps of one, and the digest under which it is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ...errors import ConfigurationError, IntegrityError, safe_repr
from .metadata import TagValue, as_json, check_tags

FORMAT = 1
_DOMAIN = b"satchel call\x00\x01"
_HEX = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64
_STR, _DICT = frozenset({str}), frozenset({dict})
_VERSIONS = frozenset({str, int, type(None)})
_TAGS = frozenset({str, int, float, bool, type(None)})
_MOST_SECONDS = 2**63 / 1e6


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Call of a function, with its arguments and its result, as `Calls.record` takes it.

    The digest of a call consists of the name, the version and the arguments. The other attributes say what came of it.

    Attributes:
        name: Name of the function, such as `module.function`.
        arguments: The arguments by name: each a value, or the `Digest` of a saved one.
        result: The result: a value, or the `Digest` of a saved one.
        version: Version of the function.
        tags: Tags by name, each a str, int, float, bool or None.
        metadata: Facts about the run, as JSON, by the name of their source.
        recorded_at: When it was recorded, in seconds since the Unix epoch; None for now.
    """

    name: str
    arguments: Mapping[str, Any]
    result: Any
    version: str | int | None = None
    tags: Mapping[str, TagValue] = field(default_factory=dict)
    metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recorded_at: float | None = None


@dataclass(frozen=True, slots=True)
class CallRecord:
    """Call as a store keeps it: digests in place of values.

    Attributes:
        name: Name of the function.
        version: Version of the function.
        arguments: Digests of the arguments, by name.
        result: Digest of the result.
        tags: Tags by name.
        metadata: Facts about the run.
        at: When it was recorded, in seconds since the Unix epoch, in whole microseconds.
    """

    name: str
    version: str | int | None
    arguments: dict[str, str]
    result: str
    tags: dict[str, TagValue]
    metadata: dict[str, Any]
    at: float

    @property
    def roots(self) -> list[str]:
        """Digests of all values that the call refers to: the result, and then the arguments."""
        return [self.result, *self.arguments.values()]

    def as_json(self) -> dict[str, Any]:
        """Return the record as it is stored."""
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "arguments": list(self.arguments),
            "roots": self.roots,
            "tags": self.tags,
            "metadata": self.metadata,
            "at": self.at,
        }


def read_record(value: object, digest: str) -> CallRecord:
    """Return the record that was stored.

    Raises:
        IntegrityError: It is none, or one of a later format.
    """
    if type(value) is dict:
        if type(value.get("format")) is int and value["format"] > FORMAT:
            raise IntegrityError(
                f"the call {digest[:12]} was recorded in format {value['format']}; this release reads up to {FORMAT}"
            )
        try:
            names, (result, *arguments) = value["arguments"], value["roots"]
            record = CallRecord(
                value["name"],
                value["version"],
                dict(zip(names, arguments, strict=True)),
                result,
                value["tags"],
                value["metadata"],
                value["at"],
            )
            if type(names) is list and all(map(is_digest, value["roots"])) and _is_legal(record):
                return record
        except (KeyError, TypeError, ValueError):  # its message could hold a value
            pass
    raise IntegrityError(
        f"what is stored under {digest[:12]} is no record of a call; record it again, or delete the entry"
    )


def _is_legal(record: CallRecord) -> bool:
    """Return whether the fields of a record are ones that can be recorded; a query asks it of every call."""
    return (
        type(record.name) is str
        and record.name != ""
        and type(record.version) in _VERSIONS
        and _STR.issuperset(map(type, record.arguments))
        and type(record.tags) is dict
        and _TAGS.issuperset(map(type, record.tags.values()))
        and type(record.metadata) is dict
        and _DICT.issuperset(map(type, record.metadata.values()))
        and is_time(record.at)
    )


def result_in(value: Any, digest: str) -> str:
    """Return the digest of the result in a record that was stored; it raises what `read_record` raises.

    A hit of a memoized function needs no more of it.
    """
    if type(value) is dict and value.get("format") == FORMAT and type(roots := value.get("roots")) is list and roots:
        return roots[0]  # type: ignore[no-any-return]  # loading checks that it is a digest
    return read_record(value, digest).result


class CallDigests:
    """Maker of the digests of the calls of one function.

    A digest is SHA-256 over the name, the version and the digests of the arguments, sorted by name; each part is framed
    by its length. A value and its `Digest` are the same argument.

    Args:
        name: Name of the function.
        version: Its version.
        arguments: Names of all arguments that a call may have.
    """

    def __init__(self, name: str, version: str | int | None, arguments: Iterable[str]) -> None:
        self._start = b"".join((_DOMAIN, _framed(name), _framed(repr(version))))
        self._names = [(name, _framed(name)) for name in sorted(arguments)]

    def digest(self, arguments: Mapping[str, bytes]) -> str:
        """Return the digest of the call with some arguments, whose digests are given as 32 bytes."""
        frames = [frame + arguments[name] for name, frame in self._names if name in arguments]
        return hashlib.sha256(b"".join((self._start, *frames))).hexdigest()


def check_target(name: object, version: object) -> None:
    """Refuse a name or a version of a function that is not legal.

    Raises:
        ConfigurationError: The name is no text, or the version neither text nor int.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"the name of a call must be a str that is not empty, got {safe_repr(name)}")
    if type(version) not in _VERSIONS:
        raise ConfigurationError(f"version must be a str, an int or None, got {type(version).__name__}")


def check_call(call: object) -> None:
    """Refuse a call that cannot be recorded, before any of it is.

    Raises:
        ConfigurationError: It is no `FunctionCall`, or an attribute of it is not legal.
        SerializationError: Its name, version or metadata are no JSON.
    """
    if not isinstance(call, FunctionCall):
        raise ConfigurationError(f"record takes a FunctionCall, got an object of type {type(call).__name__}")
    check_target(call.name, call.version)
    _check_arguments(call.arguments)
    check_tags(call.tags)
    check_facts(call.metadata, 0 if call.recorded_at is None else call.recorded_at)
    facts = {source: dict(each) for source, each in call.metadata.items()}
    as_json({"name": call.name, "version": call.version, "metadata": facts})


def _check_arguments(arguments: object) -> None:
    if not isinstance(arguments, Mapping) or not all(isinstance(argument, str) for argument in arguments):
        raise ConfigurationError("the arguments of a call must be a dict of values by name")


def check_facts(metadata: object, at: object) -> None:
    """Refuse metadata and a time that are not legal.

    Raises:
        ConfigurationError: The metadata are no dict of dicts by name, or the time is no number of seconds.
    """
    if not isinstance(metadata, Mapping) or not all(
        isinstance(source, str) and isinstance(facts, Mapping) for source, facts in metadata.items()
    ):
        raise ConfigurationError('metadata must be a dict of dicts, such as {"host": {"name": "a"}}')
    if not is_time(at):
        raise ConfigurationError(
            "recorded_at must be seconds since the Unix epoch, as datetime.timestamp() gives them, or None, got "
            f"{safe_repr(at)}"
        )


def is_time(value: object) -> TypeGuard[float]:
    """Return whether a value is a time in seconds that a key of the index can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _MOST_SECONDS


def _framed(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(4, "big") + data


def is_digest(text: object) -> bool:
    """Return whether something is the text of a digest."""
    return type(text) is str and len(text) == _DIGEST_LENGTH and _HEX.issuperset(text)
