"""Memoized functions: what counts as the same call, what is recorded, and what is refused."""

import asyncio
import functools
import inspect
import math
import pickle
import threading

import pytest

from satchel import MemoryStore
from satchel.content import ANY, Calls, ContentStore, FunctionCall, digest, memoize, runtime
from satchel.content.calls import target
from satchel.content.calls.target import CallTarget
from satchel.errors import (
    ConfigurationError,
    DigestError,
    KeyMissingError,
    SerializationError,
    StoreError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from tests.content.calls import functions
from tests.content.calls.functions import Biased, Guarded, Model, add, double, fail, gather, grow, halve, positions


async def test_keywords_positions_and_defaults_make_the_same_call(calls, ran):
    memoized = memoize(calls)(add)
    assert await memoized(1, 1) == 2
    assert await memoized(1) == await memoized(x=1) == await memoized(y=1, x=1) == await memoized(1, scale=1) == 2
    assert len(ran) == 1
    assert await memoized(1, 2) == 3
    assert await memoized(1, scale=2) == 4
    assert len(ran) == 3


async def test_positional_only_arguments_are_bound_as_python_binds_them(calls, ran):
    memoized = memoize(calls)(positions)
    assert await memoized(1, y=2) == await memoized(1, 2, z=3) == [1, 2, 3]
    assert len(ran) == 1
    for args, named in (((), {"x": 1, "y": 2}), ((1,), {}), ((1, 2), {"y": 2}), ((1, 2, 3), {}), ((1, 2), {"w": 1})):
        with pytest.raises(TypeError):
            await memoized(*args, **named)


async def test_arguments_and_results_that_would_be_stored_many_times_over_are_refused(calls, ran, monkeypatch):
    monkeypatch.setattr("satchel.codec._UNCOUNTED", 100_000)
    value = []
    for _ in range(60):
        value = [value, value]
    with pytest.raises(ValueTooLargeError, match="larger depth"):
        await asyncio.wait_for(memoize(calls)(double)(value), 20)
    assert ran == []
    store = calls.content.store
    deep = Calls(ContentStore(store, depth=64, clock=store.clock), clock=store.clock)
    saved = await deep.content.save(value)
    with pytest.raises(SerializationError, match="child_digests"):
        await asyncio.wait_for(memoize(deep)(double)(saved), 20)


async def test_variable_arguments_never_collide(calls, ran):
    memoized = memoize(calls)(gather)
    asked = [
        ((1,), {}),
        ((1, 2), {}),
        ((1, (2,)), {}),
        ((1,), {"rest": 2}),
        ((1,), {"named": 2}),
        ((1,), {"m": 1}),
        ((1,), {"n": 1}),
        ((1, "n", 1), {}),
    ]
    for args, named in asked:
        assert await memoized(*args, **named) == [args[0], list(args[1:]), named] or args == (1, (2,))
    assert len(ran) == len(asked)
    assert await memoized(1, a=1, b=2) == await memoized(1, b=2, a=1)
    assert len(ran) == len(asked) + 1


@pytest.mark.parametrize("values", [(1, 1.0, True), (0, False, -0.0, 0.0), ("1", 1, b"1"), ([1], (1,)), (None, 0, "")])
async def test_values_that_python_calls_equal_are_different_arguments(calls, ran, values):
    memoized = memoize(calls)(double)
    for value in values:
        await memoized(value)
    assert len(ran) == len(values)


async def test_none_is_a_result(calls, ran):
    memoized = memoize(calls)(double)
    assert await memoized(None) is await memoized(None) is None
    assert len(ran) == 1
    assert await memoized.contains(None)


async def test_a_result_that_is_changed_stays_as_it_was_recorded(calls, ran):
    memoized = memoize(calls)(double)
    (await memoized(["a"])).append("changed")
    (await memoized(["a"])).append("changed")
    assert await memoized(["a"]) == ["a", "a"]
    assert len(ran) == 1


async def test_an_argument_that_the_function_changes_is_recorded_as_it_was(calls, ran):
    memoized = memoize(calls)(grow)
    given = [1]
    assert await memoized(given, 2) == [1, 2]
    assert given == [1]  # as after a hit
    assert await memoized(given, 2) == [1, 2]
    assert len(ran) == 1
    assert await (await memoized.query().only()).arguments() == {"items": [1], "item": 2}


async def test_without_isolation_the_function_gets_the_arguments_themselves(calls, ran):
    memoized = memoize(calls, isolate=False)(grow)
    given = [1]
    assert await memoized(given, 2) is given
    assert given == [1, 2]
    assert await memoized([1], 2) == [1, 2]
    assert len(ran) == 1
    assert await (await memoized.query().only()).argument("items") == [1]


async def test_a_default_that_the_function_changes_stays_as_it_was(calls):
    runs = []

    async def collect(item, items=[]):  # noqa: B006  # as users write it
        runs.append(item)
        items.append(item)
        return items

    memoized = memoize(calls, name="collect")(collect)
    assert [await memoized(1), await memoized(2), await memoized(1)] == [[1], [2], [1]]
    assert runs == [1, 2]


async def test_an_argument_that_others_change_meanwhile_is_refused(calls, ran):
    class Slow(MemoryStore):
        async def get(self, *args, **options):
            await asyncio.sleep(0)
            return await super().get(*args, **options)

    memoized = memoize(Calls(ContentStore(Slow())))(double)
    given = [1]
    task = asyncio.create_task(memoized(given))
    await asyncio.sleep(0)
    given.append(2)
    with pytest.raises(ConfigurationError, match=r"argument 'x' of .*double was changed"):
        await task
    assert ran == []


async def test_an_error_is_raised_and_not_recorded(calls, ran):
    memoized = memoize(calls)(fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="7"):
            await memoized(7)
    assert ran == [7, 7]
    assert not await memoized.contains(7)
    assert await memoized.query().count() == 0


async def test_an_argument_without_a_digest_is_refused_with_its_path(calls, ran):
    memoized = memoize(calls)(gather)
    with pytest.raises(DigestError, match=r"^first\.items\[1\]: ") as caught:
        await memoized({"items": [1, threading.Lock()]})
    assert "ignore=" in str(caught.value)
    assert ran == []


async def test_an_argument_that_cannot_be_saved_is_refused_before_the_run(calls, ran):
    memoized = memoize(calls)(double)
    with pytest.raises(SerializationError):
        await memoized(1 + 2j)  # it has a digest, and is no JSON
    assert ran == []


async def test_a_result_that_cannot_be_saved_is_an_error(calls):
    async def make():
        return threading.Lock()

    memoized = memoize(calls, name="make")(make)
    with pytest.raises(DigestError):
        await memoized()
    assert await memoized.query().count() == 0


async def test_ignored_arguments_are_no_part_of_a_call(calls, ran):
    memoized = memoize(calls, ignore=["scale", "y"])(add)
    assert await memoized(1, threading.Lock() and 2, scale=3) == 9
    assert await memoized(1, 5) == 9
    assert len(ran) == 1
    assert list((await memoized.query().only()).argument_digests) == ["x"]


async def test_another_version_is_another_call(calls, ran):
    one, two, text = (memoize(calls, version=version)(double) for version in (1, 2, "1"))
    assert await one(1) == await two(1) == await text(1) == 2
    assert len(ran) == 3
    assert len({one.digest(1), two.digest(1), text.digest(1), memoize(calls)(double).digest(1)}) == 4
    assert {call.version async for call in one.query()} == {1, 2, "1"}


async def test_an_argument_that_cannot_be_saved_is_named_with_the_path_within_it(calls, ran):
    with pytest.raises(SerializationError, match=r"^x\[1\]\.a: a set would not come back unchanged"):
        await memoize(calls)(add)([1, {"a": {2}}])
    with pytest.raises(SerializationError, match=r"^y: a float that is NaN or infinite"):
        await calls.record(FunctionCall("add", {"x": 1, "y": math.nan}, 2))
    with pytest.raises(DigestError, match=r"^y\[0\]: a lock has no digest") as caught:
        await calls.record(FunctionCall("add", {"x": 1, "y": [threading.Lock()]}, 2))
    assert caught.value.path == "y[0]"


async def apply(function, x):
    return await function(x)


place = []


@memoize(lambda: place[-1])
async def triple(x):
    return 3 * x


async def test_a_memoized_function_is_an_argument_like_the_function_itself(store):
    place.append(Calls(ContentStore(store, leaf="pickle", keys=[b"k" * 32], clock=store.clock), clock=store.clock))
    memoized = memoize(place[-1])(apply)
    assert digest(triple) == digest(triple.__wrapped__) != digest(memoized)
    assert await memoized(triple, 2) == 6
    assert await memoized.contains(triple.__wrapped__, 2)


async def test_a_memoized_method_has_the_digest_of_its_function_and_its_object(calls):
    for model in (Model(2.0), Model(3.0)):
        bound = memoize(calls)(Model.predict).__get__(model)
        assert digest(bound) == digest(Model.predict.__get__(model))
    assert digest(bound) != digest(memoize(calls)(Model.predict).__get__(Model(2.0)))


async def test_a_digest_counts_as_the_value_and_is_loaded_for_the_run(calls, ran):
    memoized = memoize(calls)(gather)
    digest = await calls.content.save({"n": 1})
    assert memoized.digest(digest) == memoized.digest({"n": 1})
    assert await memoized(digest, digest, more=digest) == [{"n": 1}, [{"n": 1}], {"more": {"n": 1}}]
    assert ran == [({"n": 1}, ({"n": 1},), {"more": {"n": 1}})]
    assert await memoized({"n": 1}, {"n": 1}, more={"n": 1}) == [{"n": 1}, [{"n": 1}], {"more": {"n": 1}}]
    assert len(ran) == 1


async def test_a_hit_for_a_digest_does_not_load_it(calls, ran):
    memoized = memoize(calls)(double)
    digest = await calls.content.save("large")
    await memoized(digest)
    await calls.content.evict(digest)
    assert await memoized(digest) == "largelarge"
    with pytest.raises(KeyMissingError):
        await memoized.rerun(digest)
    assert len(ran) == 1


async def test_a_digest_within_an_argument_is_refused(calls, ran):
    memoized = memoize(calls)(double)
    digest = await calls.content.save("x")
    for given in ([digest], {"a": (1, digest)}, Model(digest)):
        with pytest.raises(ConfigurationError, match=r"argument 'x' .* holds a Digest"):
            await memoized(given)
    assert ran == []
    assert await memoized(str(digest)) == str(digest) * 2  # text like any other


async def test_an_argument_with_parts_in_common_is_looked_through_once(calls):
    given = []
    for _ in range(60):
        given = [given, given]
    target = CallTarget(double, name=None, version=None, ignore=())
    assert (await target.filled({"x": given}, calls.content.load))["x"] is given


async def test_a_large_argument_is_looked_through_in_a_thread(calls, monkeypatch):
    threads = []

    def note(value):
        threads.append(threading.current_thread() is threading.main_thread())
        return False

    monkeypatch.setattr(target, "_holds_digest", note)
    memoized = memoize(calls, name="double")(lambda items: items * 2)
    assert [await memoized([1, 2]), await memoized("x" * 200_000)] == [[1, 2, 1, 2], "x" * 400_000]
    assert threads == [True, False]


async def test_a_digest_that_is_returned_stands_for_its_value(calls):
    async def latest():
        return await calls.content.save(["weights"])

    memoized = memoize(calls, name="latest")(latest)
    assert await memoized() == await memoized() == ["weights"]


async def test_rerun_replaces_what_is_recorded(calls, clock):
    results = iter(["old", "new"])

    async def draw():
        return next(results)

    memoized = memoize(calls, name="draw")(draw)
    assert await memoized() == await memoized() == "old"
    clock.advance(1)
    assert await memoized.rerun() == "new"
    assert await memoized() == "new"
    assert await memoized.query().count() == 1


async def test_helpers_tell_of_a_call(calls, ran):
    memoized = memoize(calls, version=3)(add)
    assert not await memoized.contains(1, y=2)
    with pytest.raises(KeyMissingError):
        await memoized.load(1, y=2)
    call = memoized.call(1, y=2)
    assert (call.name, call.version) == ("tests.content.calls.functions.add", 3)
    assert call.arguments == {"x": 1, "y": 2, "scale": 1}
    assert ran == []
    assert await memoized(1, y=2) == 3
    assert await memoized.contains(1, 2)
    assert await memoized.load(1, 2) == 3
    assert (await calls.load(memoized.digest(1, 2))).name == memoized.call_name
    assert await memoized.query({"x": 1}, result=3).count() == 1
    assert await memoized.query({"x": ANY, "y": 3}).count() == 0
    assert len(ran) == 1


async def test_a_memoized_function_looks_like_the_function(calls):
    memoized = memoize(calls)(positions)
    assert inspect.iscoroutinefunction(memoized)
    assert inspect.signature(memoized) == inspect.signature(positions)
    assert (memoized.__name__, memoized.__wrapped__) == ("positions", positions)
    assert repr(memoized).startswith("<memoized <function positions")


async def test_concurrent_first_calls_run_once_and_share_an_error(calls, ran):
    memoized = memoize(calls)(fail)
    errors = await asyncio.gather(*(memoized(1) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in errors] == ["1", "1", "1"]
    assert len({id(error) for error in errors}) == 3
    assert len(ran) == 1


async def test_a_cancelled_caller_does_not_end_the_run_of_others(calls):
    go = asyncio.Event()

    async def wait():
        await go.wait()
        return "done"

    memoized = memoize(calls, name="wait")(wait)
    first, second = (asyncio.create_task(memoized()) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    go.set()
    assert await second == "done"
    assert await memoized.contains()


async def test_a_cancelled_run_records_nothing(calls):
    async def wait():
        await asyncio.Event().wait()

    memoized = memoize(calls, name="wait")(wait)
    task = asyncio.create_task(memoized())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await memoized.query().count() == 0


async def test_a_function_that_asks_for_its_own_result_is_refused(calls):
    async def loop():
        return await memoized()

    memoized = memoize(calls, name="loop")(loop)
    with pytest.raises(ConfigurationError, match="waits for its own result"):
        await memoized()


class Failing(MemoryStore):
    """Store that fails to write records of calls."""

    error = StoreUnavailableError

    async def put(self, collection, *args, **options):
        if collection == "calls":
            raise self.error("down", store="test", operation="put")
        await super().put(collection, *args, **options)


async def test_a_result_is_returned_where_the_backend_fails(ran, caplog):
    memoized = memoize(Calls(ContentStore(Failing())))(double)
    results = await asyncio.gather(memoized([1]), memoized([1]))
    assert results == [[1, 1], [1, 1]]
    assert results[0] is not results[1]
    assert ran == [[1]]
    assert "a result of tests.content.calls.functions.double was not recorded: StoreUnavailableError" in caplog.text


async def test_an_error_of_the_store_that_stays_is_raised(ran):
    class Broken(Failing):
        error = StoreError

    with pytest.raises(StoreError, match="down"):
        await memoize(Calls(ContentStore(Broken())))(double)(1)


async def test_a_long_run_keeps_its_arguments_from_collections(calls, clock):
    async def work(data):
        clock.advance(3 * 3600)
        await calls.content.gc()  # the argument is referred to by nothing yet
        return len(data)

    memoized = memoize(calls, name="work")(work)
    assert await memoized(["a", "b"]) == 2
    await calls.content.gc()
    call = await memoized.query().only()
    assert (await call.arguments(), await call.result()) == ({"data": ["a", "b"]}, 2)


async def test_a_plain_function_runs_in_a_worker_thread(calls, ran):
    threads = []

    def which():
        threads.append(threading.get_ident())

    await memoize(calls, name="which")(which)()
    assert threads != [threading.get_ident()]
    memoized = memoize(calls)(halve)
    assert await memoized(3) == await memoized(3) == 1.5
    assert ran == [3]


async def test_methods_take_their_object_as_an_argument(calls, ran, monkeypatch):
    monkeypatch.setattr(Model, "predict", memoize(calls)(Model.predict))
    light, heavy = Model(1.5), Model(2.5)
    assert [await light.predict(2), await heavy.predict(2), await Model(1.5).predict(2)] == [3.0, 5.0, 3.0]
    assert len(ran) == 2
    assert await Model.predict(light, 2) == 3.0
    assert await light.predict.contains(2)
    assert await heavy.predict.load(2) == 5.0
    assert await light.predict.query().count() == 1
    assert await light.predict.query({"x": 3}).count() == 0
    assert await Model.predict.query().count() == 2


async def test_a_method_may_call_that_of_the_class_it_is_derived_from(calls, ran, monkeypatch):
    monkeypatch.setattr(Biased, "predict", memoize(calls)(Biased.predict))
    assert [await Biased(2.0).predict(3), await Biased(2.0).predict(3)] == [7.0, 7.0]
    assert ran == [(2.0, 3)]


async def test_a_method_keeps_its_own_object(calls):
    class Counter:
        def __init__(self):
            self.lock, self.count = threading.Lock(), 0

        @memoize(calls, ignore=["self"], name="Counter.next")
        async def next(self, x):
            self.count += 1
            return x

        @memoize(calls, name="Counter.refused")
        async def refused(self, x):
            return x

    counter = Counter()
    assert [await counter.next(1), await counter.next(1), await Counter().next(1)] == [1, 1, 1]
    assert counter.count == 1
    assert await counter.next.query().count() == 1
    with pytest.raises(DigestError, match="self"):
        await counter.refused(1)


async def test_calls_can_be_found_at_each_call(ran):
    places = [Calls(ContentStore(MemoryStore())) for _ in range(2)]
    current = places[0]
    memoized = memoize(lambda: current)(double)
    await memoized(1)
    current = places[1]
    await memoized(1)
    assert len(ran) == 2
    current = None
    with pytest.raises(ConfigurationError, match="must return Calls"):
        await memoized(1)


def make_closure(number):
    async def closure(x):
        return x * number

    return closure


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, "a lambda has no name"),
        (make_closure(2), "uses 'number' of the function around it"),
        (Model, "takes a function"),
        (functions, "takes a function"),
        (Model(2.0).predict, r"Model\.predict is bound to an object"),
        (Model.make, r"Model\.make is bound to an object"),
        (math.sqrt, "got an object of type builtin_function_or_method"),
        (str.upper, "got an object of type method_descriptor"),
        (functools.partial(double, 1), "got an object of type partial"),
        (functools.update_wrapper(functools.partial(add, 1), add), "got an object of type partial"),
        (staticmethod(double), "put @staticmethod above @memoize"),
        (classmethod(double), "put @classmethod above @memoize"),
    ],
)
def test_functions_that_others_may_be_taken_for_are_refused(calls, function, message):
    with pytest.raises(ConfigurationError, match=message):
        memoize(calls)(function)


