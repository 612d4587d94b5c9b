"""`Recorder`: random calls on a store, and a history of each key to judge them by."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from ...capability import Capability
from ...errors import StoreError, ValueTooLargeError
from .history import UNKNOWN, History, HistoryCall
from .world import Process, SimulationError, World, spread

COLLECTION: Final = "c"
_KINDS: Final = ("put", "put", "get", "delete", "put_many", "get_many")
_DENYING_KINDS: Final = ("put_if_absent", "compare_and_put", "compare_and_delete")
"""Verbs whose False also denies that an earlier attempt was carried out."""
_CONDITIONAL_KINDS: Final = (*_DENYING_KINDS, "touch")
_PADDING: Final = "x" * 70_000
"""Makes a value so large that a thread encodes and decodes it."""
_LOOKS: Final = 200
_VERBS: Final = 4
_MOST_STATES: Final = 50_000


class Recorder:
    """Maker of random calls, and history of each key that they are about.

    Args:
        world: The world.
        keys: The keys that calls are about.
        ttls: Times to live in seconds, of which one is drawn for each write; None for none.
        default_ttl: The time to live of a write without one.
        repeats: How often a store may carry out one write again, as one that retries does.
        outdated: Stores may return older values, if only they were put under that key.
    """

    def __init__(
        self,
        world: World,
        keys: Sequence[str],
        *,
        ttls: Sequence[float | None] = (None,),
        default_ttl: float | None = None,
        repeats: int = 0,
        outdated: bool = False,
    ) -> None:
        self._world, self._keys, self._ttls, self._repeats = world, keys, ttls, repeats
        self._default_ttl, self._outdated = default_ttl, outdated
        self._patience = world.random("patience").choice((0.2, 0.5, 0.9))
        self.histories = {key: History(world.skew) for key in keys}
        self._tokens = 0
        self._versions: dict[str, tuple[str, int]] = {}

    async def work(self, process: Process, store: Any, name: str, count: int) -> None:
        """Make random calls on a store, one after the other or several at once.

        Args:
            process: The process of the store.
            store: The store.
            name: Names the caller in the history.
            count: How many.
        """
        kinds = [*_KINDS]
        if Capability.CONDITIONAL in store.capabilities:
            kinds += _CONDITIONAL_KINDS
        kinds = ["get", *self._world.random("verbs").sample(kinds, _VERBS)]  # few, so that they meet their like
        running: list[asyncio.Future[bool]] = []
        for number in range(count):
            step = f"{name}.{number}"
            chance = self._world.random(step)
            if chance.random() < self._patience:  # the others are made while earlier ones are under way
                await asyncio.gather(*running)
                await asyncio.sleep(chance.choice((0.0, spread(chance, 2e-5, 1.0))))
            if self._world.takes_place(step):
                running.append(asyncio.ensure_future(self._random_call(process, store, step, kinds, chance)))
        await asyncio.gather(*running)

    async def _random_call(
        self, process: Process, store: Any, step: str, kinds: Sequence[str], chance: random.Random
    ) -> bool:
        kind = chance.choice(kinds)
        keys = chance.sample(self._keys, chance.randint(1, len(self._keys)) if kind.endswith("_many") else 1)
        limit = spread(chance, 2e-5, 0.2) if chance.random() < 0.2 else None
        return await self.call(
            process, store, step, kind, keys, ttl=chance.choice(self._ttls), limit=limit, chance=chance
        )

    async def look(self, process: Process, store: Any) -> None:
        """Read each key until it answers.

        Raises:
            SimulationError: It never does.
        """
        self._outdated = False
        for key in self._keys:
            for number in range(_LOOKS):
                if await self.call(process, store, f"look {number}", "get", [key]):
                    break
            else:
                raise SimulationError(f"key {key} does not answer any more")

    def check(self) -> None:
        """Look for an order of each key's calls that explains all answers.

        Raises:
            SimulationError: There is none for a key.
        """
        for key, history in self.histories.items():
            if not history.is_linearizable(_MOST_STATES):
                raise SimulationError(f"no order of the calls on key {key} explains their answers")

    async def call(
        self,
        process: Process,
        store: Any,
        step: str,
        kind: str,
        keys: Sequence[str],
        *,
        ttl: float | None = None,
        limit: float | None = None,
        chance: random.Random | None = None,
    ) -> bool:
        """Make a call, write down what came of it, and return whether it was answered.

        Args:
            process: The process of the store.
            store: The store.
            step: Names the call in the history.
            kind: The verb.
            keys: The keys; of most verbs one.
            ttl: The time to live of what is written.
            limit: Seconds after which the caller is cancelled; None for never.
            chance: Decides whether values are large; None for small ones.
        """
        version, expected = self._versions.get(keys[0], ("none", -1))
        calls = [self._begin(store, kind.removesuffix("_many"), key, expected, ttl) for key in keys]
        padded = chance is not None and chance.random() < 0.03
        said = ", ".join(f"{key}={call.token}" for key, call in zip(keys, calls, strict=True))
        self._world.note(process.name, f"{step} {kind} {said}{'' if ttl is None else f' ttl {ttl}'}")
        values = {key: [call.token, _PADDING] if padded else call.token for key, call in zip(keys, calls, strict=True)}
        task = asyncio.ensure_future(self._answers(store, kind, values, ttl, version))
        if limit is not None:
            await asyncio.sleep(limit)
            task.cancel()
        await asyncio.wait([task])
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (asyncio.CancelledError, StoreError, ValueTooLargeError)):
            raise error
        answers = {} if error is not None else task.result()
        for key, call in zip(keys, calls, strict=True):
            call.ended = self._world.now
            answer = answers.get(key, UNKNOWN)
            if kind.startswith("get") and self._outdated and answer is not UNKNOWN:
                self._check_was_put(key, answer)
                answer = UNKNOWN
            history = self.histories[key]
            history.end(call, answer)
            if answer is False and call.kind in _DENYING_KINDS:
                history.calls = [each for each in history.calls if each.before is not call]
        self._world.note(process.name, f"{step} -> {answers if error is None else type(error).__name__}")
        return error is None

    def _begin(self, store: object, kind: str, key: str, expected: int, ttl: float | None) -> HistoryCall:
        history = self.histories[key]
        lives = self._default_ttl if ttl is None else ttl
        details: dict[str, Any] = {"client": store, "began": self._world.now, "ttl": lives}
        if kind in ("put", "put_if_absent", "compare_and_put"):
            self._tokens += 1
            details["token"] = self._tokens
        if kind in ("compare_and_put", "compare_and_delete"):
            details["expected"] = expected
            details["is_vague"] = self._repeats > 0
        call = history.begin(kind, **details)
        for _ in range(self._repeats if call.writes else 0):
            history.begin(kind, **details, before=call)
        return call

    def _check_was_put(self, key: str, token: int | None) -> None:
        if token is not None and all(call.token != token for call in self.histories[key].calls):
            raise SimulationError(f"{token} was never put under key {key}")

    async def _answers(
        self, store: Any, kind: str, values: Mapping[str, Any], ttl: float | None, version: str
    ) -> dict[str, Any]:
        (key, value), *_ = values.items()
        match kind:
            case "get":
                return {key: await self._read(store, key)}
            case "get_many":
                found = await store.get_many(COLLECTION, list(values))
                return {name: _token(found.get(name)) for name in values}
            case "put_many":
                await store.put_many(COLLECTION, values, ttl=ttl)
                return dict.fromkeys(values)
        verb: Callable[..., Awaitable[Any]] = getattr(store, kind)
        given = (value,) if kind in ("put", "put_if_absent", "compare_and_put") else ()
        named: dict[str, Any] = {} if kind in ("delete", "compare_and_delete") else {"ttl": ttl}
        if kind.startswith("compare"):
            named["version"] = version
        answer = await verb(COLLECTION, key, *given, **named)
        return {key: answer if kind in ("put", "delete", "touch", "compare_and_delete") else answer is not None}

    async def _read(self, store: Any, key: str) -> int | None:
        if self._tokens % 3:
            return _token(await store.get(COLLECTION, key))
        entry = await store.get_entry(COLLECTION, key)
        if entry is None:
            return None
        token = _token(entry.value)
        if token is not None:
            self._versions[key] = (entry.version, token)
        return token


def _token(value: Any) -> int | None:
    token: int | None = value[0] if isinstance(value, list) else value
    return token
