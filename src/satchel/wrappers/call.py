"""How a call goes through a wrapper's `_around`."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from .._batches import checked_items, checked_names
from ..clock import TTL


class Missing(enum.Enum):
    """Type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""What a `get` gives inside a wrapper when the entry is absent: a stored None is something else."""

NOT_GIVEN: Final = object()
"""Stands for a default that a caller of `get` does not give, so that it is not given further inside either."""

IN_WORKER: Final = object()
"""Stands for what a transformation would give, where it belongs in a worker thread."""

_NOTHING: dict[str, Any] = {}

Around = Callable[..., Awaitable[Any]]


class Call(msgspec.Struct):
    """One call on its way through a wrapper. `await call()` carries it out, and each further one does so again.

    Attributes:
        function: The method that carries it out.
        arguments: Its positional arguments, as the caller gave them: a name in them may turn out not to be legal.
        named: Its keyword arguments.
        default: What the caller of a `get` gave for an absent entry; `MISSING` for other verbs.
    """

    function: Callable[..., Awaitable[Any]]
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    default: Any = MISSING

    @classmethod
    def of(
        cls, operation: str, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Call:
        """Return a call made of what `_around` gets. The outcome of a `get` of an absent entry is then `MISSING`."""
        arrange = _ARRANGED.get(operation)
        return cls(function, args, named) if arrange is None else arrange(function, *args, **named)

    def answer(self, outcome: Any) -> Any:
        """Return what the caller gets for an outcome."""
        return self.default if outcome is MISSING else outcome

    def __call__(self) -> Awaitable[Any]:
        """Carry out the call."""
        return self.function(*self.arguments, **self.named) if self.named else self.function(*self.arguments)

    @property
    def collection(self) -> Any:
        """The collection; None for a call that is not about one."""
        return self.arguments[0] if self.arguments else self.named.get("collection")

    @property
    def key(self) -> Any:
        """The key of a call that is about one."""
        return self.arguments[1] if len(self.arguments) > 1 else self.named.get("key")

    @property
    def value(self) -> Any:
        """The value of a call that puts one."""
        return self.arguments[2] if len(self.arguments) > 2 else self.named.get("value")

    @property
    def keys(self) -> list[str]:
        """The keys of a batch of reads or deletes."""
        keys: list[str] = self.arguments[1]
        return keys

    @property
    def items(self) -> dict[str, object]:
        """The items of a batch of writes."""
        items: dict[str, object] = self.arguments[1]
        return items

    @property
    def all_keys(self) -> list[Any]:
        """The key, or those of a batch, as the caller gave them; none for a call about a collection or the store."""
        key = self.key
        if key is None:
            return []
        return list(key) if isinstance(key, (list, dict)) else [key]

    def part(self, keys: Iterable[str]) -> Call:
        """Return the same call for some keys of a batch alone."""
        collection, whole = self.arguments
        some = {key: whole[key] for key in keys} if type(whole) is dict else list(keys)
        return Call(self.function, (collection, some), self.named)


def _get(function: Callable[..., Awaitable[Any]], collection: str, key: str, default: Any = None) -> Call:
    return Call(function, (collection, key, MISSING), _NOTHING, default)


def _put(
    function: Callable[..., Awaitable[Any]], collection: str, key: str, value: object, *, ttl: TTL | None = None
) -> Call:
    return Call(function, (collection, key, value), _NOTHING if ttl is None else {"ttl": ttl})


_ARRANGED: dict[str, Callable[..., Call]] = {"get": _get, "put": _put}


def checked_batch(
    operation: str, method: Callable[..., Awaitable[Any]], around: Around
) -> Callable[..., Awaitable[Any]]:
    """Return a batch that goes through `_around` with its keys or items checked and made a list or a dict.

    So they can be looked at, and the call can be made again.
    """

    async def batch(collection: str, keys: Any) -> Any:
        return await around(operation, method, collection, await checked_names(keys))

    async def put_many(collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> Any:
        return await around(operation, method, collection, await checked_items(items), ttl=ttl)

    return put_many if operation == "put_many" else batch


class Steps:
    """Listing on its way through `_around`, name by name; `MISSING` is its end.

    A step that failed before the first name begins anew when it is made again. A later one fails again: what failed
    half-way is at its end, which would look like that of the listing.

    Attributes:
        begun: Whether a name has been given.
    """

    def __init__(self, begin: Callable[[], AsyncIterator[str]]) -> None:
        self.begun = False
        self.begin(begin)

    def begin(self, begin: Callable[[], AsyncIterator[str]]) -> None:
        """Take the names from another listing; the first has not given any."""
        self._begin = begin
        self._found: AsyncIterator[str] | None = begin()  # wrong arguments are refused now
        self._failure: BaseException | None = None

    async def __call__(self, *_: Any, **__: Any) -> Any:
        """Return the next name."""
        if self._failure is not None:
            raise self._failure
        if self._found is None:
            self._found = self._begin()
        try:
            name = await anext(self._found, MISSING)
        except BaseException as error:
            self._found, self._failure = None, error if self.begun else None
            raise
        self.begun = True
        return name


def stepped(
    operation: str, method: Callable[..., AsyncIterator[str]], around: Around
) -> Callable[..., AsyncIterator[str]]:
    """Return a listing each step of which goes through `_around`."""

    def listing(*arguments: Any, **named: Any) -> AsyncIterator[str]:
        step = Steps(lambda: method(*arguments, **named))
        return _stepwise(lambda: around(operation, step, *arguments, **named))

    return listing


async def _stepwise(step: Callable[[], Awaitable[Any]]) -> AsyncIterator[str]:
    while (name := await step()) is not MISSING:
        yield name
