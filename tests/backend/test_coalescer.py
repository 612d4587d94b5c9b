"""Calls that arrive while a batch is under way form the next one."""

import asyncio
import contextvars
from statistics import median
from types import SimpleNamespace

import pytest

from satchel.backend import coalescer as coalesce
from satchel.backend.coalescer import Coalescer, CoalescerPerLoop, Operation, Request
from satchel.backend.hooks import UNPROCESSED
from satchel.errors import StoreError, StoreUnavailableError
from tests.scripted import turns


class Sender:
    """Answers each request with its argument, after as many turns as asked, and keeps what was sent."""

    def __init__(self, wait=3):
        self.wait = wait
        self.batches = []
        self.gate = None

    async def __call__(self, requests):
        self.batches.append([(request.operation.value, request.ref[1], request.argument) for request in requests])
        if self.gate is not None:
            await self.gate.wait()
        await turns(self.wait)
        return [request.argument for request in requests]

    @property
    def sizes(self):
        return [len(batch) for batch in self.batches]


def queue(sender, *, max_inflight=1, max_items=500, max_bytes=1 << 20, shield=False):
    return Coalescer(sender, max_inflight=max_inflight, max_items=max_items, max_bytes=max_bytes, shield=shield)


def request(operation, key, argument=None, size=0):
    return Request(Operation(operation), ("c", key), argument, size)


def put(key, argument=None, size=0):
    return request("put", key, argument, size)


async def one(calls, request):
    return await calls.submit_one(request)


async def started(*submissions):
    tasks = [asyncio.create_task(submission) for submission in submissions]
    await turns(2)
    return tasks


@pytest.mark.parametrize("shield", [False, True])
async def test_batches_of_32_tasks_are_nearly_32(shield):
    sender = Sender()
    calls = queue(sender, shield=shield)

    async def caller(number):
        for _ in range(50):
            await calls.submit([put(f"{number}")])

    await asyncio.gather(*map(caller, range(32)))
    assert median(sender.sizes[2:-2]) >= 31
    assert sum(sender.sizes) == 32 * 50


@pytest.mark.parametrize("max_inflight", [1, 4])
async def test_no_more_batches_are_under_way_than_allowed(max_inflight):
    under_way, most = 0, 0

    async def send(requests):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await turns(2)
        under_way -= 1
        return [None] * len(requests)

    calls = queue(send, max_inflight=max_inflight, max_items=2)
    await asyncio.gather(*[calls.submit([put(f"{number}")]) for number in range(40)])
    assert most == max_inflight


async def test_a_lone_call_makes_no_task_and_no_future():
    loop = asyncio.get_running_loop()
    made = []
    calls = queue(Sender(), max_items=1, max_bytes=10)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("create_task", "create_future"):
            patch.setattr(loop, name, lambda *_, name=name, **__: made.append(name))
        assert await calls.submit([put("k", 7, 10)]) == [7]
        assert await calls.submit_one(put("k", 7)) == 7
    assert made == []


@pytest.mark.parametrize("shield", [False, True])
async def test_a_caller_who_is_alone_again_is_sent_at_once(shield):
    sender = Sender()
    calls = queue(sender, shield=shield)
    await asyncio.gather(calls.submit([put("a")]), calls.submit([put("b")]), calls.submit([put("c")]))
    await turns(3)
    (task,) = await started(calls.submit([put("d")]))
    assert sender.batches[-1] == [("put", "d", None)]
    await task


async def test_an_alternating_pair_shares_batches():
    sender = Sender()
    calls = queue(sender)

    async def caller(key):
        for _ in range(20):
            await calls.submit([put(key)])

    await asyncio.gather(caller("a"), caller("b"))
    assert len(sender.batches) <= 24


async def test_waiting_puts_of_a_key_merge_and_the_last_is_sent():
    sender = Sender()
    calls = queue(sender)
    answers = await asyncio.gather(*[calls.submit([put("k", number)]) for number in range(5)])
    assert sender.batches == [[("put", "k", 0)], [("put", "k", 4)]]
    assert answers == [[0], [4], [4], [4], [4]]


