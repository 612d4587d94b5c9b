"""`RecordedCall`: a call that was recorded, whose values are loaded when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..walk import Digest
from .metadata import TagValue
from .record import CallRecord, FunctionCall

if TYPE_CHECKING:
    from ..store import ContentStore


class RecordedCall:
    """Call that was recorded, with its arguments and result as digests; values are loaded when they are asked for.

    Attributes:
        digest: Digest of the call.
    """

    __slots__ = ("_content", "_record", "digest")

    def __init__(self, digest: Digest, record: CallRecord, content: ContentStore) -> None:
        self.digest = digest
        self._record, self._content = record, content

    def __repr__(self) -> str:
        return f"<call {self.digest[:12]} of {self.name}({', '.join(self._record.arguments)})>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedCall) and (self.digest, self._record) == (other.digest, other._record)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def name(self) -> str:
        """Name of the function."""
        return self._record.name

    @property
    def version(self) -> str | int | None:
        """Version of the function."""
        return self._record.version

    @property
    def argument_digests(self) -> Mapping[str, Digest]:
        """Digests of the arguments, by name."""
        return {name: Digest(digest) for name, digest in self._record.arguments.items()}

    @property
    def result_digest(self) -> Digest:
        """Digest of the result."""
        return Digest(self._record.result)

    @property
    def tags(self) -> Mapping[str, TagValue]:
        """Tags by name."""
        return MappingProxyType(self._record.tags)

    @property
    def metadata(self) -> Mapping[str, Mapping[str, Any]]:
        """Facts about the run, by the name of their source."""
        return MappingProxyType(self._record.metadata)

    @property
    def recorded_at(self) -> float:
        """When it was recorded, in seconds since the Unix epoch."""
        return self._record.at

    async def result(self) -> Any:
        """Return the result.

        Raises:
            KeyMissingError: It was evicted, or a part of it was.
        """
        return await self._content.load(self.result_digest)

    async def argument(self, name: str) -> Any:
        """Return an argument.

        Raises:
            KeyError: There is no argument of that name.
            KeyMissingError: It was evicted, or a part of it was.
        """
        return await self._content.load(Digest(self._record.arguments[name]))

    async def arguments(self) -> dict[str, Any]:
        """Return all arguments by name."""
        return {name: await self.argument(name) for name in self._record.arguments}

    async def load(self) -> FunctionCall:
        """Return the call with all its values.

        Raises:
            KeyMissingError: A value was evicted, or a part of one was.
        """
        return self.replace(arguments=await self.arguments(), result=await self.result())

    def replace(self, **changes: Any) -> FunctionCall:
        """Return the call with some attributes replaced, and with digests for the values that are not.

        `Calls.record` takes it, and `Calls.transform` takes functions that return one.
        """
        record = self._record
        kept: dict[str, Any] = {
            "name": record.name,
            "arguments": dict(self.argument_digests),
            "result": self.result_digest,
            "version": record.version,
            "tags": dict(record.tags),
            "metadata": dict(record.metadata),
            "recorded_at": record.at,
        }
        return FunctionCall(**(kept | changes))
