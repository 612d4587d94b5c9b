"""`Once`: run a function once per idempotency key, and give every caller its result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from msgspec import UNSET

from .._annotations import result_model
from .._shielding import shielded
from .._update import holds_key_lock, key_lock, random_pause
from ..clock import TTL, Clock, seconds, system_clock
from ..collection import Collection
from ..entry import Entry
from ..errors import (
    IntegrityError,
    ModelMismatchError,
    ResultUnknownError,
    SatchelError,
    SerializationError,
    StoreError,
    ValueTooLargeError,
)
from ..names import check_name
from ..protocol import AsyncKeyValue
from .lease import LONGEST_PAUSE, OWNER_BYTES, SHORTEST_PAUSE, Claims, Lease, claim_of, new_owner

T = TypeVar("T")

_UNRECORDABLE = (SerializationError, ValueTooLargeError, ModelMismatchError)
_MODELS = 100
"""Number of models that a `Once` keeps prepared."""

logger = logging.getLogger("satchel")


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

    So a function runs at most once for each claim, and more than once if a claim was lost between its side effects and
    the recording of its result: no store can do both in one step. If the service that it calls accepts an idempotency
    key, pass the key on. Each host uses its own clock to decide whether a claim has lapsed, as with `Lock`.

    A function must not call `run` with its own key, as it would wait for itself: in its own task this raises
    `RuntimeError`.

    A first run takes three round trips (read, claim, record), and one more for each third of `claim_ttl`; a later one
    takes one, a failed one three. Waiting reads about four times a second; callers in one process and over one store
    object wait in a queue, of which only the first reads.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        ttl: Time for which a result is kept, in seconds or as a `timedelta`.
        claim_ttl: Time for which a claim holds without being renewed.
        collection: The collection that holds claims and results.
        clock: Function that returns seconds since the Unix epoch.

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
        clock: Clock = system_clock,
    ) -> None:
        self._claims = Claims(store, collection, claim_ttl, clock, forgets=True)
        self._ttl = seconds(ttl)
        self._results: Collection[Any] = Collection(store, self._claims.collection)
        self._typed: dict[Any, Collection[Any]] = {}

    def __repr__(self) -> str:
        return f"Once({self._claims.store!r}, collection={self._claims.collection!r})"

    async def run(self, key: str, function: Callable[[], Awaitable[T]], *, model: Any = None) -> T:
        """Return the result that is recorded for a key, or run the function and record what it returns.

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
            StoreError: The backend failed. When the function has been run then, the claim lapses, and the next caller
                runs it again.
        """
        claims, key = self._claims, check_name(key, "key", self._claims.store.max_key_bytes)
        if not callable(function):
            raise TypeError(f"run takes an async function, got {type(function).__name__}")
        if holds_key_lock(claims.store, claims.collection, key):
            raise RuntimeError(f"this task runs the function of {claims.place(key)}: it would wait for itself")
        results = self._results_of(function, model)
        entry = await claims.store.get_entry(claims.collection, key)
        result = self._result(key, entry)
        if result is not UNSET:
            return await results._loaded(key, result)
        owner = new_owner()
        async with key_lock(claims.store, claims.collection, key):
            attempt = 0
            while (lease := await self._claim(key, entry, owner)) is None:
                if attempt:
                    await asyncio.sleep(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE))
                attempt += 1
                entry = await claims.store.get_entry(claims.collection, key)
                result = self._result(key, entry)
                if result is not UNSET:
                    return await results._loaded(key, result)
            return await self._execute(lease, function, results)

    def _results_of(self, function: Callable[[], Awaitable[T]], model: Any) -> Collection[T]:
        """Return how the results of a function are turned into values of the store, and back."""
        kind = result_model(function) if model is None else model
        if kind is None:
            return self._results
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

    async def _claim(self, key: str, entry: Entry | None, owner: str) -> Lease | None:
        free = self._claims.is_free(None if entry is None else claim_of(entry.value), owner)
        return await self._claims.take(key, entry, owner) if free else None

    async def _execute(self, lease: Lease, function: Callable[[], Awaitable[T]], results: Collection[T]) -> T:
        lease.start()
        try:
            async with lease.kept():
                result = await function()
        except BaseException:
            await shielded(partial(_let_go, lease), partial(_tell_of_claim, lease.place))
            raise
        # The work is done: that its caller is cancelled now must not make another one do it again.
        await shielded(partial(self._record, lease, result, results), partial(_tell_of_failure, lease.place))
        return result

    async def _record(self, lease: Lease, result: T, results: Collection[T]) -> None:
        owner = lease.claim.owner
        try:
            plain = await results._dumped(lease.key, result)
            packed = bytes.fromhex(owner) + plain if type(plain) is bytes else {"owner": owner, "result": plain}
            await self._write(lease, packed)
        except _UNRECORDABLE as error:
            # The effects have happened: that they have is all that can be recorded.
            await self._write(lease, {"owner": owner, "unknown": type(error).__name__})
            raise type(error)(
                f"the function of {lease.place} has run, and its result cannot be recorded; later callers get "
                f"ResultUnknownError. Give run(..., model=) the type of the result, or return plain JSON: {error}"
            ) from None

    async def _write(self, lease: Lease, value: object) -> None:
        attempt = 0
        while True:
            try:
                return await lease.replace(value, self._ttl)
            except StoreError as error:
                attempt += 1
                await asyncio.sleep(random_pause(attempt, SHORTEST_PAUSE, LONGEST_PAUSE))
                if not error.retryable or lease.lapsed:
                    raise

    def _result(self, key: str, entry: Entry | None) -> Any:
        """Return the result that an entry holds, UNSET where it holds a claim or is absent."""
        if entry is None or claim_of(entry.value) is not None:
            return UNSET
        match entry.value:
            case bytes(value) if len(value) >= OWNER_BYTES:
                return value[OWNER_BYTES:]
            case {"owner": str(), "result": result}:
                return result
            case {"owner": str(), "unknown": str(reason)}:
                raise ResultUnknownError(
                    f"the function of {self._claims.place(key)} has run, and its result could not be recorded "
                    f"({reason}); it is not run again: use another key, or delete this entry, if it has to be"
                )
        raise IntegrityError(f"{self._claims.place(key)} holds something that no Once wrote")


def _tell_of_failure(place: str, error: Exception) -> None:
    logger.warning("%s was carried out, and its result not recorded: %s", place, error)


def _tell_of_claim(place: str, error: Exception) -> None:
    logger.debug("the claim on %s was not given back, and lapses by itself: %s", place, error)


async def _let_go(lease: Lease) -> None:
    try:
        await lease.end()
    except SatchelError as error:
        _tell_of_claim(lease.place, error)