async def test_of_waiting_deletes_the_first_is_told_what_was_there():
    calls = queue(Sender())
    answers = await asyncio.gather(
        calls.submit([put("k")]), *[calls.submit([request("delete", "k", argument=True)]) for _ in range(3)]
    )
    assert answers == [[None], [True], [False], [False]]


async def test_reads_fan_out():
    sender = Sender()
    calls = queue(sender)
    answers = await asyncio.gather(*[calls.submit([request("read", "k", "found")]) for _ in range(9)])
    assert answers == [["found"]] * 9
    assert sender.sizes == [1, 1]


async def test_only_adjacent_requests_of_a_kind_merge_and_conditional_ones_never():
    sender = Sender()
    calls = queue(sender)
    kinds = ["put", "put", "delete", "put", "touch", "touch", "put_if", "put_if"]
    await asyncio.gather(calls.submit([put("first")]), *[calls.submit([request(kind, "k")]) for kind in kinds])
    sent = [batch[0][0] for batch in sender.batches[1:]]
    assert sent == ["put", "delete", "put", "touch", "touch", "put_if", "put_if"]


@pytest.mark.parametrize("shield", [False, True])
async def test_a_write_cancelled_before_it_is_sent_is_dropped(shield):
    sender = Sender()
    calls = queue(sender, shield=shield)
    first, dropped, kept = await started(calls.submit([put("a")]), calls.submit([put("b")]), calls.submit([put("c")]))
    dropped.cancel()
    await asyncio.gather(first, kept)
    assert [key for batch in sender.batches for _, key, _ in batch] == ["a", "c"]


async def test_a_cancelled_put_does_not_speak_for_those_it_merged_with():
    sender = Sender()
    calls = queue(sender)
    first, kept, dropped = await started(*[calls.submit([put("k", number)]) for number in range(3)])
    dropped.cancel()
    assert await asyncio.gather(first, kept) == [[0], [1]]


async def test_a_shielded_write_goes_on_and_keeps_its_key_busy():
    sender = Sender(wait=20)
    calls = queue(sender, max_inflight=4, shield=True)
    (cancelled,) = await started(calls.submit([put("k", 1)]))
    cancelled.cancel()
    (later, other) = await started(calls.submit([put("k", 2)]), calls.submit([put("other")]))
    assert [batch[0][1:] for batch in sender.batches] == [("k", 1), ("other", None)]
    assert await later == [2]
    await other


async def test_batches_split_by_count_and_by_bytes():
    sender = Sender()
    calls = queue(sender, max_items=3, max_bytes=100)
    await calls.submit([put(f"{number}") for number in range(8)])
    assert sender.sizes == [3, 3, 2]
    sender.batches.clear()
    await calls.submit([put(f"{number}", size=size) for number, size in enumerate([60, 40, 1, 500, 99, 2])])
    assert sender.sizes == [2, 1, 1, 1, 1]


async def test_ten_thousand_requests_in_one_call():
    sender = Sender()
    answers = await queue(sender, max_inflight=2).submit([put(f"{number}", number) for number in range(10_000)])
    assert answers == list(range(10_000))
    assert set(sender.sizes) == {500}


async def test_many_requests_for_one_key_cost_no_more_each():
    looked = 0

    class Counted(Request):
        @property
        def dropped(self):
            nonlocal looked
            looked += 1
            return super().dropped

    calls = queue(Sender(wait=1))
    await asyncio.gather(*[calls.submit([Counted(Operation.TOUCH, ("c", "k"))]) for _ in range(1000)])
    assert looked < 5000


async def test_batches_do_not_carry_the_callers_variables():
    variable = contextvars.ContextVar("variable", default="nothing")
    seen = []

    async def send(requests):
        seen.append(variable.get())
        await turns(1)
        return [None] * len(requests)

    async def caller(key):
        variable.set(key)
        await calls.submit([put(key)])

    for shield in (False, True):
        calls = queue(send, shield=shield)
        await asyncio.gather(*map(caller, "abc"))
    assert seen == ["a", "nothing", "nothing", "nothing"]  # unshielded, the first runs in its own caller


