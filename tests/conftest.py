"""Every test runs with a detector of calls that block the event loop; TEST_PROFILE says how much is tested.

quick: few examples, no tests marked long, none that need a server; default: everything but what is marked night; long:
many examples, and those, for a night. A test marked `server("redis")` needs that server: where there is none, it is
left out and the summary says so, but with CI set it runs and fails.
"""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster
from hypothesis import settings

from satchel.testing.blocking import blocking_detected
from scripts.test_servers.kinds import KINDS
from tests.servers import is_missing, must_be_tested

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
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the programs that tests interrupt inherit it


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (left_out if is_left_out(item) else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_collection_finish() -> None:
    # All that is there by now, drivers and tests, stays to the end. Left where it is, it would be gone over by each
    # collection of garbage, of which there are many: a third of a second each.
    gc.collect()
    gc.freeze()


def is_left_out(item: pytest.Item) -> bool:
    if item.get_closest_marker("night") and profile() != "long":
        return True
    servers = [name for mark in item.iter_markers("server") for name in mark.args]
    if profile() == "quick" and (servers or item.get_closest_marker("long")):
        return True
    return any(map(is_missing, servers)) and not must_be_tested()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = [name for name in KINDS if is_missing(name)]
    if profile() == "quick":
        terminalreporter.write_line("not tested: whatever needs a server (the quick profile)")
    elif missing:
        names = " ".join(missing)
        terminalreporter.write_line(f"not tested: {names} (no URL; export $(python3 scripts/servers start {names}))")


@pytest.fixture(autouse=True, scope="module")  # it costs a millisecond to set up
def blocking_detector() -> Iterator[BlockBuster]:
    with blocking_detected() as detector:
        # PyMongo looks for a file /.dockerenv at each new server, on the event loop, and has no option against it.
        detector.functions["os.stat"].can_block_in("pymongo/pool_options.py", "get_container_env_info")
        yield detector
