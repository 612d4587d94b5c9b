"""What type checkers make of coordination. This file is checked, not run."""

from dataclasses import dataclass
from typing import assert_type

from satchel import MemoryStore
from satchel.coordination import Counter, Once, RateLimit, Verdict

store = MemoryStore()


@dataclass
class Receipt:
    total: int


async def charge() -> Receipt:
    return Receipt(3)


async def used() -> None:
    assert_type(await Once(store).run("k", charge), Receipt)
    assert_type(await Once(store).run("k", charge, model=Receipt), Receipt)
    assert_type(await Counter(store, "visits", ttl=60).increment(), int)
    limit = RateLimit(store, "login", limit=5, per=60)
    assert_type(await limit.hit("ada"), Verdict)
    async with limit.wait("ada", cost=2) as verdict:
        assert_type(verdict, Verdict)