@pytest.mark.parametrize("shield", [False, True])
async def test_an_exception_from_send_reaches_every_caller_as_an_error(shield):
    async def send(requests):
        await turns(1)
        if requests[0].ref[1] != "first":
            raise ZeroDivisionError
        return [None] * len(requests)

    calls = queue(send, shield=shield)
    _, *answers = await asyncio.gather(*[calls.submit([put(key)]) for key in ("first", "a", "b")])
    for (answer,) in answers:
        assert isinstance(answer, StoreError)
        assert isinstance(answer.__cause__, ZeroDivisionError)
    assert await asyncio.wait_for(calls.submit([put("first")]), 50) == [None]


@pytest.mark.parametrize("moment", range(6))
@pytest.mark.parametrize("shield", [False, True])
async def test_it_works_on_when_every_task_was_cancelled(moment, shield):
    # As servers do when they shut down, before the last clean-up writes.
    sender = Sender()
    calls = queue(sender, shield=shield)
    tasks = [asyncio.create_task(calls.submit([put(key)])) for key in "abcd"]
    await turns(moment)
    mine = asyncio.current_task()
    for task in asyncio.all_tasks() - {mine}:
        task.cancel()
    await asyncio.wait(tasks)
    for key in "abz":
        await asyncio.wait_for(calls.submit([put(key)]), 50)
    await calls.drained()


@pytest.mark.parametrize("pause", [False, True])
async def test_callers_do_not_wait_for_work_that_was_cancelled(pause, monkeypatch):
    monkeypatch.setattr(coalesce, "_FIRST_PAUSE", 60)
    calls = queue(Sender(wait=1 if pause else 60), shield=True)
    outcome = UNPROCESSED if pause else None
    callers = await started(one(calls, put("a", outcome)), calls.submit([put("b", outcome), put("c", outcome)]))
    await turns(20)
    for task in asyncio.all_tasks() - {asyncio.current_task(), *callers}:
        task.cancel()
    await asyncio.wait_for(asyncio.wait(callers[:1]), 50)
    assert callers[0].cancelled()
    callers[1].cancel()


async def test_settled_waits_for_what_was_sent_and_no_longer():
    sender = Sender(wait=0)
    sender.gate = asyncio.Event()
    calls = queue(sender, shield=True, max_inflight=2)
    (cancelled,) = await started(calls.submit([put("a")]))
    cancelled.cancel()
    (settled,) = await started(calls.settled())
    assert not settled.done()
    sender.gate.set()
    await settled
    sender.gate.clear()
    assert sender.sizes == [1]
    await asyncio.wait_for(calls.settled(), 50)


@pytest.mark.parametrize("shield", [False, True])
async def test_what_was_left_unprocessed_is_not_sent_again_when_its_caller_has_gone(shield, monkeypatch):
    monkeypatch.setattr(coalesce, "_FIRST_PAUSE", 0.01)
    sender = Sender(wait=0)
    calls = queue(sender, shield=shield)
    (gone,) = await started(calls.submit([put("k", UNPROCESSED), put("l", 1)]))
    gone.cancel()
    assert await calls.submit([put("k", 2)]) == [2]
    assert sender.batches[0] == [("put", "k", UNPROCESSED), ("put", "l", 1)]
    assert sender.batches[1:] == [[("put", "k", 2)]]
    await calls.settled()


async def test_what_was_left_unprocessed_joins_no_put_that_came_later(monkeypatch):
    """Or whoever put first would wait as long as others go on putting."""
    monkeypatch.setattr(coalesce, "_FIRST_PAUSE", 0.01)
    sender = Sender(wait=0)
    calls = queue(sender, shield=True)
    (first,) = await started(calls.submit([put("k", UNPROCESSED)]))
    (second,) = await started(calls.submit([put("k", 2)]))
    with pytest.raises(StoreUnavailableError):
        raise (await first)[0]
    assert await second == [2]
    assert [batch[0][2] for batch in sender.batches] == [UNPROCESSED] * 7 + [2]


