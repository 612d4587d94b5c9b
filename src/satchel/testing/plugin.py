"""A pytest plugin: the fixture `satchel_store`, an empty store for each test, once for each URL that is configured.

In the top-level `conftest.py`:

    pytest_plugins = ["satchel.testing.plugin"]

The option `satchel_urls` of pytest's configuration has the URLs, one a line; without it there is `memory://` alone. In
a URL, `{tmp_path}` stands for the test's temporary directory.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ..capability import Capability
from ..protocol import SupportsEverything, require
from ..url import open_store
from ..wrappers.prefix_collections import PrefixCollectionsWrapper

_OPTION = "satchel_urls"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the stores."""
    parser.addini(_OPTION, "URLs of the stores that satchel_store opens", type="linelist", default=["memory://"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses the fixture once for each URL."""
    if "satchel_url" in metafunc.fixturenames:
        metafunc.parametrize("satchel_url", metafunc.config.getini(_OPTION))


@pytest_asyncio.fixture
async def satchel_store(satchel_url: str, tmp_path: Path) -> AsyncIterator[SupportsEverything]:
    """Give an open store in which there is nothing, and remove what the test has left in it."""
    async with open_store(satchel_url.replace("{tmp_path}", tmp_path.as_posix())) as inner:
        store = PrefixCollectionsWrapper(inner, prefix=f"test-{uuid.uuid4().hex[:12]}-")
        yield store
        if Capability.DESTROY_COLLECTION | Capability.ENUMERATE_COLLECTIONS in store.capabilities:
            names = [name async for name in store.collections()]
            for name in names:
                await require(store, Capability.DESTROY_COLLECTION).destroy_collection(name)
