"""`RotatingWrapper`: a store whose entries can all be brought under the current key, while it is in use."""

from __future__ import annotations

import asyncio
import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..capability import Capability
from ..clock import Until
from ..entry import Entry
from ..errors import (
    BatchError,
    ConfigurationError,
    ConflictError,
    IntegrityError,
    SatchelError,
    SerializationError,
    UnsupportedOperationError,
    ValueTooLargeError,
)
from ..names import Ref
from .base import BaseWrapper

_NEEDED = Capability.ENUMERATE_COLLECTIONS | Capability.ENUMERATE_KEYS | Capability.CONDITIONAL
_OF_ONE_ENTRY = (IntegrityError, SerializationError, ValueTooLargeError)
_PAGE = 32
_ATTEMPTS = 10
_MOST_ERRORS = 100


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Progress of a rotation and, at its end, its result.

    Attributes:
        renewed: Entries that were put again, under the current key.
        current: Entries that were under the current key already.
        failed: Entries that are as they were, because they cannot be read, or other writers were faster every time.
        errors: Why, for the first 100 of these, by collection and key.
    """

    renewed: int = 0
    current: int = 0
    failed: int = 0
    errors: Mapping[Ref, SatchelError] = field(default_factory=dict)


class RotatingWrapper(BaseWrapper):
    """Base class for wrappers that keep entries under keys, of which one is current."""

    @abstractmethod
    def _reencrypt(self, ref: Ref, frame: bytes) -> bytes:
        """Return a frame under the current key with the same value."""

    @abstractmethod
    def _reencrypt_if_stale(self, ref: Ref, frame: Any) -> Any:
        """Do what `_reencrypt` does, or return `IN_WORKER` for a large one; None when it is under the current key."""

    async def rotate(self, *, progress: Callable[[Rotation], object] | None = None) -> Rotation:
        """Put every entry under the current key that is under another one, and say how it went.

        The store stays in use: an entry is replaced only if no other was put since it was read. It keeps its deadline
        (that from before a `touch` in between) and gets a new version. A rotation that was cut short is simply started
        again. An entry that cannot be read is counted and left as it is.

        Args:
            progress: Is called after each page of keys with what was done by then. What it returns is awaited if it
                can be.

        Raises:
            ConfigurationError: `progress` cannot be called.
            UnsupportedOperationError: The inner store cannot list, or has no conditional writes.
            StoreError: The backend failed. What was done by then stays done.
        """
        if progress is not None and not callable(progress):
            raise ConfigurationError(f"progress must be a function of a Rotation, got {type(progress).__name__}")
        lacking = _NEEDED & ~self.capabilities
        if lacking:
            raise UnsupportedOperationError(f"{self!r} does not have rotate: it needs {lacking} of the inner store")
        done = Rotation()
        async for collection in self.collections():
            async for page in _pages(self.keys(collection)):
                done = await self._renew_page(collection, page, done)
                if progress is not None:
                    told = progress(done)
                    if inspect.isawaitable(told):
                        await told
        return done

    async def _renew_page(self, collection: str, keys: list[str], done: Rotation) -> Rotation:
        renewed = current = 0
        failed: dict[str, SatchelError] = {}
        for _ in range(_ATTEMPTS):
            entries = await self._read_page(collection, keys, failed)
            outcomes = await asyncio.gather(
                *(self._renew((collection, key), entry) for key, entry in entries.items()), return_exceptions=True
            )
            keys = []
            for key, outcome in zip(entries, outcomes, strict=True):
                if isinstance(outcome, _OF_ONE_ENTRY):
                    failed[key] = outcome
                elif isinstance(outcome, BaseException):
                    raise outcome
                elif outcome is None:
                    current += 1
                elif outcome:
                    renewed += 1
                else:
                    keys.append(key)
            if not keys:
                break
        failed |= {key: ConflictError(f"other writers of key {key!r} were faster {_ATTEMPTS} times") for key in keys}
        named = {(collection, key): error for key, error in failed.items()}
        room = _MOST_ERRORS - len(done.errors)
        return Rotation(
            renewed=done.renewed + renewed,
            current=done.current + current,
            failed=done.failed + len(failed),
            errors={**done.errors, **dict(list(named.items())[:room])},
        )

    async def _read_page(self, collection: str, keys: list[str], failed: dict[str, SatchelError]) -> dict[str, Entry]:
        try:
            return await self._inner.get_entries(collection, keys)
        except BatchError as error:
            if not all(isinstance(one, _OF_ONE_ENTRY) for one in error.failed.values()):
                raise
            failed |= error.failed
            return await self._inner.get_entries(collection, [key for key in keys if key not in failed])

    async def _renew(self, ref: Ref, entry: Entry) -> bool | None:
        """Return whether an entry was replaced; None for one that is under the current key."""
        frame = await self._transformed(self._reencrypt_if_stale, self._reencrypt, "rotate", ref, entry.value)
        if frame is None:
            return None
        ttl = None if entry.ttl is None or entry.expires_at is None else Until(entry.ttl, entry.expires_at.timestamp())
        put = await self._inner.compare_and_put(*ref, frame, version=entry.version, ttl=ttl)
        return put is not None


async def _pages(names: AsyncIterator[str]) -> AsyncIterator[list[str]]:
    page: list[str] = []
    async for name in names:
        page.append(name)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