class TestOneRequest:
    async def test_a_lone_one_is_sent_in_its_callers_own_task(self):
        sender = Sender()
        calls = queue(sender)
        (call,) = await started(one(calls, put("k", 7)))
        assert sender.batches == [[("put", "k", 7)]]
        assert not calls.idle
        assert await call == 7
        assert calls.idle

    async def test_those_that_wait_for_the_slot_share_the_next_batch(self):
        sender = Sender()
        calls = queue(sender)
        answers = await asyncio.gather(*[one(calls, put(key, key)) for key in "abc"])
        assert answers == ["a", "b", "c"]
        assert sender.sizes == [1, 2]

    async def test_one_that_comes_while_others_wait_is_not_sent_before_them(self):
        sender = Sender(wait=0)
        sender.gate = asyncio.Event()
        calls = queue(sender)
        (first, second, third) = await started(*[one(calls, put("k", number)) for number in range(3)])
        sender.gate.set()
        assert await asyncio.gather(first, second, third) == [0, 2, 2]

    @pytest.mark.parametrize("shield", [False, True])
    async def test_free_slots_are_used_at_once_but_a_key_has_one_request_under_way(self, shield):
        sender = Sender(wait=0)
        sender.gate = asyncio.Event()
        calls = queue(sender, max_inflight=3, shield=shield)
        tasks = await started(*[one(calls, put(key, number)) for number, key in enumerate("abaabcd")])
        assert [batch[0][1:] for batch in sender.batches] == [("a", 0), ("b", 1), ("c", 5)]
        sender.gate.set()
        assert await asyncio.gather(*tasks) == [0, 1, 3, 3, 4, 5, 6]

    async def test_a_cancelled_shielded_one_goes_on_and_holds_up_the_end(self):
        sender = Sender(wait=5)
        calls = queue(sender, shield=True)
        (call,) = await started(one(calls, put("k", 1)))
        call.cancel()
        await calls.drained()
        assert calls.idle
        assert sender.batches == [[("put", "k", 1)]]

    async def test_the_slot_is_free_when_a_lone_one_has_its_answer(self):
        calls = queue(Sender(), shield=True)
        assert await calls.submit_one(put("k", 1)) == 1
        assert calls.idle

    @pytest.mark.parametrize("shield", [False, True])
    async def test_a_caller_that_goes_meanwhile_leaves_the_others_their_answers(self, shield):
        sender = Sender(wait=5)
        calls = queue(sender, shield=shield)
        first, gone, stays = await started(*[one(calls, put(key, key)) for key in ("first", "gone", "stays")])
        await first
        await turns(2)
        assert sender.sizes == [1, 2]
        gone.cancel()
        assert await asyncio.wait_for(stays, 50) == "stays"

    @pytest.mark.parametrize(("kind", "outcome"), [("read", True), ("put", True), ("delete", StoreError("away"))])
    async def test_merged_requests_have_one_outcome(self, kind, outcome):
        calls = queue(Sender())
        merged = [one(calls, request(kind, "k", outcome)) for _ in range(3)]
        assert await asyncio.gather(one(calls, put("first")), *merged) == [None, outcome, outcome, outcome]


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [({"max_items": 2}, [2]), ({"max_items": 1}, [1, 1]), ({"max_bytes": 10}, [2]), ({"max_bytes": 9}, [1, 1])],
)
@pytest.mark.parametrize("shield", [False, True])
async def test_a_batch_may_just_reach_its_bounds(settings, sizes, shield):
    sender = Sender()
    assert await queue(sender, shield=shield, **settings).submit([put("a", 1, 4), put("b", 2, 6)]) == [1, 2]
    assert sender.sizes == sizes


