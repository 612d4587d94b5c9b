"""Tries an installed satchel that stands alone: nothing but the wheel and what it depends on is there."""

import asyncio
import importlib.util
from importlib import metadata, resources
from pathlib import Path

import satchel


async def put_and_get() -> object:
    store = satchel.MemoryStore()
    await store.put("numbers", "one", 1)
    found = await store.get("numbers", "one")
    await store.aclose()
    return found


def main() -> None:
    checkout = Path(__file__).resolve().parents[2]
    assert not Path(satchel.__file__).is_relative_to(checkout / "src"), "this is the checkout, not the wheel"
    assert resources.files("satchel").joinpath("py.typed").is_file(), "py.typed is missing"
    assert metadata.version("satchel") == satchel.__version__
    assert all(hasattr(satchel, name) for name in satchel.__all__)
    assert importlib.util.find_spec("pydantic") is None, "an extra is installed, so this shows less than it should"
    assert asyncio.run(put_and_get()) == 1


main()
