"""Clients that call several stores at a bounded rate, and write down what each call did and how long it took."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from satchel import BatchError, StoreError
from satchel.testing.simulation import UNKNOWN, History, HistoryCall

CLIENTS = 32
RATE = 200.0
"""Calls a second, of all clients together."""
KEYS = 120
COLLECTION = "c"
_KINDS = {"get": 8, "put": 6, "compare_and_put": 2, "put_if_absent": 1, "delete": 1, "get_many": 1, "put_many": 1}


class Done(NamedTuple):
    """Call that has ended, its times in seconds of the monotonic clock."""

    store: int
    key: str
    start: float
    end: float
    succeeded: bool


@dataclass
class Round:
    """What happened to some keys of their own."""

    keys: Sequence[str]
    histories: dict[str, History] = field(default_factory=lambda: defaultdict(History))
    done: list[Done] = field(default_factory=list)
    versions: dict[tuple[int, str], tuple[str, Any]] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    """The tick of each key's history at the fault."""

    def note_fault(self) -> None:
        """Note that a node is lost now."""
        self.faults = {key: self.histories[key].now() for key in self.keys}


class Load:
    """Calls stores until it is stopped.

    Args:
        stores: The stores, among which the clients are divided.

    Attributes:
        errors: How often each error of satchel was raised.
        strangers: What else was raised.
        longest: How many seconds the longest call took.
    """

    def __init__(self, stores: Sequence[Any]) -> None:
        self._stores = stores
        self._tokens = iter(range(1, 1 << 30))
        self._going = asyncio.Event()
        self._round = Round(())
        self.errors: Counter[str] = Counter()
        self.strangers: list[BaseException] = []
        self.longest = 0.0
        self.calls = 0
        self._busy = 0
        self._clients = [asyncio.create_task(self._client(number % len(stores))) for number in range(CLIENTS)]

    async def close(self) -> None:
        """End the clients."""
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    def begin(self, name: str) -> Round:
        """Begin a round with keys of its own."""
        self._round = Round([f"{name}-{number}" for number in range(KEYS)])
        self._going.set()
        return self._round

    async def pause(self, seconds: float) -> None:
        """Begin no more calls, and wait until those under way have ended.

        Raises:
            AssertionError: They did not end in time.
        """
        self._going.clear()
        give_up = time.monotonic() + seconds
        while self._busy:
            assert time.monotonic() < give_up, f"{self._busy} calls have not ended"
            await asyncio.sleep(0.02)

    async def look(self, round_: Round, seconds: float) -> None:
        """Read every key once more, as often as it takes."""
        give_up = time.monotonic() + seconds
        for number, key in enumerate(round_.keys):
            while not await self._single(round_, number % len(self._stores), "get", key):
                assert time.monotonic() < give_up, f"{key} cannot be read"
                await asyncio.sleep(0.05)

    async def _client(self, number: int) -> None:
        chance = random.Random()
        kinds, weights = list(_KINDS), list(_KINDS.values())
        while True:
            await asyncio.sleep(chance.expovariate(RATE / CLIENTS))
            await self._going.wait()
            self._busy += 1
            try:
                (kind,) = chance.choices(kinds, weights)
                if kind.endswith("_many"):
                    await self._many(self._round, number, kind, chance.sample(self._round.keys, 3))
                else:
                    await self._single(self._round, number, kind, chance.choice(self._round.keys))
            finally:
                self._busy -= 1

    async def _single(self, round_: Round, number: int, kind: str, key: str) -> bool:
        """Make one call; return whether it succeeded."""
        version, expected = round_.versions.get((number, key), ("none", -1))
        token = next(self._tokens) if "put" in kind else None
        call = round_.histories[key].begin(kind, token=token, expected=expected, client=number)

        async def make() -> Any:
            store = self._stores[number]
            match kind:
                case "get":
                    entry = await store.get_entry(COLLECTION, key)
                    if entry is None:
                        return None
                    round_.versions[number, key] = (entry.version, entry.value)
                    return entry.value
                case "put":
                    return await store.put(COLLECTION, key, token)
                case "delete":
                    return await store.delete(COLLECTION, key)
                case "put_if_absent":
                    return await store.put_if_absent(COLLECTION, key, token) is not None
            return await store.compare_and_put(COLLECTION, key, token, version=version) is not None

        return await self._timed(round_, {key: call}, lambda: self._alone(key, make))

    async def _alone(self, key: str, make: Callable[[], Any]) -> dict[str, Any]:
        return {key: await make()}

    async def _many(self, round_: Round, number: int, kind: str, keys: Sequence[str]) -> None:
        single = kind.removesuffix("_many")
        items = {key: next(self._tokens) if single == "put" else None for key in keys}
        calls = {key: round_.histories[key].begin(single, token=token, client=number) for key, token in items.items()}

        async def make() -> dict[str, Any]:
            store = self._stores[number]
            if single == "put":
                await store.put_many(COLLECTION, items)
                return dict.fromkeys(items)
            found = await store.get_many(COLLECTION, keys)
            return {key: found.get(key) for key in keys}

        await self._timed(round_, calls, make)

    async def _timed(self, round_: Round, calls: dict[str, HistoryCall], make: Callable[[], Any]) -> bool:
        self.calls += 1
        start = time.monotonic()
        answers: dict[str, Any] = {}
        try:
            answers = await make()
        except BatchError as error:
            self.errors.update(type(each).__name__ for each in error.failed.values())
            if next(iter(calls.values())).kind == "put":
                answers = {key: None for key in calls if key not in error.failed}
        except StoreError as error:
            self.errors[type(error).__name__] += 1
            if not error.retryable:
                self.strangers.append(error)
        except Exception as error:  # what a store is not to raise
            self.strangers.append(error)
        end = time.monotonic()
        self.longest = max(self.longest, end - start)
        for key, call in calls.items():
            known = key in answers
            round_.histories[key].end(call, answers[key] if known else UNKNOWN)
            if not known and not call.writes:
                round_.histories[key].calls.remove(call)  # it says nothing
            round_.done.append(Done(call.client, key, start, end, known))
        return len(answers) == len(calls)


def judge(history: History, fault: int) -> tuple[bool, int]:
    """Return whether a history is linearizable but for a fall back to a state before a fault, and how much that lost.

    It is the number of writes that were acknowledged before the fault and after the one that came back; 0 without a
    fall back.

    Args:
        history: The calls of one key.
        fault: The tick of the fault.
    """
    if history.is_linearizable():
        return True, 0
    before = [call for call in history.calls if call.writes and call.start < fault]
    for back in [*sorted(before, key=lambda call: -call.start), None]:
        # As a put that nobody made: it happened at some time after the fault, and no store overtook it.
        token = None if back is None else back.token
        fall = HistoryCall("delete" if token is None else "put", fault, 1 << 60, UNKNOWN, token, client="none")
        fallen = History()
        fallen.calls = [*history.calls, fall]
        if fallen.is_linearizable():
            since = -1 if back is None else back.end
            acknowledged = [call for call in before if call.end < fault and call.answer not in (UNKNOWN, False)]
            return True, max(1, sum(call.start > since for call in acknowledged))
    return False, 0


def without_stale_reads(history: History, fault: int) -> History:
    """Return a history without the reads that began after a fault, but for the last one.

    Left out are also the calls that changed nothing because of what they had read.
    """
    kept = History()
    last = max((call for call in history.calls if not call.writes), key=lambda call: call.start)
    kept.calls = [
        call
        for call in history.calls
        if call.start < fault or call is last or (call.writes and call.answer is not False)
    ]
    return kept
