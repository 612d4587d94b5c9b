"""`DefaultValueWrapper`: a default for absent entries (`?wrap=default_value(value=0)`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar, overload

from .._batches import checked_names, slices
from .._threads import Yielder
from ..codec import JsonCodec
from ..errors import ConfigurationError, SerializationError
from ..protocol import AsyncKeyValue
from .base import BaseWrapper
from .call import MISSING, NOT_GIVEN

D = TypeVar("D")

_codec = JsonCodec()


class DefaultValueWrapper(BaseWrapper):
    """Wrapper whose `get` and `get_many` return a default for absent keys; nothing is stored.

    A default that the caller gives to `get` wins, also None. A stored None is there. `get_many` gives every key asked.

    Args:
        inner: The wrapped store.
        value: The default: any value that a store accepts. Each call gets its own copy.

    Raises:
        ConfigurationError: The value is not one that a store takes.
    """

    def __init__(
        self,
        inner: AsyncKeyValue,
        *,
        value: int | float | bool | str | bytes | list[Any] | dict[str, Any],  # noqa: PYI041  # a URL's 5 is an int
    ) -> None:
        try:
            self._value = value if type(value) is bytes else _codec.encode(value)
        except SerializationError as error:
            raise ConfigurationError(f"value must be one that a store takes: {error}") from None
        self._is_raw = type(value) is bytes
        super().__init__(inner)

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = NOT_GIVEN) -> Any:
        """Return the value under a key, or the default when it is absent."""
        if default is not NOT_GIVEN:
            return await self._inner.get(collection, key, default)
        value = await self._inner.get(collection, key, MISSING)
        return self._copy() if value is MISSING else value

    async def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of all keys, in the order asked, the default for those that are absent."""
        names = await checked_names(keys, self._limit)
        found = await self._inner.get_many(collection, names)
        filled: dict[str, Any] = {}
        turns = Yielder()
        for part in slices(len(names)):
            filled |= {key: found[key] if key in found else self._copy() for key in names[part]}
            await turns.after_item()
        return filled

    def _copy(self) -> Any:
        return self._value if self._is_raw else _codec.decode(self._value)
