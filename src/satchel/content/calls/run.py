"""`Run`: one run of a memoized function: its arguments are saved before it, and the call is recorded after it."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from ..._copies import copied
from ...errors import ConfigurationError, SerializationError, StoreError
from ..walk import Digest
from .calls import Calls, Recording
from .metadata import Facts, MetadataSource, Tagging, check_tags, current_tags
from .record import FunctionCall
from .target import CallTarget, Digests

logger = logging.getLogger("satchel")


class Terms(NamedTuple):
    """How the calls of a memoized function are recorded.

    Attributes:
        isolate: Whether the function gets copies of its arguments.
        metadata: Sources of facts about each run.
        tags: Tags of the calls, or a function of the arguments that returns them.
        across_processes: Whether a lock in the store keeps other processes from running the same call meanwhile.
    """

    isolate: bool
    metadata: tuple[MetadataSource, ...]
    tags: Tagging | None
    across_processes: bool


class Asked(NamedTuple):
    """Call of a memoized function that is asked for.

    Attributes:
        arguments: The arguments by name, with defaults.
        digests: Digests of those that are part of the call.
        key: Digest of the call.
    """

    arguments: dict[str, Any]
    digests: Digests
    key: str


class Ran(NamedTuple):
    """Result of a run.

    Attributes:
        result: What the function returned.
        is_recorded: Whether it was recorded.
    """

    result: Any
    is_recorded: bool


class Run:
    """One run of a memoized function.

    Args:
        calls: Where it is recorded.
        target: The function.
        asked: The call.
        terms: How it is recorded.

    Attributes:
        arguments: What the function gets, once it is prepared.
    """

    def __init__(self, calls: Calls, target: CallTarget, asked: Asked, terms: Terms) -> None:
        self._calls, self._target, self._asked, self._terms = calls, target, asked, terms
        self._recording, self._facts = Recording(calls), Facts(terms.metadata)
        self._saved: dict[str, Digest] = {}
        self._tags: dict[str, Any] = {}
        self.arguments: dict[str, Any] = {}

    async def prepare(self, instance: object) -> None:
        """Load arguments that are given as digests, copy them for the function, and save them.

        They are saved before the function can change them, and one that cannot be saved is refused before it runs.

        Args:
            instance: What a method is bound to, which is not copied; `msgspec.UNSET` for a function.

        Raises:
            ConfigurationError: An argument changed after its digest was made, or tags are not legal.
            SerializationError: An argument cannot be copied or saved.
            KeyMissingError: The value of a digest is not saved.
        """
        target, asked = self._target, self._asked
        self.arguments = await target.filled(asked.arguments, self._calls.content.load)
        self._tags = current_tags() | self._own_tags()
        if self._terms.isolate:
            for name in asked.digests:
                if self.arguments[name] is not instance:
                    self.arguments[name] = await self._copied(name)
        self._saved = await self._recording.save_all(target.part(self.arguments))
        for name, digest in self._saved.items():
            if digest != asked.digests[name].hex():
                raise ConfigurationError(
                    f"argument {name!r} of {target.name} was changed by others while the call began, so that its "
                    "result would be recorded for the wrong value; pass a copy"
                )
        await self._facts.begin()

    async def finish(self, result: Any) -> Ran:
        """Record what the function returned.

        A `Digest` that is returned stands for its value. Where the backend fails, the caller still gets the result.

        Raises:
            DigestError, SerializationError, ValueTooLargeError: The result cannot be saved.
        """
        facts = self._facts.end()
        if isinstance(result, Digest):
            result = await self._calls.content.load(result)
        target = self._target
        call = FunctionCall(target.name, self._saved, result, target.version, self._tags, facts)
        try:
            await self._recording.write(call, self._saved)
        except StoreError as error:
            if not error.retryable:
                raise
            logger.warning("a result of %s was not recorded: %s", target.name, type(error).__name__)
            return Ran(result, is_recorded=False)
        return Ran(result, is_recorded=True)

    def fail(self) -> None:
        """End a run that raised or was cancelled: nothing is recorded."""
        self._facts.drop()

    async def _copied(self, name: str) -> Any:
        try:
            return await copied(self.arguments[name])
        except Exception as error:  # an object's own __deepcopy__ can raise anything
            raise SerializationError(
                f"argument {name!r} of {self._target.name} cannot be copied for the function: {type(error).__name__}; "
                "give memoize isolate=False, and leave the argument unchanged in the function"
            ) from error

    def _own_tags(self) -> dict[str, Any]:
        tags = self._terms.tags
        if callable(tags):
            bound = self._target.bound(self.arguments)
            tags = tags(*bound.args, **bound.kwargs)
        check_tags(tags or {})
        return dict(tags or {})
