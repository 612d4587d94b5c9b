"""Plain functions over a `SyncStore`: called without `await`, and run in the thread of their caller."""

import contextlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from satchel import MemoryStore
from satchel.content import Calls, ContentStore, memoize
from satchel.errors import ConfigurationError, KeyMissingError, StoreError, StoreUnavailableError
from satchel.sync import SyncStore, in_sync
from tests.content.calls.functions import Model, double, halve


@pytest.fixture
def sync():
    with SyncStore(MemoryStore()) as store:
        yield store


@pytest.fixture
def calls(sync):
    return Calls(ContentStore(sync.inner))


def test_a_plain_function_is_called_without_await(calls, sync, ran):
    memoized = memoize(calls, sync=sync)(halve)
    assert memoized(3) == memoized(x=3) == 1.5
    assert ran == [3]
    assert memoized.contains(3)
    assert memoized.load(3) == 1.5
    with pytest.raises(KeyMissingError):
        memoized.load(4)
    assert memoized.rerun(3) == 1.5
    assert ran == [3, 3]
    assert memoized.digest(3) == memoized.digest(x=3)
    assert memoized.call(3).arguments == {"x": 3}
    assert repr(memoized).startswith("<memoized <function halve")


def test_recorded_calls_are_queried_without_await(calls, sync, ran):
    memoized = memoize(calls, sync=sync)(halve)
    memoized(3), memoized(4)
    assert sorted(call.argument("x") for call in memoized.query()) == [3, 4]
    call = memoized.query({"x": 3}).only()
    assert (call.result(), call.arguments(), call.digest) == (1.5, {"x": 3}, memoized.digest(3))
    assert memoized.query().filter(lambda call: call.metadata["runtime"]["seconds"] >= 0).count() == 2
    face = in_sync(calls, sync)
    assert face.load(memoized.digest(4)).result() == 2.0
    assert face.query(fn=memoized).take(1).delete() == 1
    assert len(list(memoized.query().results())) == 1


def test_it_runs_in_the_thread_of_its_caller(calls, sync):
    def which():
        return threading.get_ident()

    assert memoize(calls, sync=sync, name="which")(which)() == threading.get_ident()


def test_a_function_may_call_itself_as_deeply_as_python_allows(calls, sync):
    runs = []

    def fibonacci(n):
        runs.append(n)
        return n if n < 2 else memoized(n - 1) + memoized(n - 2)

    memoized = memoize(calls, sync=sync, name="fibonacci")(fibonacci)
    assert memoized(60) == 1548008755920
    assert sorted(runs) == list(range(61))


def test_a_function_that_asks_for_its_own_result_is_refused(calls, sync):
    def loop():
        return memoized()

    memoized = memoize(calls, sync=sync, name="loop")(loop)
    with pytest.raises(ConfigurationError, match="loop waits for its own result"):
        memoized()


@pytest.mark.parametrize("across_processes", [False, True])
def test_threads_run_a_first_call_once(calls, sync, across_processes):
    runs, go = [], threading.Barrier(8)

    def work(x):
        runs.append(x)
        return [x]

    memoized = memoize(calls, sync=sync, name="work", across_processes=across_processes)(work)

    def call(_):
        go.wait()
        return memoized(1)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(call, range(8)))
    assert results == [[1]] * 8
    assert len({id(result) for result in results}) == 8
    assert runs == [1]


def test_threads_share_an_error(calls, sync):
    inside, go = threading.Event(), threading.Event()
    runs = []

    def fail():
        runs.append(1)
        inside.set()
        go.wait()
        raise ValueError("no")

    memoized = memoize(calls, sync=sync, name="fail")(fail)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(memoized)
        inside.wait()
        follower = pool.submit(memoized)
        while not _is_waiting(memoized):
            time.sleep(0.001)
        go.set()
        errors = [leader.exception(), follower.exception()]
    assert [str(error) for error in errors] == ["no", "no"]
    with pytest.raises(ValueError, match="no"):
        memoized()


def _is_waiting(memoized):
    flights = memoized._flights._under_way.values()
    return any(future._condition._waiters for _, future in flights)


def test_an_interrupted_run_leaves_the_call_to_the_next(calls, sync):
    runs = []

    def work():
        runs.append(1)
        if len(runs) == 1:
            raise KeyboardInterrupt
        return "done"

    memoized = memoize(calls, sync=sync, name="work")(work)
    with contextlib.suppress(KeyboardInterrupt):
        memoized()
    assert memoized() == "done"


def test_a_result_is_returned_where_the_backend_fails(ran):
    class Failing(MemoryStore):
        async def put(self, collection, *args, **options):
            if collection == "calls":
                raise StoreUnavailableError("down", store="test", operation="put")
            await super().put(collection, *args, **options)

    with SyncStore(Failing()) as sync:
        memoized = memoize(Calls(ContentStore(sync.inner)), sync=sync)(halve)
        assert memoized(3) == memoized(3) == 1.5
    assert ran == [3, 3]


def test_methods_take_their_object_as_an_argument(calls, sync):
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def __digest__(self):
            return self.factor

        @memoize(calls, sync=sync, ignore=["self"], name="Scale.same")
        def same(self, x):
            return x * self.factor

    assert Scale(2).same(3) == Scale(5).same(3) == 6
    assert Scale(2).same.query().count() == 1


def test_calls_over_another_store_are_refused(sync):
    with pytest.raises(ConfigurationError, match=r"make them with sync\.inner"):
        memoize(Calls(ContentStore(MemoryStore())), sync=sync)(halve)


async def test_a_call_that_would_block_the_event_loop_names_the_function(calls, sync):
    memoized = memoize(calls, sync=sync, name="halved")(halve)
    with pytest.raises(StoreError, match=r"halved of .* would block the event loop"):
        memoized(2)


def test_an_async_function_is_refused(calls, sync):
    with pytest.raises(ConfigurationError, match=r"double is async, so it must be awaited: leave sync= out"):
        memoize(calls, sync=sync)(double)
    with pytest.raises(ConfigurationError, match="is async"):
        memoize(calls, sync=sync)(Model.predict)


SCRIPT = """
import sys
from satchel import DiskStore
from satchel.content import Calls, ContentStore, memoize
from satchel.sync import SyncStore

with SyncStore(DiskStore(sys.argv[1])) as store:
    @memoize(Calls(ContentStore(store.inner)), sync=store)
    def f(x):
        print("ran", end=" ")
        return NAME
    print(f(1), f.call_name)
"""


@pytest.mark.long
def test_scripts_of_different_names_do_not_take_each_others_results(tmp_path):
    shown = []
    for name in ("one", "two", "one"):
        script = tmp_path / f"{name}.py"
        script.write_text(SCRIPT.replace("NAME", repr(name)))
        done = subprocess.run([sys.executable, script, tmp_path / "store"], capture_output=True, text=True, check=True)
        shown.append(done.stdout.strip())
    assert shown == ["ran one one.f", "ran two two.f", "one one.f"]
