"""`Window`: reads the items of a queue between its head and its end, and moves the head on.

The order of writes makes a crash harmless at each step:

* A tombstone is deleted only after the head has passed it, and one listed in `behind` before it is unlisted. So an
  absent number before the head is always done.
* The head never passes an absent number. If one stays absent, a void takes its place first: if the push that drew the
  number is still in progress, it finds the void and draws another number. The void outlives any such push.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from ..._update import LastWrite, optimistic_update
from ...clock import TTL, Clock
from ...entry import Entry
from ...errors import IntegrityError
from ...protocol import SupportsConditional
from ..observation import Observations
from ..tally import add
from .items import Item, QueueHead, head_of, is_number, item_of

PAGE = 64
"""Number of items read at once."""
_ENOUGH = 32
"""Number of takeable jobs after which no further page is read, and of tombstones that are worth a sweep."""
_SWEEP = 512
"""Maximum number of tombstones deleted after one move of the head."""
_MOST_BEHIND = 256
_TOMBSTONES_FOR_EACH_BEHIND = 16
"""Number of tombstones after an open item for which the head passes it: each listed item costs every scan."""
_HOLE_SECONDS = 5.0
"""Seconds for which a process sees a number absent before it puts a void in its place."""
_VOID_TTL = 86_400.0
_ABSENT = " is absent"
_GONE = Item("gone")
_MOST_ABSENT = 10_000
"""Number of absent items in a row after which a look ends. Far fewer pushes are in progress at once."""


class Takeable(NamedTuple):
    """Item that may be taken, with its version."""

    number: int
    item: Item
    version: str


class Window:
    """Range of the possibly open items of a queue.

    Args:
        store: A store with `Capability.CONDITIONAL`.
        collection: The collection of the queue.
        name: The name of the queue.
        clock: Returns the present as seconds since the Unix epoch, for delays.
    """

    def __init__(self, store: SupportsConditional, collection: str, name: str, clock: Clock) -> None:
        self._store, self._collection, self._name, self._clock = store, collection, name, clock
        self._observations = Observations()
        self._last_number = LastWrite()
        self._delayed: dict[int, Item] = {}

    def key(self, number: int) -> str:
        """Return the key of an item."""
        return f"{self._name}/items/{number:016d}"

    def describe(self, key: str) -> str:
        """Return the name of an entry for messages."""
        return f"key {key!r} of collection {self._collection!r}"

    async def draw(self) -> int:
        """Return a number that no other push has drawn. Concurrent pushes share a write."""
        return await add(self._store, self._collection, self._next_key, 1, self._draw_many)

    async def read(self, number: int) -> tuple[Item, str] | None:
        """Return an item and its version; None if it is absent."""
        entry = await self._store.get_entry(self._collection, self.key(number))
        return None if entry is None else (self._item(number, entry), entry.version)

    async def scan(self) -> list[Takeable]:
        """Return takeable items, the oldest first, and move the head on if enough is done."""
        at, head, numbers = await self._open_numbers()
        found: list[Takeable] = []
        seen: dict[int, tuple[Item | None, str]] = {}
        absent = 0
        for page in _pages(numbers):
            items = await self._read_page(page)
            for number, (item, version) in items.items():
                seen[number] = item, version
                if item is None:
                    if number >= head.head:
                        await self._fill_hole(number)
                elif self._may_be_taken(number, item, version):
                    found.append(Takeable(number, item, version))
            absent = _absent_in_a_row(absent, items)
            if len(found) >= _ENOUGH or absent >= _MOST_ABSENT:
                break
        self._forget_settled(seen)
        await self._move_on(at, head, seen, urgent=not found)
        return found

    async def size(self) -> int:
        """Return the number of open jobs: waiting, delayed, or being worked on."""
        _, _, numbers = await self._open_numbers()
        count = absent = 0
        for page in _pages(numbers):
            items = await self._read_page(page)
            count += sum(item is not None and not item.is_tombstone for item, _ in items.values())
            absent = _absent_in_a_row(absent, items)
            if absent >= _MOST_ABSENT:
                break
        return count

    # Numbers.

    @property
    def _next_key(self) -> str:
        return f"{self._name}/next"

    @property
    def _head_key(self) -> str:
        return f"{self._name}/head"

    async def _draw_many(self, amounts: list[int]) -> list[int | Exception]:
        async def change(entry: Entry | None) -> tuple[int, TTL | None, list[int | Exception]]:
            # If `next` was evicted, the queue continues after its head: items before the head would never be found.
            first = (await self._read_head())[1].head if entry is None else self._number(entry)
            return first + len(amounts), None, list(range(first, first + len(amounts)))

        return await optimistic_update(self._store, self._collection, self._next_key, change, self._last_number)

    async def _open_numbers(self) -> tuple[Entry | None, QueueHead, Iterator[int]]:
        at, head = await self._read_head()
        entry = await self._store.get_entry(self._collection, self._next_key)
        end = 0 if entry is None else self._number(entry)
        return at, head, chain(head.behind, range(head.head, end))

    async def _read_head(self) -> tuple[Entry | None, QueueHead]:
        entry = await self._store.get_entry(self._collection, self._head_key)
        return entry, head_of(entry, self.describe(self._head_key))

    def _number(self, entry: Entry) -> int:
        number = entry.value
        if not is_number(number):
            raise IntegrityError(f"{self.describe(self._next_key)} holds something that no Queue wrote")
        return number

    # Items.

    def _item(self, number: int, entry: Entry) -> Item:
        return item_of(entry, self.describe(self.key(number)))

    async def _read_page(self, numbers: Sequence[int]) -> dict[int, tuple[Item | None, str]]:
        """Return the items of a page; items known to be delayed are not read again before their time."""
        now = self._clock()
        keys = {self.key(number): number for number in numbers if not self._is_delayed(number, now)}
        entries = await self._store.get_entries(self._collection, keys) if keys else {}
        page: dict[int, tuple[Item | None, str]] = {}
        for number in numbers:
            delayed, entry = self._delayed.get(number), entries.get(self.key(number))
            if delayed is not None:
                page[number] = delayed, ""
            elif entry is None:
                page[number] = None, ""
            else:
                item = self._item(number, entry)
                page[number] = item, entry.version
                if item.state == "ready" and item.not_before > now:
                    self._delayed[number] = Item("ready", not_before=item.not_before)
        return page

    def _is_delayed(self, number: int, now: float) -> bool:
        item = self._delayed.get(number)
        if item is not None and item.not_before <= now:
            del self._delayed[number]
            return False
        return item is not None

    def _may_be_taken(self, number: int, item: Item, version: str) -> bool:
        if item.state == "ready":
            return item.not_before <= self._clock() and bool(version)
        if item.state in ("taken", "dying"):
            return self._observations.elapsed(str(number), version) >= item.lease
        return False

    def _forget_settled(self, seen: dict[int, tuple[Item | None, str]]) -> None:
        """Stop observing the items up to the last one seen that are there and are nobody's."""
        last = max(seen, default=-1)
        for name in self._observations:
            number = int(name.partition(" ")[0])
            item = seen.get(number, (_GONE, ""))[0]
            is_open = item is None if name.endswith(_ABSENT) else item is not None and item.state in ("taken", "dying")
            if number <= last and not is_open:
                self._observations.forget(name)

    async def _fill_hole(self, number: int) -> None:
        if self._observations.elapsed(f"{number}{_ABSENT}", "") >= _HOLE_SECONDS:
            void = Item("void").record()
            await self._store.put_if_absent(self._collection, self.key(number), void, ttl=_VOID_TTL)

    # The head.

    async def _move_on(
        self, at: Entry | None, head: QueueHead, seen: dict[int, tuple[Item | None, str]], *, urgent: bool
    ) -> None:
        """Move the head past finished items, and delete the tombstones behind it."""
        finished = [number for number in head.behind if number in seen and _is_over(seen[number][0])]
        new, passed = _advance(head.head, seen, _MOST_BEHIND - len(head.behind) + len(finished))
        if not finished and new - head.head < (1 if urgent else _ENOUGH):
            return
        await self._delete([(number, seen[number][1]) for number in finished if seen[number][0] is not None])
        behind = sorted({*head.behind, *passed}.difference(finished))
        head = QueueHead(new, head.swept, tuple(behind))
        version = await self._write_head(head, None if at is None else at.version)
        if version is not None:
            await self._sweep(head, version)

    async def _sweep(self, head: QueueHead, version: str) -> None:
        end = min(head.head, head.swept + _SWEEP)
        behind = set(head.behind)
        for page in _pages(number for number in range(head.swept, end) if number not in behind):
            keys = {self.key(number): number for number in page}
            entries = await self._store.get_entries(self._collection, keys)
            items = {keys[key]: (self._item(keys[key], entry), entry.version) for key, entry in entries.items()}
            await self._delete([(number, at) for number, (item, at) in items.items() if item.state == "done"])
            for number, (item, _) in items.items():
                if item.state == "void":  # a push that drew this number may still be paused
                    await self._store.touch(self._collection, self.key(number), ttl=_VOID_TTL)
        await self._write_head(QueueHead(head.head, end, head.behind), version)

    async def _delete(self, tombstones: Iterable[tuple[int, str]]) -> None:
        deletions = [
            self._store.compare_and_delete(self._collection, self.key(number), version=version)
            for number, version in tombstones
        ]
        await asyncio.gather(*deletions)

    async def _write_head(self, head: QueueHead, version: str | None) -> str | None:
        if version is None:
            return await self._store.put_if_absent(self._collection, self._head_key, head.record())
        return await self._store.compare_and_put(self._collection, self._head_key, head.record(), version=version)


def _absent_in_a_row(before: int, page: dict[int, tuple[Item | None, str]]) -> int:
    """Return the number of absent items in a row, in whole pages, up to the end of a page."""
    return before + len(page) if all(item is None for item, _ in page.values()) else 0


def _is_over(item: Item | None) -> bool:
    return item is None or item.is_tombstone


def _advance(start: int, seen: dict[int, tuple[Item | None, str]], room: int) -> tuple[int, list[int]]:
    """Return the furthest possible head, and the open items that it passes."""
    head, passed = start, list[int]()
    number, tombstones, open_items = start, 0, list[int]()
    while number in seen and (item := seen[number][0]) is not None and len(open_items) <= room:
        if item.is_tombstone:
            tombstones += 1
            if tombstones >= _TOMBSTONES_FOR_EACH_BEHIND * len(open_items):
                head, passed = number + 1, open_items.copy()
        else:
            open_items.append(number)
        number += 1
    return head, passed


def _pages(numbers: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(numbers)
    while page := list(islice(rest, PAGE)):
        yield page
