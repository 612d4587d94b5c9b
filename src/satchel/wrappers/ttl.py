"""`TTLWrapper`: times to live that have a default and bounds, are spread, or slide (`?wrap=ttl(default=3600)`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from .._checks import check_bool, check_seed
from .._forks import random_numbers
from ..capability import Capability
from ..clock import TTL, Until, seconds
from ..entry import Entry
from ..errors import ConfigurationError, InvalidTTLError, StoreError, safe_repr
from ..protocol import AsyncKeyValue
from ..verbs import READS_OF_VALUES
from .base import BaseWrapper

D = TypeVar("D")

_LARGEST_SLIDING_JITTER = 0.5

logger = logging.getLogger("satchel")


class TTLWrapper(BaseWrapper):
    """Wrapper that decides how long entries put or touched through it live.

    A time to live is the caller's or otherwise the default, shortened at random by the jitter, then brought within the
    bounds. If there is a default or a maximum, a `touch` with None sets that too: nothing lives forever.

    Args:
        inner: The wrapped store.
        default: The time to live if the caller gives none, in seconds or as a `timedelta`; None for no limit.
        minimum: The shortest time to live: shorter ones become this.
        maximum: The longest time to live: longer ones, and no expiry, become this.
        jitter: Shorten each time to live by a random part, up to this much of it (0.1 is up to a tenth), so that
            entries put together do not expire together. Each `put_many` draws once.
        seed: Makes the jitter the same in every run.
        sliding: Let `get`, `get_many`, `get_entry` and `get_entries` renew entries to the default when less than half
            of it is left. An entry without a deadline, or with a later one, keeps it. A failed renewal is logged, and
            the read succeeds. A put of the same key between the read and the renewal gets the renewed deadline. The
            entry that a read returns has the times from before.

    Raises:
        ConfigurationError: An option is out of its range, contradicts another, or needs a capability that the inner
            store lacks.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        default: TTL | None = None,
        minimum: TTL | None = None,
        maximum: TTL | None = None,
        jitter: float = 0.0,
        seed: int | None = None,
        sliding: bool = False,
    ) -> None:
        self._default = _seconds("default", default)
        self._minimum, self._maximum = _seconds("minimum", minimum), _seconds("maximum", maximum)
        if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter < 1:
            raise ConfigurationError(f"jitter must be a number from 0 to below 1, got {safe_repr(jitter)}")
        check_seed(seed)
        check_bool("sliding", sliding)
        ordered = [length for length in (self._minimum, self._default, self._maximum) if length is not None]
        if ordered != sorted(ordered):
            raise ConfigurationError("minimum, default and maximum must be in this order, from the shortest on")
        self._jitter, self._random = jitter, random_numbers(seed)
        self._is_sliding = sliding
        super().__init__(inner)
        if sliding:
            if self._default is None:
                raise ConfigurationError("sliding renews entries to the default, so it needs one: give default=")
            if jitter > _LARGEST_SLIDING_JITTER:
                raise ConfigurationError(
                    "jitter must be at most 0.5 with sliding, or a renewal could shorten a deadline"
                )
            if Capability.CONDITIONAL not in inner.capabilities:
                raise ConfigurationError(f"sliding renews entries by touch, which {inner!r} does not have")
        self._half = (self._default or 0.0) / 2

    def _bindings(self) -> dict[str, Callable[..., Any]]:
        bound = super()._bindings()
        if not self._is_sliding:
            bound |= {verb: getattr(self.inner, verb) for verb in READS_OF_VALUES}
        return bound

    def _ttl(self, ttl: TTL | None) -> TTL | None:
        if isinstance(ttl, Until):
            return ttl  # the entry's deadline was within the bounds when it was put
        length = self._default if ttl is None else seconds(ttl)
        if length is None:
            return self._maximum
        if self._jitter:
            length *= 1 - self._random.uniform(0, self._jitter)
        if self._minimum is not None:
            length = max(length, self._minimum)
        return length if self._maximum is None else min(length, self._maximum)

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = None) -> Any:
        """Return the value under a key, or the default when it is absent; renew it if it is due."""
        entry = await self.get_entry(collection, key)
        return default if entry is None else entry.value

    async def get_entry(self, collection: str, key: str) -> Entry | None:
        """Return the entry under a key, and renew it if it is due."""
        entry = await self._inner.get_entry(collection, key)
        if entry is not None:
            await self._renew(collection, {key: entry})
        return entry

    async def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that are there, and renew those that are due."""
        return {key: entry.value for key, entry in (await self.get_entries(collection, keys)).items()}

    async def get_entries(self, collection: str, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of those keys that are there, and renew those that are due."""
        entries = await self._inner.get_entries(collection, keys)
        await self._renew(collection, entries)
        return entries

    async def _renew(self, collection: str, entries: dict[str, Entry]) -> None:
        due = [key for key, entry in entries.items() if entry.ttl is not None and entry.ttl < self._half]
        touches = [self._inner.touch(collection, key, ttl=self._ttl(None)) for key in due]
        for outcome in await asyncio.gather(*touches, return_exceptions=True) if touches else ():
            if isinstance(outcome, StoreError):
                logger.warning("%r could not renew an entry: %s", self, outcome)
            elif isinstance(outcome, BaseException):
                raise outcome


def _seconds(option: str, ttl: TTL | None) -> float | None:
    try:
        return None if ttl is None else seconds(ttl, option)
    except InvalidTTLError as error:
        raise ConfigurationError(str(error)) from None
