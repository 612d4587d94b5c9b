"""LangGraph's own suite for checkpointers, its stores, and a graph that goes on after a restart."""

import operator
from typing import Annotated, TypedDict

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import GetOp, PutOp
from langgraph.types import Command, interrupt

from satchel import (
    Capability,
    DiskStore,
    IntegrityError,
    InvalidTTLError,
    MemoryStore,
    NullStore,
    UnsupportedOperationError,
    open_store,
)
from satchel.integrations.langgraph import LangGraphStore, SatchelSaver
from satchel.testing import FakeClock
from satchel.wrappers import PrefixCollectionsWrapper
from tests.servers import server_url


@pytest.fixture(params=["memory", "disk", pytest.param("redis", marks=pytest.mark.server("redis"))])
async def store(request, tmp_path):
    made = {
        "memory": MemoryStore,
        "disk": lambda: DiskStore(tmp_path / "langgraph.db"),
        "redis": lambda: PrefixCollectionsWrapper(open_store(server_url("redis")), prefix=tmp_path.name),
    }[request.param]()
    async with made:
        yield made


async def test_the_saver_passes_langgraphs_own_suite(store):
    number = 0

    @checkpointer_test(name="SatchelSaver")
    async def saver():
        nonlocal number
        number += 1
        yield SatchelSaver(store, collection=f"checkpoints-{number}")

    report = await validate(saver)
    results = report.results
    assert {name for name, result in results.items() if not result.detected} == {"prune"}
    assert [(name, result.failures) for name, result in results.items() if result.failures] == []
    assert sum(result.tests_passed for result in results.values()) > 50


class State(TypedDict):
    words: Annotated[list[str], operator.add]


async def ask(state: State, runtime: Runtime) -> State:
    await runtime.store.aput(("words", "asked"), "last", {"count": len(state["words"])})
    return {"words": [interrupt("a word?")]}


async def end(state: State) -> State:
    return {"words": ["end"]}


def graph(store):
    built = StateGraph(State).add_node(ask).add_node(end)
    built.add_edge(START, "ask").add_edge("ask", "end").add_edge("end", END)
    return built.compile(checkpointer=SatchelSaver(store), store=LangGraphStore(store))


async def test_a_graph_goes_on_where_it_was_interrupted(store):
    thread = {"configurable": {"thread_id": "a/b"}}
    stopped = await graph(store).ainvoke({"words": ["begin"]}, thread)
    assert stopped["__interrupt__"][0].value == "a word?"
    done = await graph(store).ainvoke(Command(resume="middle"), thread)
    assert done == {"words": ["begin", "middle", "end"]}
    history = [state.values["words"] async for state in graph(store).aget_state_history(thread)]
    assert history[0] == ["begin", "middle", "end"]
    assert len(history) > 3
    item = await LangGraphStore(store).aget(("words", "asked"), "last")
    assert item.value == {"count": 1}
    await SatchelSaver(store).adelete_thread("a/b")
    assert (await graph(store).aget_state(thread)).values == {}


async def test_checkpoints_expire_where_asked():
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    saver = SatchelSaver(store, ttl=60)
    config = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
    checkpoint = {"v": 4, "id": "1", "ts": "", "channel_values": {}, "channel_versions": {}, "versions_seen": {}}
    await saver.aput(config, checkpoint, {}, {})
    assert await saver.aget_tuple(config) is not None
    clock.advance(60)
    assert await saver.aget_tuple(config) is None


async def test_a_foreign_entry_is_refused():
    store = MemoryStore()
    await store.put("langgraph/checkpoints", "1//2/", "foreign")
    with pytest.raises(IntegrityError):
        await SatchelSaver(store).aget_tuple({"configurable": {"thread_id": "1"}})


async def test_items_come_and_go(store):
    memory = LangGraphStore(store)
    await memory.aput(("users", "ada"), "name", {"first": "Ada"})
    item = await memory.aget(("users", "ada"), "name")
    assert (item.namespace, item.key, item.value) == (("users", "ada"), "name", {"first": "Ada"})
    assert item.created_at == item.updated_at
    await memory.aput(("users", "ada"), "name", {"first": "Augusta"})
    again = await memory.aget(("users", "ada"), "name")
    assert (again.created_at, again.value) == (item.created_at, {"first": "Augusta"})
    assert again.updated_at > item.updated_at
    await memory.adelete(("users", "ada"), "name")
    assert await memory.aget(("users", "ada"), "name") is None


