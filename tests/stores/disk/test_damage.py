"""A disk store refuses what is not its own, or damaged; it never gives back another value."""

import asyncio
import random
from pathlib import Path

import pytest

from satchel import BatchError, ConfigurationError, IntegrityError
from satchel.stores.disk import DiskStore
from tests.stores.disk.entries import ENTRIES, contents, fill, listed, open_file


async def test_another_programs_database_is_refused_and_untouched(tmp_path: Path) -> None:
    with open_file(tmp_path) as database:
        database.execute("CREATE TABLE other (value)")
    before = (tmp_path / "satchel.sqlite3").read_bytes()
    with pytest.raises(ConfigurationError, match="another program; give DiskStore a directory of its own"):
        await DiskStore(tmp_path).put("a", "k", 1)
    assert (tmp_path / "satchel.sqlite3").read_bytes() == before
    assert listed(tmp_path) == ["satchel.sqlite3"]


async def test_a_file_that_is_no_database_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "satchel.sqlite3").write_bytes(b"something else" * 1000)
    with pytest.raises(IntegrityError, match="restore it from a backup, or move it away"):
        await DiskStore(tmp_path).put("a", "k", 1)
    assert (tmp_path / "satchel.sqlite3").read_bytes() == b"something else" * 1000


def damaged_copies(directory: Path, count: int) -> list[Path]:
    """Return databases in each of which one bit is flipped, or the end is missing."""

    async def write() -> None:
        async with DiskStore(directory / "whole") as store:
            await fill(store)

    asyncio.run(write())
    chance = random.Random(count)
    whole = (directory / "whole" / "satchel.sqlite3").read_bytes()
    copies = []
    for number in range(count):
        copy = directory / str(number)
        copy.mkdir()
        damaged = bytearray(whole)
        if number % 10:
            damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        else:
            del damaged[chance.randrange(1, len(whole)) :]
        (copy / "satchel.sqlite3").write_bytes(damaged)
        copies.append(copy)
    return copies


async def damage_seen(directory: Path) -> int:
    """Read everything, and return how many reads were refused; what is not refused must be right or absent."""
    refused = 0
    async with DiskStore(directory) as store:
        for (collection, key), value in ENTRIES.items():
            try:
                found = await store.get(collection, key, "absent")
            except (IntegrityError, ConfigurationError):
                refused += 1
            else:
                assert type(found) is type(value) or found == "absent"
                assert found in (value, "absent")
        try:
            found_all = await contents(store)
        except (IntegrityError, ConfigurationError):
            refused += 1
        else:
            # A damaged tree may list a name that is not found in it.
            assert all(value in (ENTRIES[name], "absent") for name, value in found_all.items() if name in ENTRIES)
    return refused


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "count", [100, pytest.param(600, marks=pytest.mark.long), pytest.param(3000, marks=pytest.mark.night)]
)
def test_damage_is_refused_and_never_read_as_another_value(count: int, tmp_path: Path) -> None:
    refused = [asyncio.run(damage_seen(copy)) for copy in damaged_copies(tmp_path, count)]
    assert sum(map(bool, refused)) > count // 3


async def test_damage_that_sqlite_quotes_in_its_message_is_refused(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", 1)
    file = tmp_path / "satchel.sqlite3"
    file.write_bytes(file.read_bytes().replace(b"satchel_expiring", b"satchel_expir\xec(g"))
    with pytest.raises(IntegrityError, match="restore it from a backup"):
        await DiskStore(tmp_path).get("a", "k")


@pytest.mark.parametrize(
    "change",
    [
        "payload = x'22782022'",
        "deadline = 5000000000.5",
        "deadline = 'text'",
        "codec = 7",
        "version = x'00'",
        "updated_at = 1",
        "checksum = 0",
        "payload = NULL",
        "payload = 3",
        "key = 'other', collection = 'elsewhere'",
    ],
)
async def test_a_row_changed_by_hand_is_refused(change: str, tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", {"x": 1}, ttl=1000)
        await store.put("a", "whole", 1)
        with open_file(tmp_path) as database:
            database.execute(f"UPDATE satchel_entries SET {change} WHERE key = 'k'")  # noqa: S608  # one of those above
        name = ("elsewhere", "other") if "key" in change else ("a", "k")
        with pytest.raises(IntegrityError):
            await store.get(*name)
        assert await store.get("a", "whole") == 1
        await store.put(*name, 2)
        assert await store.get(*name) == 2


@pytest.mark.parametrize(
    "change",
    [
        "satchel_payloads SET payload = substr(payload, 2)",
        "satchel_payloads SET payload = CAST('x' || substr(payload, 2) AS BLOB)",
        "satchel_payloads SET payload = 3",
        "satchel_payloads SET id = id + 1",
        "satchel_entries SET large = 'elsewhere'",
        "satchel_entries SET large = 1.5",
    ],
)
async def test_a_large_value_changed_by_hand_is_refused(change: str, tmp_path: Path) -> None:
    value = bytes(range(256)) * 8192
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", value)
        assert await store.get("a", "k") == value
        with open_file(tmp_path) as database:
            database.execute("DROP TRIGGER satchel_replaced")
            database.execute(f"UPDATE {change}")  # it is one of those above
        with pytest.raises(IntegrityError):
            await store.get("a", "k")
        assert await store.get_many("a", ["other"]) == {}


async def test_a_batch_gives_what_is_there_and_names_what_is_damaged(tmp_path: Path) -> None:
    values = {f"k{number}": b"%d" % number * (1 + number % 3 * 300) for number in range(230)} | {"huge": b"h" * 2**21}
    async with DiskStore(tmp_path, cache_size=0) as store:
        await store.put_many("a", values)
        names = ["absent", *reversed(values), *(f"absent{number}" for number in range(30))]
        found = await store.get_many("a", names)
        assert list(found.items()) == [*reversed(values.items())]
        with open_file(tmp_path) as database:
            database.execute("UPDATE satchel_entries SET checksum = 0 WHERE key IN ('k7', 'k120')")
            database.execute("DELETE FROM satchel_payloads WHERE length(payload) > 1000000")
        with pytest.raises(BatchError) as caught:
            await store.get_entries("a", names)
        assert set(caught.value.failed) == {"k7", "k120", "huge"}
        entries = await store.get_entries("a", [f"k{number}" for number in range(100, 230) if number != 120])
        assert {key: entry.value for key, entry in entries.items()} == {key: values[key] for key in entries}
        assert len(entries) == 129


async def test_exists_does_not_look_at_the_value(tmp_path: Path) -> None:
    async with DiskStore(tmp_path) as store:
        await store.put("a", "k", b"x" * 2_000_000)
        with open_file(tmp_path) as database:
            database.execute("DELETE FROM satchel_payloads")
            with pytest.raises(IntegrityError):
                await store.get("a", "k")
            assert await store.exists("a", "k")
            database.execute("UPDATE satchel_entries SET deadline = 1")
        with pytest.raises(IntegrityError):
            await store.exists("a", "k")
