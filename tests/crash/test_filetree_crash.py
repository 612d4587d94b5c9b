"""A killed writer loses nothing that it was told is done, tears nothing, and leaves no litter."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from satchel.backend.base import ChangeResult, Condition, WriteResult
from satchel.backend.record import Record
from satchel.names import Ref
from satchel.stores.filetree import FileTreeStore
from tests.crash.harness import write_and_kill

pytestmark = pytest.mark.long

STORE = "tests.crash.test_filetree_crash:MixedStore"
QUICK = range(5)
LONG = range(100, 120)
NIGHT = range(120, 200)

modes = pytest.mark.parametrize("mode", ["changes", "destroys", "culls"])


class MixedStore(FileTreeStore):
    """Writes about half of all entries as MessagePack, in binary files: many change from one kind to the other."""

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        return await super()._write([(ref, mixed(record)) for ref, record in records])

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        return await super()._put_if([(ref, mixed(record), condition) for ref, record, condition in items], now)


def mixed(record: Record) -> Record:
    if int(record.version, 16) % 2:
        return record
    packed = msgspec.msgpack.encode(msgspec.json.decode(record.payload))
    return msgspec.structs.replace(record, payload=packed, codec=2).sealed(record.names)


def crash(mode: str, seed: int, directory: Path) -> None:
    journal = write_and_kill(mode, STORE, seed, data_directory=str(directory))

    async def check() -> None:
        async with FileTreeStore(directory) as store:
            await journal.check(store)

    asyncio.run(check())
    check_files(directory)


def check_files(directory: Path) -> None:
    entries = [path for path in directory.rglob("*") if path.is_file() and ".satchel" not in path.parts]
    assert {path.suffix for path in entries} <= {".json", ".bin"}
    assert len({path.with_suffix("") for path in entries}) == len(entries), "an entry has two files"
    metadata = {path.name for path in (directory / ".satchel").iterdir()}
    assert metadata == {"format.json", "lock", "locks"}
    locks = {path.stem for path in (directory / ".satchel" / "locks").iterdir()}
    assert {path.name for path in directory.iterdir()} == locks | {".satchel"}


@modes
@pytest.mark.parametrize("seed", QUICK)
def test_a_killed_writer_loses_nothing(mode: str, seed: int, tmp_path: Path) -> None:
    crash(mode, seed, tmp_path)


@pytest.mark.long
@modes
@pytest.mark.parametrize("seed", LONG)
def test_killed_writers_lose_nothing(mode: str, seed: int, tmp_path: Path) -> None:
    crash(mode, seed, tmp_path)


@pytest.mark.night
@modes
@pytest.mark.parametrize("seed", NIGHT)
def test_killed_writers_lose_nothing_in_a_hundred_rounds(mode: str, seed: int, tmp_path: Path) -> None:
    crash(mode, seed, tmp_path)
