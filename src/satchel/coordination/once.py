"""`Once`: run a function once per idempotency key, and give every caller its result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from msgspec import UNSET

from .._annotations import result_model
from .._shielding import shielded
from .._update import holds_key_lock, key_lock, random_pause
from ..clock import TTL, seconds, system_clock
from ..collection import Collection
from ..entry import Entry
from ..errors import (
    IntegrityError,
    LockLostError,
    ModelMismatchError,
    ResultUnknownError,
    SatchelError,
    SerializationError,
    StoreError,
    ValueTooLargeError,
)
from ..names import check_name
from ..protocol import AsyncKeyValue
from .claim import LONGEST_PAUSE, OWNER_BYTES, SHORTEST_PAUSE, Claims, HeldClaim, claim_of, new_owner, standing_of

T = TypeVar("T")

_UNRECORDABLE = (SerializationError, ValueTooLargeError, ModelMismatchError)
_FORMAT = b"\x01"
_MODELS = 100
"""Number of models whose conversions a `Once` caches."""

logger = logging.getLogger("satchel")


@dataclass(frozen=True, slots=True)
class Recorded(Generic[T]):
    """Answer of `Once.claim`: the work has been done.

    Attributes:
        result: The recorded result.
    """

    result: T


@dataclass(frozen=True, slots=True)
class Busy:
    """Answer of `Once.claim`: another caller holds the claim and is doing the work."""


class Claimed(Generic[T]):
    """Answer of `Once.claim`: the claim is held; do the work within `async with`, and `record` its result.

    The claim is renewed within the block. A block that raises, is cancelled, or ends without a record gives the claim
    back: the next caller does the work. When the claim is lost, the block is cancelled and ends in `LockLostError`.
    """

    def __init__(self, claim: HeldClaim, record: Callable[[HeldClaim, T], Awaitable[None]]) -> None:
        self._claim, self._write, self._recorded = claim, record, False
        self._block = claim.lease.kept()

    def __repr__(self) -> str:
        return f"Claimed({self._claim.description})"

    async def record(self, result: T) -> None:
        """Record the result of the work, for every caller from now on.

        Raises:
            LockLostError: The claim was lost: others may be doing the work.
            SerializationError, ValueTooLargeError, ModelMismatchError: The result cannot be recorded. That the work was
                done is recorded all the same.
            StoreError: The backend failed.
        """
        if self._recorded:
            raise RuntimeError(f"the result of {self._claim.description} has already been recorded")
        self._recorded = True
        self._claim.lease.stop()
        await self._write(self._claim, result)

    async def __aenter__(self) -> Self:
        self._claim.lease.start()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._block.__aexit__(kind, error, trace)
        finally:
            if not self._recorded:
                await _give_back(self._claim)


class Once:
    """Function that runs once for each idempotency key, and gives its result to every caller.

    The first caller claims the key, runs the function, and records what it returns. Others, including those in other
    processes, wait for the result, or get the recorded one.

    ```python
    from satchel import MemoryStore
    from satchel.coordination import Once

    once = Once(MemoryStore(), ttl=86_400)

    async def charge():
        return {"charged": 100}

    assert await once.run("order-17", charge) == {"charged": 100}
    assert await once.run("order-17", charge) == {"charged": 100}    # from the record: nothing is charged again
    ```

    Guarantees:

    * While a result is recorded, the function is not run.
    * While one caller holds the claim on a key, no other runs the function. The claim is renewed as long as the
      function runs; when it cannot be renewed in time, the function is cancelled, and `run` raises `LockLostError`.
    * If a result cannot be recorded, the run itself is: later callers get `ResultUnknownError`, and the function is not
      run again. A return annotation or model that can never be recorded is refused before the function runs.
    * A failed run, or one that was cancelled, records nothing: its caller gets the error, and the next one runs the
      function again.
    * When the process of a claim ends, or stops for longer than `claim_ttl`, its claim lapses, and another caller runs
      the function again. A result that a paused process returns later is not recorded.

    So a function runs at most once for each claim, and again if a claim was lost: no store can combine the function's
    effects and the record of its result into one step. Pass the key to services that accept an idempotency key. Each
    process judges by its own monotonic clock whether a claim has lapsed, as with `Lock`.

    A function must not call `run` with its own key, as it would wait for itself: in its own task this raises
    `RuntimeError`.

    A first run takes three round trips (read, claim, record), and one more for each third of `claim_ttl`. A later run
    takes one, a failed one three. Waiting callers read about four times a second; callers in one process and over one
    store object wait in a queue, of which only the first reads.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        ttl: Time for which a result is kept, in seconds or as a `timedelta`.
        claim_ttl: Time for which a claim holds without being renewed.
        collection: The collection that holds claims and results.

    Raises:
        UnsupportedOperationError: The store has no conditional writes.
        InvalidKeyError, InvalidTTLError: A name or a time to live is not legal.
    """

    def __init__(
        self,
        store: AsyncKeyValue,
        *,
        ttl: TTL = 86_400,
        claim_ttl: TTL = 30,
        collection: str = "once",
    ) -> None:
        self._claims = Claims(store, collection, claim_ttl, clock=system_clock, keep=0)
        self._ttl = seconds(ttl)
        self._results: Collection[Any] = Collection(store, self._claims.collection)
        self._typed: dict[Any, Collection[Any]] = {}

    def __repr__(self) -> str:
        return f"Once({self._claims.store!r}, collection={self._claims.collection!r})"

    async def run(self, key: str, function: Callable[[], Awaitable[T]], *, model: Any = None) -> T:
        """Return the recorded result for a key, or run the function and record its result.

        Args:
            key: The idempotency key; callers with the same key get the same result.
            function: Async function, called without arguments.
            model: Type of the result, as for a `Collection`. If omitted, the function's return annotation is used if it
                is more than plain JSON; otherwise the result must be a value that the store accepts, nested one level
                less deep.

        Raises:
            TypeError: `function` is not async. (It has already been called by then.)
            ConfigurationError: The model, or the annotation, is a type whose values cannot be recorded.
            ResultUnknownError: The function has run for this key, and its result could not be recorded.
            ModelMismatchError: The recorded result does not fit the model.
            RuntimeError: The task is already running this key's function.
            LockLostError: The claim was lost while the function ran: others may run it as well.
            SerializationError, ValueTooLargeError: The function was run, but its result cannot be recorded. Later
                callers get `ResultUnknownError`.
            IntegrityError: The entry holds neither a claim nor a result.
            StoreError: The backend failed. If the function has already run, the claim lapses, and the next caller runs
                it again.
        """
        claims, key = self._claims, self._checked(key, function)
        results = self._results_of(function, model)
        entry = await claims.store.get_entry(claims.collection, key)
        result = self._result(key, entry)
        if result is not UNSET:
            return await results._loaded(key, result)
        owner = new_owner()
        async with key_lock(claims.store, claims.collection, key):
            attempt = 0
            while (claim := await self._take(key, entry, owner)) is None:
                if attempt:
                    await asyncio.sleep(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE))
                attempt += 1
                entry = await claims.store.get_entry(claims.collection, key)
                result = self._result(key, entry)
                if result is not UNSET:
                    return await results._loaded(key, result)
            return await self._execute(claim, function, results)

    async def claim(self, key: str, *, model: Any = None) -> Claimed[Any] | Recorded[Any] | Busy:
        """Return the claim on a key, the recorded result, or `Busy` if another caller has the claim; never wait.

        ```python
        from satchel import MemoryStore
        from satchel.coordination import Claimed, Once, Recorded

        match await Once(MemoryStore()).claim("order-18"):
            case Claimed() as claim:
                async with claim:
                    await claim.record({"charged": 50})
            case Recorded(result):
                assert result == {"charged": 50}
        ```

        The claim of a process that died is given to a caller once this `Once` object has seen it unchanged for
        `claim_ttl`: call it again later on the same object.

        Args:
            key: The idempotency key.
            model: Type of the result, as for `run`.

        Raises:
            ConfigurationError: The model is a type whose values cannot be recorded.
            ResultUnknownError: The work was done, and its result could not be recorded.
            ModelMismatchError: The recorded result does not fit the model.
            IntegrityError: The entry holds neither a claim nor a result.
            StoreError: The backend failed.
        """
        claims, key = self._claims, check_name(key, "key", self._claims.store.max_key_bytes)
        results = self._results if model is None else self._prepared(model)
        entry = await claims.store.get_entry(claims.collection, key)
        result = self._result(key, entry)
        if result is not UNSET:
            return Recorded(await results._loaded(key, result))
        claim = await self._take(key, entry, new_owner())
        return Busy() if claim is None else Claimed(claim, partial(self._record_shielded, results))

    def _checked(self, key: str, function: object) -> str:
        claims, key = self._claims, check_name(key, "key", self._claims.store.max_key_bytes)
        if not callable(function):
            raise TypeError(f"run takes an async function, got {type(function).__name__}")
        if holds_key_lock(claims.store, claims.collection, key):
            raise RuntimeError(f"this task runs the function of {claims.describe(key)}: it would wait for itself")
        return key

    def _results_of(self, function: Callable[[], Awaitable[T]], model: Any) -> Collection[T]:
        """Return the collection that converts results of a function to values of the store, and back."""
        kind = result_model(function) if model is None else model
        return self._results if kind is None else self._prepared(kind)

    def _prepared(self, kind: Any) -> Collection[Any]:
        try:
            known = self._typed.get(kind)
        except TypeError:  # an annotation that cannot be hashed
            return self._typed_results(kind)
        if known is None:
            known = self._typed[kind] = self._typed_results(kind)
            if len(self._typed) > _MODELS:
                del self._typed[next(iter(self._typed))]
        return known

    def _typed_results(self, kind: Any) -> Collection[Any]:
        return Collection(self._claims.store, self._claims.collection, model=kind)

    async def _take(self, key: str, entry: Entry | None, owner: str) -> HeldClaim | None:
        standing = standing_of(entry)
        return await self._claims.take(key, standing, owner) if self._claims.is_free(key, standing, owner) else None

    async def _execute(self, claim: HeldClaim, function: Callable[[], Awaitable[T]], results: Collection[T]) -> T:
        claim.lease.start()
        try:
            async with claim.lease.kept():
                result = await function()
        except BaseException:
            await _give_back(claim)
            raise
        await self._record_shielded(results, claim, result)
        return result

    async def _record_shielded(self, results: Collection[T], claim: HeldClaim, result: T) -> None:
        # The work is done: a cancellation of the caller must not make another one do it again.
        await shielded(partial(self._record, claim, result, results), partial(_tell_of_failure, claim.description))

    async def _record(self, claim: HeldClaim, result: T, results: Collection[T]) -> None:
        owner = claim.claim.owner
        try:
            plain = await results._dumped(claim.key, result)
            packed = _frame(owner, plain) if type(plain) is bytes else {"format": 1, "owner": owner, "result": plain}
            await self._write(claim, packed)
        except (StoreError, LockLostError):
            raise
        except Exception as error:  # a codec, or the class of the result, may raise anything
            # The effects have happened, which is all that can be recorded.
            await self._write(claim, {"format": 1, "owner": owner, "unknown": type(error).__name__})
            if not isinstance(error, _UNRECORDABLE):
                raise
            raise type(error)(
                f"the function of {claim.description} has run, but its result cannot be recorded; later callers get "
                f"ResultUnknownError. Give run(..., model=) the type of the result, or return plain JSON: {error}"
            ) from None

    async def _write(self, claim: HeldClaim, value: object) -> None:
        attempt = 0
        while True:
            try:
                return await claim.replace(value, self._ttl)
            except StoreError as error:
                attempt += 1
                await asyncio.sleep(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE))
                if not error.retryable or claim.lease.lapsed:
                    raise

    def _result(self, key: str, entry: Entry | None) -> Any:
        """Return the result in an entry; UNSET if it holds a claim or is absent."""
        if entry is None or claim_of(entry.value) is not None:
            return UNSET
        match entry.value:
            case bytes(value) if len(value) > OWNER_BYTES and value[:1] == _FORMAT:
                return value[1 + OWNER_BYTES :]
            case {"format": 1, "owner": str(), "result": result}:
                return result
            case {"format": 1, "owner": str(), "unknown": str(reason)}:
                raise ResultUnknownError(
                    f"the function of {self._claims.describe(key)} has run, but its result could not be recorded "
                    f"({reason}), so it is not run again: to run it, use another key or delete this entry"
                )
        raise IntegrityError(f"{self._claims.describe(key)} holds something that no Once wrote")


def _frame(owner: str, result: bytes) -> bytes:
    return _FORMAT + bytes.fromhex(owner) + result


def _tell_of_failure(place: str, error: Exception) -> None:
    logger.warning("%s has run, but its result was not recorded: %s", place, error)


def _tell_of_claim(place: str, error: Exception) -> None:
    logger.debug("the claim on %s was not given back, and will lapse: %s", place, error)


async def _give_back(claim: HeldClaim) -> None:
    await shielded(partial(_end, claim), partial(_tell_of_claim, claim.description))


async def _end(claim: HeldClaim) -> None:
    claim.lease.stop()
    try:
        await claim.end()
    except SatchelError as error:
        _tell_of_claim(claim.description, error)
