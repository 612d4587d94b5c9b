"""What type checkers make of `get_or_put` and of cached functions. This file is checked, not run."""

from typing import Any, assert_type

from satchel import MemoryStore
from satchel.caching import Cached, cached
from satchel.wrappers import SingleFlightWrapper

store = SingleFlightWrapper(MemoryStore())


@cached(MemoryStore(), "films", ttl=60)
async def title(number: int, *, upper: bool = False) -> str | None:
    return str(number) if upper else None


def key_of(_films: object, number: int) -> str:
    return str(number)


class Films:
    @cached(store, "films", ttl=60, stale=5, early=1.0, key=key_of)
    async def title(self, number: int) -> str:
        return str(number)

    @staticmethod
    @cached(store, "films", model=dict[str, int])
    async def years(number: int) -> dict[str, int]:
        return {"released": number}


@cached(store, "films", model=str | None)
async def of_a_union(number: int) -> str | None:
    return str(number)


@cached(store, "films", model=str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def contradicting(number: int) -> int:
    return number


@cached(store, "films", model=list[str])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def contradicting_inside(number: int) -> list[int]:
    return [number]


async def made() -> dict[str, int]:
    return {}


async def used(films: Films) -> None:
    assert_type(await title(1), str | None)
    assert_type(await of_a_union(1), str | None)
    assert_type(await title(1, upper=True), str | None)
    assert_type(title.key_for(number=1), str)
    assert_type(await title.invalidate(1), bool)
    assert_type(await films.title(1), str)
    bound: Cached[[int], str] = films.title
    assert_type(await bound(1), str)
    assert_type(await films.title.invalidate(1), bool)
    assert_type(films.title.key_for(1), str)
    assert_type(await Films.years(5), dict[str, int])
    assert_type(await Films.title(films, 5), str)


async def got() -> None:
    assert_type(await store.get_or_put("c", "k", made, ttl=5), dict[str, int])
    assert_type(await store.get_or_put("c", "k", lambda: title(5)), str | None)
    assert_type(await store.get("c", "k", 5), Any | int)
