"""Metadata and tags of recorded calls."""

import asyncio
import math
import platform
import subprocess
import threading
from datetime import date

import pytest

from satchel.content import FunctionCall, environment, git, host, memoize, runtime, tagged
from satchel.errors import ConfigurationError
from tests.content.calls.functions import double, fail


async def recorded(memoized, *args):
    await memoized(*args)
    return await memoized.query().only()


async def test_the_runtime_is_recorded(calls):
    async def wait():
        await asyncio.sleep(0.01)

    facts = (await recorded(memoize(calls, name="wait")(wait))).metadata["runtime"]
    assert 0.009 < facts["seconds"] < 60
    assert facts["begun_at"] < facts["ended_at"]


async def test_the_environment_is_recorded_and_the_host_only_if_asked_for(calls):
    call = await recorded(memoize(calls, metadata=[environment])(double), 1)
    assert call.metadata["environment"]["python"] == platform.python_version()
    assert list(call.metadata) == ["environment"]
    assert platform.node() not in str(dict(call.metadata))
    memoized = memoize(calls, metadata=[host])(double)
    await memoized(2)
    assert (await memoized.query({"x": 2}).only()).metadata["host"]["name"]


async def test_the_commit_is_recorded(calls, tmp_path, monkeypatch):
    def run(*arguments):
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ("git", *identity, *arguments)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    await asyncio.to_thread(run, "init", "-b", "main")
    await asyncio.to_thread(run, "commit", "--allow-empty", "-m", "first")
    monkeypatch.chdir(tmp_path)
    facts = (await recorded(memoize(calls, metadata=[git], version=1)(double), 1)).metadata["git"]
    assert facts == {"commit": await asyncio.to_thread(run, "rev-parse", "HEAD"), "branch": "main", "dirty": False}
    await asyncio.to_thread((tmp_path / "new").write_text, "x")
    memoized = memoize(calls, metadata=[git])(double)
    await memoized(2)
    assert (await memoized.query({"x": 2}).only()).metadata["git"]["dirty"] is True


async def test_there_is_no_commit_outside_of_git(calls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    facts = (await recorded(memoize(calls, metadata=[git])(double), 1)).metadata["git"]
    assert facts == {"commit": None, "branch": None, "dirty": None}


async def test_a_source_of_ones_own_is_asked_before_and_after_the_run(calls):
    events = []

    def before():
        events.append(("before", threading.current_thread() is not threading.main_thread()))
        return {"n": 1}

    def around():
        facts = {}
        events.append("around")
        yield facts
        events.append("after")
        facts["n"] = 2

    async def work():
        events.append("run")

    call = await recorded(memoize(calls, name="work", metadata=[around, before])(work))
    assert events == [("before", True), "around", "run", "after"]
    assert dict(call.metadata) == {"around": {"n": 2}, "before": {"n": 1}}


async def test_a_source_is_closed_when_the_run_fails(calls):
    closed = []

    def around():
        try:
            yield {}
        finally:
            closed.append(True)

    with pytest.raises(ValueError, match="1"):
        await memoize(calls, metadata=[around, runtime])(fail)(1)
    assert closed == [True]


async def test_a_source_that_gives_no_dict_is_refused(calls):
    def nothing():
        return None

    with pytest.raises(ConfigurationError, match="'nothing' must give a dict, got NoneType"):
        await memoize(calls, metadata=[nothing])(double)(1)


async def test_tags_come_from_the_function_its_arguments_and_the_block(calls):
    memoized = memoize(calls, tags=lambda x: {"big": x > 1, "project": "own"})(double)
    with tagged(project="alpha", phase="train"), tagged(phase="eval"):
        await memoized(1)
        await memoize(calls, version=2, tags={"fixed": None})(double)(5)
    await memoized(2)
    assert dict((await memoized.query({"x": 1}).only()).tags) == {"project": "own", "phase": "eval", "big": False}
    assert dict((await memoized.query({"x": 5}).only()).tags) == {"project": "alpha", "phase": "eval", "fixed": None}
    assert await memoized.query(tags={"big": True}).count() == 1
    assert await calls.query(tags={"phase": "eval", "project": "alpha"}).count() == 1
    assert await calls.query(tags={"big": 1}).count() == 0


async def test_tags_of_a_block_are_those_of_its_task(calls):
    memoized = memoize(calls)(double)

    async def work(number):
        with tagged(number=number):
            await asyncio.sleep(0)
            await memoized(number)

    await asyncio.gather(work(1), work(2))
    assert (await memoized.query({"x": 2}).only()).tags["number"] == 2


async def test_tags_of_a_block_that_are_not_legal_are_refused(ran):
    for tags in ({"project": ["alpha"]}, {"number": math.nan}, {"number": 2**64}, {"name": "\ud800"}):
        with pytest.raises(ConfigurationError, match="a tag "), tagged(**tags):
            ran.append(1)
    assert ran == []


async def test_metadata_that_cannot_be_recorded_are_refused_before_the_run(calls, ran):
    def since():
        return {"day": date(2026, 1, 2)}

    def around():
        yield {"day": date(2026, 1, 2)}

    for source in (since, around):
        with pytest.raises(ConfigurationError, match=rf"source of metadata '{source.__name__}': \$\.day: a date"):
            await memoize(calls, metadata=[source])(double)(1)
    assert ran == []


async def test_a_source_is_closed_when_another_one_fails(calls):
    closed = []

    def first():
        try:
            yield {}
        finally:
            closed.append(True)

    def second():
        raise ValueError("no facts")
        yield {}

    with pytest.raises(ValueError, match="no facts") as caught:
        await memoize(calls, metadata=[first, second])(double)(1)
    assert closed == [True]
    assert caught.value  # which keeps the frames alive


async def test_tags_that_are_not_legal_are_refused(calls, ran):
    with pytest.raises(ConfigurationError, match="a tag has a str"):
        await memoize(calls, tags=lambda x: {"x": [x]})(double)(1)
    with pytest.raises(ConfigurationError, match="tags must be a dict"):
        await calls.record(FunctionCall("f", {}, None, tags=["a"]))
    assert ran == []
