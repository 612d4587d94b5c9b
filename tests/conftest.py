"""Every test runs with a detector of calls that block the event loop; TEST_PROFILE says how much is tested.

quick: few examples, no tests marked long; default: everything; long: many examples, for a night.
"""

import os
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

PROFILES = {"quick": 20, "default": 100, "long": 2000}
for name, examples in PROFILES.items():
    # No deadline: how fast a machine is must not decide whether a test passes.
    settings.register_profile(name, max_examples=examples, deadline=None, print_blob=True)


def profile() -> str:
    return os.environ.get("TEST_PROFILE", "default")


def pytest_configure() -> None:
    if profile() not in PROFILES:
        raise pytest.UsageError(f"TEST_PROFILE is {profile()!r}; it may be {', '.join(PROFILES)}")
    settings.load_profile(profile())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if profile() != "quick":
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(autouse=True)
def blocking_detector() -> Iterator[BlockBuster]:
    with blockbuster_ctx("satchel") as detector:
        yield detector