async def test_a_name_tells_closures_apart(calls):
    twice, thrice = (memoize(calls, name=f"times {number}")(make_closure(number)) for number in (2, 3))
    assert [await twice(1), await thrice(1), await twice(1)] == [2, 3, 2]


async def test_a_name_tells_methods_of_objects_apart(calls):
    twice, thrice = (memoize(calls, name=f"times {weight}")(Model(weight).predict) for weight in (2.0, 3.0))
    assert [await twice(1), await thrice(1), await twice(1)] == [2.0, 3.0, 2.0]


def test_bound_methods_in_decorators_are_refused(calls, monkeypatch):
    monkeypatch.setattr(Model, "predict", memoize(calls)(Model.predict))
    with pytest.raises(ConfigurationError, match="is bound to an object"):
        memoize(calls)(Model(2.0).predict)


async def test_functions_in_decorators_are_memoized(calls, ran):
    memoized = memoize(calls)(functools.lru_cache(halve))
    assert [await memoized(4), await memoized(4)] == [2.0, 2.0]
    assert ran == [4]
    assert await memoize(calls, name="outer")(memoized)(4) == 2.0


@pytest.mark.parametrize("function", [double, halve])
def test_a_memoized_function_is_an_async_one(calls, function):
    assert inspect.iscoroutinefunction(memoize(calls)(function))


