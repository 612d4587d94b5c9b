"""`CompositeStore`: what stores over several inner stores share."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from ..capability import METHODS, NEEDED, Capability
from ..description import Described
from ..errors import BatchError, ConfigurationError, SatchelError, StoreClosedError, UnsupportedOperationError
from ..has_collections import HasCollections
from ..lifecycle import finish_and_close, leave
from ..protocol import AsyncKeyValue


class CompositeStore(HasCollections, Described):
    """Is the base of stores over several inner stores.

    A subclass writes the core verbs, and those of the capabilities that it can honour; it has a capability when it
    writes all its methods and every inner store has it. What it does not write refuses by name. It owns the inner
    stores: closing it closes them all.

    Args:
        inners: The inner stores; one that comes twice is pinged and closed once.

    Raises:
        ConfigurationError: There is none, or one of them is no store.
    """

    def __init__(self, *inners: AsyncKeyValue) -> None:
        self.inners = tuple({id(inner): inner for inner in inners}.values())
        kinds = [type(inner).__name__ for inner in inners if not hasattr(inner, "capabilities")]
        if kinds or not inners:
            raise ConfigurationError(f"{type(self).__name__} goes over stores, got {', '.join(kinds) or 'none'}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.inners))})"

    @property
    def capabilities(self) -> Capability:
        """What this store can do beyond the core: what every inner store can, and this one makes use of."""
        written = [flag for flag, names in METHODS.items() if not any(_is_refusal(type(self), name) for name in names)]
        own = functools.reduce(operator.or_, written, Capability.NONE)
        return functools.reduce(operator.and_, [inner.capabilities for inner in self.inners], own)

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes, that every inner store takes."""
        return min(inner.max_key_bytes for inner in self.inners)

    def _need(self, operation: str) -> None:
        if NEEDED[operation] not in self.capabilities:
            _refusal(operation)(self)

    async def ping(self) -> None:
        """Return when every inner store answers."""
        await asyncio.gather(*[inner.ping() for inner in self.inners])

    async def aclose(self) -> None:
        """Finish what is the store's own, and close all inner stores, also when one fails; the first failure is raised.

        Raises:
            StoreClosedError: One has been closed before. Leaving `async with` after that raises nothing.
        """
        await finish_and_close(self._finish, self._close_inners)

    async def __aenter__(self) -> Self:
        for inner in self.inners:
            await inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await leave(self.aclose)

    async def _finish(self) -> None:
        """Finish what this store itself has under way: the inner stores, which are still open, are closed next.

        It may be called again, then with nothing left to do.
        """

    async def _close_inners(self) -> None:
        outcomes = await asyncio.gather(*[inner.aclose() for inner in self.inners], return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        for failure in sorted(failures, key=lambda failure: isinstance(failure, StoreClosedError)):
            raise failure


async def gather_batch(
    store: object, operation: str, collection: str, parts: Sequence[tuple[Iterable[str], Awaitable[Any]]]
) -> list[Any]:
    """Await the parts of a batch, each with its keys, and return what each gave; failures are those of one batch.

    Raises:
        BatchError: Some parts failed, or some keys of them; what fails all parts alike is raised as it is.
    """
    if len(parts) == 1:
        return [await parts[0][1]]
    outcomes = await asyncio.gather(*[part for _, part in parts], return_exceptions=True)
    failed: dict[str, SatchelError] = {}
    for (keys, _), outcome in zip(parts, outcomes, strict=True):
        if isinstance(outcome, BatchError):
            failed |= outcome.failed
        elif isinstance(outcome, SatchelError):
            failed |= {key: outcome.again() for key in keys}
        elif isinstance(outcome, BaseException):
            raise outcome
    first = outcomes[0]
    if isinstance(first, SatchelError) and not isinstance(first, BatchError) and len(set(map(type, outcomes))) == 1:
        raise first
    if failed:
        raise batch_error(store, operation, collection, failed)
    return outcomes


def batch_error(store: object, operation: str, collection: str, failed: Mapping[str, SatchelError]) -> BatchError:
    """Return the error of a batch of which some keys failed."""
    first = next(iter(failed.values()))
    error = BatchError(
        f"{operation}: {len(failed)} keys failed, one with {type(first).__name__}: {first}",
        failed=failed,
        store=repr(store),
        operation=operation,
        collection=collection,
    )
    error.__cause__ = first
    return error


def _refusal(operation: str) -> Callable[..., Any]:
    def refuse(self: CompositeStore, *_: Any, **__: Any) -> Any:
        raise UnsupportedOperationError(f"{self!r} does not have {operation}; see its .capabilities")

    refuse.is_absent = True  # type: ignore[attr-defined]  # it marks what a subclass has not written
    return refuse


def _is_refusal(kind: type, operation: str) -> bool:
    return hasattr(getattr(kind, operation), "is_absent")


for _operations in METHODS.values():
    for _operation in _operations:
        setattr(CompositeStore, _operation, _refusal(_operation))
