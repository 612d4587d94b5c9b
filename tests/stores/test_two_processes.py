"""Two processes over one place keep the promises of a store as one does."""

import asyncio

import pytest
from hypothesis import Phase, settings

from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore
from satchel.stores.git import GitStore
from satchel.testing.conformance.arguments import ArgumentPromises
from satchel.testing.conformance.concurrency import ConcurrencyPromises
from satchel.testing.conformance.conditional import ConditionalPromises
from satchel.testing.conformance.entries import EntryPromises
from satchel.testing.conformance.expiry import ExpiryPromises
from satchel.testing.conformance.listing import ListingPromises
from satchel.testing.conformance.names import NamePromises
from satchel.testing.conformance.verbs import VerbPromises
from satchel.testing.machine import check_random_operations
from tests.stores.two_processes import SecondProcess, TwoProcessStore

pytestmark = pytest.mark.long


class SeesNoOthers(DiskStore):
    """Is right in one process alone."""

    async def _open(self):
        await super()._open()
        self._foreign_commits.none_since()
        self._foreign_commits.none_since = lambda: True


@pytest.fixture(scope="module")
def second_process():
    process = SecondProcess()
    yield process
    process.close()


@pytest.fixture(autouse=True, scope="class")
def second_process_of_class(request, second_process):
    if request.cls is not None:
        request.cls.second_process = second_process


# The promises about a store as one object, on event loops and in closing, are about each process on its own.
class InTwoProcesses(
    VerbPromises,
    NamePromises,
    ExpiryPromises,
    EntryPromises,
    ConditionalPromises,
    ListingPromises,
    ConcurrencyPromises,
    ArgumentPromises,
):
    persistent = True

    # A store keeps its own writes in order. It tells a cancelled caller nothing of when a write that it had begun ends,
    # so that one of another process may come before.
    test_a_cancelled_put_never_lands_over_a_later_one = None

    def make_store(self, clock, place):
        return TwoProcessStore(self.second_process, clock, self.kind, place / "data")

    def test_random_operations_agree_with_a_dict(self, tmp_path):
        check_random_operations(self.make_store, tmp_path, persistent=True)


class TestDiskStoreInTwoProcesses(InTwoProcesses):
    kind = DiskStore


@pytest.mark.long
class TestFileTreeStoreInTwoProcesses(InTwoProcesses):
    kind = FileTreeStore


@pytest.mark.night
@pytest.mark.timeout(240)  # each write is a commit
class TestGitStoreInTwoProcesses(InTwoProcesses):
    kind = GitStore


def test_a_store_that_sees_no_commits_of_others_is_right_in_one_process_and_caught_in_two(second_process, tmp_path):
    few = settings(max_examples=5, database=None, deadline=None, report_multiple_bugs=False, phases=[Phase.generate])
    many = settings(few, max_examples=300)  # the first that fails ends it

    def in_one(clock, place):
        return SeesNoOthers(place, clock=clock)

    def in_two(clock, place):
        return TwoProcessStore(second_process, clock, SeesNoOthers, place)

    check_random_operations(in_one, tmp_path, persistent=True, chosen=few)
    with pytest.raises(AssertionError):
        check_random_operations(in_two, tmp_path, persistent=True, chosen=many)


async def test_both_processes_take_part(second_process, tmp_path):
    async with TwoProcessStore(second_process, lambda: 1_000.0, DiskStore, tmp_path) as store:
        await asyncio.gather(*(store.put("c", str(number), 1) for number in range(100)))
        assert min(store.calls.values()) > 20


async def test_opening_a_database_twice_in_one_process_takes_no_lock_off_it(second_process, tmp_path):
    async def in_second_process(method, *arguments):
        return await second_process.call((there, 0.0, method, arguments, {}))

    async with DiskStore(tmp_path) as one, DiskStore(tmp_path) as other:
        await one.put("c", "first", 1)
        await other.put("c", "second", 2)
        there = second_process.make_store(DiskStore, tmp_path)
        assert await in_second_process("get", "c", "first") == 1
        await in_second_process("aclose")  # without that lock it is the last, and removes the log that is in use
        await one.put("c", "third", 3)
        there = second_process.make_store(DiskStore, tmp_path)
        assert await in_second_process("get_many", "c", ["first", "second", "third"]) == {
            "first": 1,
            "second": 2,
            "third": 3,
        }
        await in_second_process("aclose")