async def test_an_argument_that_cannot_be_copied_is_named(calls, ran):
    guarded = Guarded(3)
    with pytest.raises(SerializationError, match=r"argument 'x' of .*double cannot be copied.*isolate=False"):
        await memoize(calls)(double)(guarded)
    assert ran == []


def test_options_are_checked(calls):
    def items():
        yield 1

    for refused, message in (
        (lambda: memoize(calls.content.store), "takes Calls"),
        (lambda: memoize(calls, ignore=["z"])(double), "ignore names 'z'"),
        (lambda: memoize(calls, ignore="x")(double), "ignore must be a list"),
        (lambda: memoize(calls, version=1.5)(double), "version must be"),
        (lambda: memoize(calls, name="")(double), "name of a call"),
        (lambda: memoize(calls, tags={"a": [1]}), "a tag has a str"),
        (lambda: memoize(calls, metadata=[print, print]), "two sources"),
        (lambda: memoize(calls, metadata=[double]), "plain functions"),
        (lambda: memoize(calls, sync=MemoryStore())(halve), "takes a SyncStore"),
        (lambda: memoize(calls)(items), "is a generator"),
        (lambda: memoize(halve), r"write @memoize\(calls\)"),
        (lambda: memoize(calls, isolate="no"), "isolate must be a bool"),
        (lambda: memoize(calls, across_processes=1), "across_processes must be a bool"),
        (lambda: memoize(calls, ignore=5)(double), "ignore must be a list"),
        (lambda: memoize(calls, ignore=[1])(double), "ignore must be a list"),
        (lambda: memoize(calls, metadata=runtime), "metadata must be a list"),
        (lambda: memoize(calls, tags=double), "tags must be a plain function"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            refused()


@memoize(Calls(ContentStore(MemoryStore())))
async def importable(x):
    return x


def test_a_memoized_function_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(importable)) is importable
