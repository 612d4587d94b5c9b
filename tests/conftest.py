"""Every test runs with a detector of calls that block the event loop; TEST_PROFILE says how much is tested.

quick: few examples, no tests marked long, none that need a server; default: everything but what is marked night; long:
many examples, and those, for a night. A test marked `server("redis")` needs that server: where there is none, it is
left out and the summary says so, but with CI set it runs and fails.
"""

import gc
import os
import signal
from collections.abc import Generator, Iterable, Iterator
from itertools import count
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from hypothesis import settings

from satchel.testing.blocking import blocking_detected
from scripts.test_servers.kinds import KINDS
from tests.servers import is_missing, must_be_tested

DIRECTORIES = count()
PROFILES = {"quick": 10, "default": 100, "long": 2000}
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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()  # almost nothing of what is made here is garbage, and looking for it takes a fifth of the time
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_pycollect_makeitem(collector: pytest.Collector, obj: object) -> list[pytest.Item] | None:
    # Before its tests are made: that takes most of a millisecond for each, in every worker.
    marks = getattr(obj, "pytestmark", [])
    if not isinstance(marks, list):  # of an object that has every attribute
        return None
    own = [mark for mark in marks if isinstance(mark, pytest.Mark)]
    if is_left_out([*collector.iter_markers(), *own]):
        return []
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        (left_out if is_left_out(item.iter_markers()) else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_collection_finish() -> None:
    keep_out_of_collections()


def keep_out_of_collections() -> None:
    """Take what is there out of each later collection of garbage, of which there are many: a third of a second each."""
    gc.collect()  # so that no garbage is kept, and what it warns of is not lost
    gc.freeze()


def is_left_out(marks: Iterable[pytest.Mark]) -> bool:
    marks = list(marks)
    names = {mark.name for mark in marks}
    if "night" in names and profile() != "long":
        return True
    servers = [name for mark in marks if mark.name == "server" for name in mark.args]
    if profile() == "quick" and (servers or "long" in names):
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
    keep_out_of_collections()  # reports and fixtures of the modules before, and what these have imported
    with blocking_detected() as detector:
        # PyMongo looks for a file /.dockerenv at each new server, on the event loop, and has no option against it.
        detector.functions["os.stat"].can_block_in("pymongo/pool_options.py", "get_container_env_info")
        # asyncmy reads its version from a file where it is imported.
        detector.functions["io.TextIOWrapper.read"].can_block_in("importlib/metadata/__init__.py", "read_text")
        yield detector


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Make an empty directory, without the link beside it that pytest's own fixture renews: that costs most of it."""
    name, worker = request.node.name.partition("[")[0][:24], os.environ.get("PYTEST_XDIST_WORKER", "")
    made = tmp_path_factory.getbasetemp() / f"{name}_{worker}{next(DIRECTORIES)}"
    made.mkdir(mode=0o700)
    return made
