"""`LimitSizeWrapper`: values up to a size (`?wrap=limit_size(max_bytes=65536)`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from .._batches import checked_items
from .._checks import check_choice, check_int
from .._threads import Yielder
from ..clock import TTL, seconds
from ..codec import Codec, JsonCodec
from ..errors import ConfigurationError, SatchelError, ValueTooLargeError
from ..names import Ref, check_name, check_ref
from ..protocol import AsyncKeyValue
from .base import BaseWrapper
from .composite import gather_batch


class LimitSizeWrapper(BaseWrapper):
    """Wrapper that refuses values larger than a number of encoded bytes.

    Args:
        inner: The wrapped store.
        max_bytes: The largest value, in bytes as the codec encodes it; `bytes` count as they are.
        policy: With `refuse`, a larger value raises `ValueTooLargeError` before anything is sent. With `skip`, `put`
            and `put_many` leave nothing under its key, as if it had been put and evicted at once: an existing entry is
            removed too. Conditional writes refuse with either, because their result states whether the value was
            stored.
        codec: Measures values; JSON by default. Pass the inner store's own if it supports more than JSON.

    Raises:
        ConfigurationError: An option is out of its range, or not known.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        max_bytes: int,
        policy: Literal["refuse", "skip"] = "refuse",
        codec: Codec | None = None,
    ) -> None:
        check_int("max_bytes", max_bytes, 1)
        check_choice("policy", policy, ("refuse", "skip"))
        if codec is not None and not isinstance(codec, Codec):
            raise ConfigurationError(f"codec must be a satchel Codec such as JsonCodec(), got {type(codec).__name__}")
        self._max_bytes, self._skips, self._codec = max_bytes, policy == "skip", codec or JsonCodec()
        super().__init__(inner)

    @property
    def max_value_bytes(self) -> int | None:
        """The largest encoded value that is let through."""
        inner = self.inner.max_value_bytes
        return self._max_bytes if inner is None else min(inner, self._max_bytes)

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing any existing entry and its deadline."""
        collection, key = check_ref(collection, key, self._limit)
        if await self._fits("put", (collection, key), value, ttl):
            await self._inner.put(collection, key, value, ttl=ttl)
        else:
            await self._inner.delete(collection, key)

    async def put_many(self, collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        collection, checked = check_name(collection, "collection"), await checked_items(items, self._limit)
        fitting: dict[str, object] = {}
        turns = Yielder()
        skipped: list[str] = []
        for key, value in checked.items():
            await turns.after_item()
            if await self._fits("put_many", (collection, key), value, ttl):
                fitting[key] = value
            else:
                skipped.append(key)
        parts: list[Any] = [(fitting, self._inner.put_many(collection, fitting, ttl=ttl))]
        if skipped:
            parts.append((skipped, self._inner.delete_many(collection, skipped)))
        await gather_batch(self, "put_many", collection, parts)

    async def _fits(self, operation: str, ref: Ref, value: object, ttl: TTL | None) -> bool:
        """Return whether a value is put; one that is not raises, or is to be skipped."""
        if self._is_small(value):
            return True
        try:
            await self._encoded(operation, ref, value)
        except ValueTooLargeError:
            if not self._skips:
                raise
            if ttl is not None:
                seconds(ttl)  # the inner store will not see it
            return False
        return True

    def _is_small(self, value: object) -> bool:
        """Say quickly whether a value is let in; for one that may not be, `_encode` finds out and says why."""
        if type(value) is bytes:
            return len(value) <= self._max_bytes
        try:
            payload = self._codec.encode_if_small(value)
        except SatchelError:
            return False
        return payload is not None and len(payload) <= self._max_bytes

    def _encode(self, ref: Ref, value: object) -> object:
        size = len(value) if type(value) is bytes else len(self._codec.encode(value))
        if size > self._max_bytes:
            raise ValueTooLargeError(f"the encoded value has {size} bytes, at most {self._max_bytes} are let in")
        return value