async def test_of_merged_puts_only_what_is_sent_counts_as_bytes():
    sender = Sender()
    calls = queue(sender, max_bytes=10)
    puts = [put("first"), put("a", 1, 9), put("a", 2, 4), put("b", 3, 6), put("c", 4, 1)]
    await asyncio.gather(*[one(calls, each) for each in puts])
    assert [[argument for _, _, argument in batch] for batch in sender.batches] == [[None], [2, 3], [4]]


async def test_what_does_not_fit_goes_first_in_the_next_batch_with_all_that_waits_for_its_key():
    sender = Sender()
    calls = queue(sender, max_bytes=10)
    requests = [put("first"), put("a", 1, 6), put("b", 2, 6), request("delete", "b", argument=True), put("c", 3, 1)]
    assert await asyncio.gather(*[one(calls, each) for each in requests]) == [None, 1, 2, True, 3]
    assert [[key for _, key, _ in batch] for batch in sender.batches] == [["first"], ["a"], ["b", "c"], ["b"]]


async def test_an_exception_from_send_is_named_in_the_error():
    async def send(_requests):
        raise ZeroDivisionError

    answer = await queue(send, shield=True).submit_one(put("k"))
    assert str(answer) == "a batch ended in an error that no hook is to raise: ZeroDivisionError"


async def test_settled_does_not_wait_for_what_is_sent_later():
    gates = {key: asyncio.Event() for key in "abc"}

    async def send(requests):
        await gates[requests[0].ref[1]].wait()
        return [None]

    calls = queue(send, shield=True, max_inflight=3)
    first = await started(*[one(calls, put(key)) for key in "ab"])
    (settled,) = await started(calls.settled())
    (last,) = await started(one(calls, put("c")))
    (settled_later,) = await started(calls.settled())
    gates["a"].set()
    await turns(5)
    assert not settled.done()
    gates["b"].set()
    await asyncio.wait_for(settled, 50)
    assert not settled_later.done()
    gates["c"].set()
    await asyncio.wait_for(settled_later, 50)
    await asyncio.gather(*first, last)


