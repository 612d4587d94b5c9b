from collections.abc import Iterator

import pytest

from tests.stores.http.serving import Serving


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    with Serving() as serving:
        yield serving
