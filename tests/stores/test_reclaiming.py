"""What has expired is gone from the file or table of a process in which nothing happens any more."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from satchel import DiskStore, ElasticsearchStore, FileTreeStore, PostgreSQLStore, SQLStore
from satchel.backend import reclaiming
from satchel.testing import FakeClock
from tests.patience import until
from tests.servers import server_url

COLLECTION = f"c{uuid.uuid4().hex[:8]}"
MAKERS = {
    "disk": lambda directory, clock: DiskStore(directory / "data", clock=clock),
    "file": lambda directory, clock: FileTreeStore(directory / "data", clock=clock),
    "postgresql": lambda _, clock: PostgreSQLStore(url=server_url("postgresql"), table_name="reclaiming", clock=clock),
    "mariadb": lambda _, clock: SQLStore(url=server_url("mariadb"), table_name="reclaiming", clock=clock),
    "elasticsearch": lambda _, clock: ElasticsearchStore(
        server_url("elasticsearch"), index_prefix="reclaiming", clock=clock
    ),
}
EMBEDDED = ["disk", "file"]
WAYS = [name if name in EMBEDDED else pytest.param(name, marks=pytest.mark.server(name)) for name in MAKERS]


@pytest.mark.parametrize("engine", WAYS)
@pytest.mark.parametrize("process", ["the same", "a later one"])
async def test_an_idle_process_reclaims(engine: str, process: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reclaiming, "PERIOD", 0.01)
    make, clock = MAKERS[engine], FakeClock()
    async with make(tmp_path, FakeClock()) as witness:  # by its clock nothing ever expires
        store = make(tmp_path, clock)
        await store.destroy_collection(COLLECTION)
        await store.put_many(COLLECTION, {f"{number}": number for number in range(30)}, ttl=60)
        await store.put(COLLECTION, "later", 1, ttl=6000)
        await store.put(COLLECTION, "stays", 1)
        if process == "a later one":
            await store.aclose()
            store = make(tmp_path, clock)
            await store.ping()
        assert len([key async for key in witness.keys(COLLECTION)]) == 32
        clock.advance(60)
        await until(lambda: holds(witness, {"later", "stays"}))
        clock.advance(6000)
        await until(lambda: holds(witness, {"stays"}))
        assert await store.get(COLLECTION, "stays") == 1
        await store.destroy_collection(COLLECTION)
        await store.aclose()


async def holds(witness: Any, names: set[str]) -> bool:
    return {key async for key in witness.keys(COLLECTION)} == names