class TestLeftUnprocessed:
    """An overloaded backend leaves requests unprocessed, as often as `times` says for each key."""

    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch):
        pauses = []
        monkeypatch.setattr(coalesce.random, "uniform", lambda *bounds: pauses.append(bounds) or 0)
        return pauses

    @staticmethod
    def overloaded(**times):
        sent = []

        async def send(requests):
            keys = [each.ref[1] for each in requests]
            sent.append("".join(keys))
            await turns(1)
            outcomes = []
            for key, each in zip(keys, requests, strict=True):
                times[key] = times.get(key, 0) - 1
                outcomes.append(UNPROCESSED if times[key] >= 0 else each.argument)
            return outcomes

        return send, sent

    @pytest.mark.parametrize("shield", [False, True])
    async def test_it_alone_is_sent_again_and_answers_stay_in_order(self, shield):
        send, sent = self.overloaded(a=1, c=2)
        calls = queue(send, shield=shield)
        assert await calls.submit([put(key, key) for key in "abcd"]) == ["a", "b", "c", "d"]
        assert (sent[0], "".join(sorted("".join(sent[1:])))) == ("abcd", "acc")
        await calls.drained()
        assert calls.idle

    @pytest.mark.parametrize("shield", [False, True])
    async def test_it_is_given_up_after_six_more_attempts_with_longer_and_longer_pauses(self, shield, pauses):
        send, sent = self.overloaded(k=7)
        calls = queue(send, shield=shield)
        answer = await calls.submit_one(put("k"))
        assert isinstance(answer, StoreUnavailableError)
        assert str(answer) == "the backend kept leaving this item unprocessed; it is overloaded, try again later"
        assert sent == ["k"] * 7
        assert pauses == [(length / 2, length) for length in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)]
        assert await asyncio.wait_for(one(calls, put("k", 1)), 50) == 1

    @pytest.mark.parametrize("shield", [False, True])
    async def test_the_sixth_attempt_may_succeed(self, shield):
        send, _ = self.overloaded(k=6)
        assert await queue(send, shield=shield).submit_one(put("k", 1)) == 1

    async def test_merged_requests_share_its_answer(self):
        send, _ = self.overloaded(k=1)
        calls = queue(send)
        waiting = [one(calls, put("other")), *[one(calls, put("k", number)) for number in range(3)]]
        assert await asyncio.gather(*waiting) == [None, 2, 2, 2]

    async def test_merged_batches_wait_for_each_of_theirs(self):
        send, _ = self.overloaded(k=1, l=2)
        calls = queue(send)
        merged = [calls.submit([put("k", number), put("l", number)]) for number in range(3)]
        assert await asyncio.gather(calls.submit([put("first")]), *merged) == [[None], [2, 2], [2, 2], [2, 2]]

    async def test_what_came_later_for_its_key_is_sent_later(self, monkeypatch):
        monkeypatch.setattr(coalesce.random, "uniform", lambda *_: 60)
        paused = asyncio.Event()

        async def sleep(seconds):
            await (paused.wait() if seconds else turns(1))

        monkeypatch.setattr(coalesce, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": sleep}))
        send, sent = self.overloaded(k=1)
        calls = queue(send, shield=True, max_inflight=2)
        (first,) = await started(one(calls, request("touch", "k", 1)))
        await turns(5)
        second, other = await started(one(calls, request("touch", "k", 2)), one(calls, put("other", 3)))
        assert await other == 3
        assert not first.done()
        paused.set()
        assert await asyncio.gather(first, second) == [1, 2]
        assert sent == ["k", "other", "k", "k"]

    async def test_one_that_is_cancelled_in_its_pause_frees_its_key(self, monkeypatch):
        monkeypatch.setattr(coalesce.random, "uniform", lambda *_: 60)
        send, sent = self.overloaded(k=1)
        calls = queue(send, shield=True)
        (call,) = await started(one(calls, put("k", 1)))
        await turns(5)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait([call])
        assert await asyncio.wait_for(one(calls, put("k", 2)), 50) == 2
        assert sent == ["k", "k"]


class TestOneQueueForEachLoop:
    @staticmethod
    def queues(sender):
        made = []

        def make():
            made.append(queue(sender, shield=True))
            return made[-1]

        return CoalescerPerLoop(make), made

    async def test_a_loop_keeps_its_queue(self):
        sender = Sender()
        calls, made = self.queues(sender)
        assert calls.idle
        first, (other,) = await asyncio.gather(one(calls, put("a", 1)), calls.submit([put("b", 2)]))
        assert (first, other, len(made)) == (1, 2, 1)

    async def test_another_loop_has_its_own(self):
        sender = Sender()
        calls, made = self.queues(sender)
        await calls.submit_one(put("a"))

        async def elsewhere():
            return await calls.submit_one(put("b", 2))

        assert await asyncio.to_thread(asyncio.run, elsewhere()) == 2
        assert len(made) == 2
        await calls.submit_one(put("c"))
        assert len(made) == 2

    def test_a_loop_after_another_in_one_thread_has_its_own(self):
        calls, made = self.queues(Sender())

        async def once():
            return await calls.submit_one(put("k", 1))

        assert [asyncio.run(once()), asyncio.run(once())] == [1, 1]
        assert len(made) == 2

    async def test_what_was_sent_or_started_is_waited_for(self):
        sender = Sender(wait=0)
        sender.gate = asyncio.Event()
        calls, _ = self.queues(sender)
        (cancelled,) = await started(one(calls, put("a")))
        cancelled.cancel()
        work = calls.spawn(turns(30))
        assert not calls.idle
        settled, drained = await started(calls.settled(), calls.drained())
        assert not settled.done()
        sender.gate.set()
        await asyncio.wait_for(settled, 50)
        assert not drained.done()
        await asyncio.wait_for(drained, 50)
        assert work.done()
