"""What type checkers make of `get_or_put` and of cached functions. This file is checked, not run."""

from typing import Any, assert_type

from satchel import MemoryStore, Tags
from satchel.caching import Cached, CachedMany, cached, cached_many
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


def find_store() -> MemoryStore:
    return MemoryStore()


def tags_of(number: int) -> list[str]:
    return [str(number)]


@cached(find_store, "films", ttl=lambda film: 60, when=bool, timeout=5, on_error="stale", stale=5, tags=tags_of)
async def found_late(number: int) -> list[int]:
    return [number]


@cached_many(find_store, "films", ttl=60, tags=lambda n: [str(n)])
async def years(numbers: list[int]) -> dict[int, str]:
    return {number: str(number) for number in numbers}


@cached_many(store, "films", model=str)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def contradicting_many(numbers: list[int]) -> dict[int, int]:
    return {number: number for number in numbers}


class Shop:
    @cached(store, "films", ignore=("self",))
    async def price(self, number: int) -> float:
        return number / 100


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


async def used_more(shop: Shop) -> None:
    assert_type(await found_late(5), list[int])
    assert_type(await found_late.refresh(5), list[int])
    assert_type(await found_late.peek(5), list[int] | None)
    assert_type(await shop.price(5), float)
    assert_type(await shop.price.refresh(5), float)
    many: CachedMany[int, str] = years
    assert_type(await many([5]), dict[int, str])
    assert_type(await many(numbers=[5]), dict[int, str])
    assert_type(await years.peek([5]), dict[int, str])
    assert_type(await years.invalidate([5]), int)
    assert_type(years.key_for(5), str)
    await Tags(store).invalidate("a", "b")


async def got() -> None:
    assert_type(await store.get_or_put("c", "k", made, ttl=5), dict[str, int])
    assert_type(await store.get_or_put("c", "k", lambda: title(5)), str | None)
    assert_type(await store.get("c", "k", 5), Any | int)
