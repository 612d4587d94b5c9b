"""`SerializingWrapper`: one write at a time (`?wrap=serializing`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, ClassVar

from .._checks import check_bool
from ..protocol import AsyncKeyValue
from ..verbs import BATCHES, CHANGES, LISTINGS, OF_ENTRIES, READS
from ._gates import READ, READ_SOME, WRITE, WRITE_SOME, Gates, Intent, Pass
from .base import BaseWrapper
from .call import Call

_READS = READS | LISTINGS | {"count"}
_INTENTS: dict[str, tuple[Intent, Intent | None]] = {
    **{name: (READ, READ_SOME if name in OF_ENTRIES else None) for name in _READS},
    **{name: (WRITE, WRITE_SOME if name in OF_ENTRIES else None) for name in CHANGES},
}
"""What each verb does to the entries that it is about, and to the store if it is not about all of that."""
_MOST_KEYS = 1000
"""Keys of the largest batch that holds a lock for each; a larger one holds that of the whole store."""
_STORE = None


class SerializingWrapper(BaseWrapper):
    """Wrapper that lets a call wait for those that it must not run beside.

    Reads run beside each other; a write runs alone. Calls take their turn in the order in which they came, so that
    neither keeps the other out. This is for the callers of one wrapper: other processes do not wait.

    Args:
        inner: The wrapped store.
        per_key: Whether only calls about the same entry wait for each other. A listing, `count`, a call about a whole
            collection or store, and a batch of more than 1,000 keys count as calls about all entries. With False, every
            write runs alone in the store.

    Raises:
        ConfigurationError: `per_key` is not a bool.
    """

    _around_steps: ClassVar[bool] = True

    def __init__(self, inner: AsyncKeyValue, *, per_key: bool = True) -> None:
        check_bool("per_key", per_key)
        self._per_key = per_key
        self._gates = Gates()
        super().__init__(inner)

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        gates, passes = self._gates, self._passes(operation, function, args, named)
        passed = gates.enter_at_once(passes)
        if passed < len(passes):
            await gates.enter(passes, passed)
        try:
            return await function(*args, **named)
        finally:
            gates.leave(passes)

    def _passes(
        self, operation: str, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], named: dict[str, Any]
    ) -> Sequence[Pass]:
        """Return the locks that a call holds: that of the store first, then those of its entries in order."""
        intents = _INTENTS.get(operation)
        if intents is None:
            return ()
        of_all, of_some = intents
        if not self._per_key or of_some is None:
            return ((_STORE, of_all),)
        if operation in BATCHES:
            keys = args[1]
            return (
                _some(args[0], sorted(set(keys)), of_all, of_some) if len(keys) <= _MOST_KEYS else ((_STORE, of_all),)
            )
        if len(args) > 1:
            collection, key = args[:2]
        else:
            call = Call(function, args, named)
            collection, key = call.collection, call.key
        if type(collection) is str and type(key) is str:
            return ((_STORE, of_some), ((collection, key), of_all))
        return _some(collection, (key,), of_all, of_some)


def _some(collection: object, keys: Iterable[object], of_all: Intent, of_some: Intent) -> list[Pass]:
    """Return the locks of some entries.

    A name of a class derived from `str`, which may hash as it likes, is made a plain one. A name that is no `str` has
    no lock: the call is about to be refused.
    """
    passes: list[Pass] = [(_STORE, of_some)]
    if isinstance(collection, str):
        name = str.__str__(collection)
        passes += [((name, str.__str__(key)), of_all) for key in keys if isinstance(key, str)]
    return passes
