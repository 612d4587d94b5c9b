from collections.abc import Iterator

import pytest

from tests.fuzz import harness


@pytest.fixture(scope="module", autouse=True)
def loop_of_the_targets() -> Iterator[None]:
    yield
    harness.close()