async def test_searches(store):
    memory = LangGraphStore(store)
    for number in range(12):
        await memory.aput(
            ("notes", f"u{number % 2}"), f"k{number}", {"number": number, "tag": {"even": number % 2 == 0}}
        )
    await memory.aput(("notes",), "top", {"number": "many"})
    await memory.aput(("notes2",), "other", {"number": 1})
    assert [item.key for item in await memory.asearch(("notes",), limit=3)] == ["top", "k11", "k10"]
    assert [item.key for item in await memory.asearch(("notes", "u1"), limit=2, offset=1)] == ["k9", "k7"]
    found = await memory.asearch(("notes",), filter={"number": {"$gte": 4, "$lt": 8}, "tag": {"even": True}})
    assert [item.key for item in found] == ["k6", "k4"]
    assert [item.value for item in await memory.asearch((), filter={"number": "many"})] == [{"number": "many"}]
    assert len(await memory.asearch((), limit=100)) == 14
    with pytest.raises(UnsupportedOperationError, match="no vectors"):
        await memory.asearch(("notes",), query="similar")
    with pytest.raises(ValueError, match=r"unknown operator \$in"):
        await memory.asearch(("notes",), filter={"number": {"$in": []}})


async def test_namespaces(store):
    memory = LangGraphStore(store)
    names = [("a", "b", "c"), ("a", "b", "d"), ("a", "x/y"), ("b", "b", "c"), (":", "*")]
    for name in names:
        await memory.aput(name, "k:/", {})
    assert await memory.alist_namespaces() == sorted(names)
    assert await memory.alist_namespaces(prefix=("a",)) == sorted(names[:3])
    assert await memory.alist_namespaces(suffix=("b", "c")) == [names[0], names[3]]
    assert await memory.alist_namespaces(prefix=("*", "b"), max_depth=2) == [("a", "b"), ("b", "b")]
    assert await memory.alist_namespaces(limit=1, offset=1) == sorted(names)[1:2]
    assert [item.namespace for item in await memory.asearch(("a", "x/y"))] == [("a", "x/y")]
    assert (await memory.aget((":", "*"), "k:/")).key == "k:/"


async def test_a_batch_reads_before_it_writes_and_the_last_write_counts(store):
    memory = LangGraphStore(store)
    read = GetOp(("n",), "k")
    results = await memory.abatch([PutOp(("n",), "k", {"a": 1}), read, PutOp(("n",), "k", {"a": 2})])
    assert results == [None, None, None]
    assert (await memory.abatch([read]))[0].value == {"a": 2}
    await memory.abatch([PutOp(("n",), "k", {"a": 3}), PutOp(("n",), "k", None)])
    assert await memory.abatch([read]) == [None]


async def test_times_to_live_are_minutes_since_the_last_use():
    clock = FakeClock()
    memory = LangGraphStore(MemoryStore(clock=clock), ttl={"default_ttl": 10, "refresh_on_read": True})
    await memory.aput(("n",), "k", {})
    await memory.aput(("n",), "forever", {}, ttl=None)
    clock.advance(9 * 60)
    assert await memory.aget(("n",), "k") is not None
    clock.advance(9 * 60)
    assert len(await memory.asearch(("n",))) == 2
    clock.advance(9 * 60)
    assert await memory.aget(("n",), "k", refresh_ttl=False) is not None
    clock.advance(60)
    assert await memory.aget(("n",), "k") is None
    assert await memory.aget(("n",), "forever") is not None


async def test_what_they_cannot_do_is_refused():
    with pytest.raises(UnsupportedOperationError, match="aget"):
        LangGraphStore(MemoryStore()).get(("n",), "k")

    class Poor(NullStore):
        capabilities = Capability.NONE

    for kind in (LangGraphStore, SatchelSaver):
        with pytest.raises(UnsupportedOperationError):
            kind(Poor())


@pytest.mark.parametrize("ttl", [0, -1, "60", {"default_ttl": 10}])
def test_a_time_that_is_none_is_refused_when_the_saver_is_made(ttl):
    with pytest.raises(InvalidTTLError):
        SatchelSaver(MemoryStore(), ttl=ttl)
