"""Every test runs with a detector of calls that block the event loop."""

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def blocking_detector() -> Iterator[BlockBuster]:
    with blockbuster_ctx("satchel") as detector:
        yield detector
