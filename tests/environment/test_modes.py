"""Modes: prefixes, marks, stages, blocks."""

import asyncio

import pytest

from satchel.environment import Environment, Mode, ModeError

VARIABLES = {"PORT": "1", "DEV_PORT": "2", "PROD_PORT": "3", "PROD_ONLY": "4"}


def test_a_spelling_of_the_mode_beats_the_plain_one_within_a_source():
    env = Environment(VARIABLES, mode=Mode.DEV)
    assert (env["PORT"], env.get("PORT", mode=Mode.PROD), env.get("PORT", mode="prod")) == ("2", "3", "3")
    assert Environment(VARIABLES)["PORT"] == "1"
    assert Environment(VARIABLES, {"PORT": "9"}, mode=Mode.DEV)["PORT"] == "9"


def test_what_is_listed():
    assert list(Environment(VARIABLES)) == ["PORT", "DEV_PORT", "PROD_PORT", "PROD_ONLY"]
    env = Environment(VARIABLES, mode=Mode.PROD)
    assert list(env) == ["PORT", "DEV_PORT", "ONLY"]
    assert env.mode_variables == {"PORT": "3", "ONLY": "4"}
    assert env["PROD_ONLY"] == "4"


def test_variables_for_some_modes():
    env = Environment({"A": "1"}, mode=Mode.DEV)
    env.set({"A": "2", "B": "3"}, modes=[Mode.PROD, "test"])
    assert (env["A"], env.get("A", mode="prod"), env.get("B", mode="test"), "B" in env) == ("1", "2", "3", False)
    assert env.delete("A", modes=[Mode.PROD]) is True
    assert (env.get("A", mode="prod"), env.get("A", mode="test")) == ("1", "2")


def test_marks():
    env = Environment({"DEBUG": "1", "A": "2"})
    env.mark_as_mode_var("DEBUG", Mode.DEV)
    env.mark_as_mode_var("DEBUG", Mode.TEST)
    assert "DEBUG" not in env
    assert env.get("DEBUG", mode=Mode.DEV) == env.get("DEBUG", mode=Mode.TEST) == "1"
    with env.with_mode(Mode.DEV):
        assert list(env.mode_variables) == ["DEBUG"]
    assert env.mode_mappings == {"DEBUG": {Mode.DEV, Mode.TEST}}


async def test_a_mode_holds_in_its_block_and_its_task_alone():
    env = Environment(VARIABLES, mode=Mode.DEV)
    other = Environment(VARIABLES)
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def in_prod():
        with env.with_mode(Mode.PROD) as same:
            inside.set()
            await go_on.wait()
            assert same["PORT"] == "3"
            with env.with_mode(None):
                assert env["PORT"] == "1"
            assert other["PORT"] == "1"

    task = asyncio.create_task(in_prod())
    await inside.wait()
    assert env["PORT"] == "2"
    go_on.set()
    await task
    assert (env["PORT"], env.mode) == ("2", Mode.DEV)


async def test_a_marked_function_runs_in_its_mode():
    env = Environment(VARIABLES)

    @env.mark("prod")
    def port(shift: int) -> int:
        return int(env["PORT"]) + shift

    @env.mark(Mode.DEV)
    async def port_later() -> str:
        await asyncio.sleep(0)
        return env["PORT"]

    assert (port(1), await port_later(), env["PORT"]) == (4, "2", "1")
    assert port.__name__ == "port"


def test_own_stages():
    stages = Mode.with_stages(QA="qa", PRE_PROD="preprod")
    env = Environment({"A": "1", "QA_A": "2", "PRE_PROD_A": "3"}, mode=stages("qa"))
    assert (env["A"], env.get("A", mode="preprod"), env.get("A", mode="dev")) == ("2", "3", "1")


@pytest.mark.parametrize(
    ("stages", "match"),
    [
        ({"DEV": "x"}, "a mode DEV already"),
        ({"QA": "dev"}, "no other mode"),
        ({"qa": "qa"}, "capital"),
        ({"QA": ""}, "QA"),
    ],
)
def test_a_stage_that_is_like_another_is_refused(stages, match):
    with pytest.raises(ModeError, match=match):
        Mode.with_stages(**stages)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ModeError, match="unknown mode 'qa'; known: dev, test, staging, prod"):
        Environment(mode="qa")
    env = Environment({"A": "1"})
    for use in (lambda: env.get("A", mode="x"), lambda: env.with_mode("x").__enter__(), lambda: env.mark("x")):
        with pytest.raises(ModeError):
            use()
