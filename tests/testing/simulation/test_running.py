"""One seed is one run, and what fails is shrunk and can be repeated."""

import importlib
import os
import re
import shlex
import subprocess
import sys

import pytest

from satchel.testing.simulation import SimulatedEngine, SimulatedStore, SimulationError, World, check, run, shrink
from satchel.testing.simulation.__main__ import main
from satchel.testing.simulation.scenarios import SCENARIOS

SEEDS = range(5)


async def forgetting(world: World):
    """Lose what was acknowledged, if two certain steps take place."""
    engine = SimulatedEngine(world)
    async with SimulatedStore(world.main, engine) as store:
        for number in range(20):
            if world.takes_place(f"put.{number}"):
                await store.put("c", str(number), number)
        if world.takes_place("forget"):
            engine.data.pop(("c", "7"), None)
        for number in range(20):
            if f"put.{number}" in world.taken:
                assert await store.get("c", str(number)) == number


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_seed_is_one_run_to_the_letter(name):
    for seed in SEEDS:
        first, second = (run(SCENARIOS[name], seed) for _ in range(2))
        assert first.history == second.history
        assert first.trace == second.trace
    assert len({run(SCENARIOS[name], seed).trace for seed in SEEDS}) == len(SEEDS)


@pytest.mark.long
def test_a_seed_is_the_same_run_in_another_process():
    script = (
        "from satchel.testing.simulation import run\n"
        "from satchel.testing.simulation.scenarios import SCENARIOS\n"
        f"print([run(each, seed).trace for each in SCENARIOS.values() for seed in range({len(SEEDS)})])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert told == {str([run(each, seed).trace for each in SCENARIOS.values() for seed in SEEDS])}


def test_a_failing_run_is_shrunk_to_the_steps_that_it_needs():
    failed = run(forgetting, 1)
    assert isinstance(failed.error, AssertionError)
    smallest = shrink(failed)
    assert smallest.taken == ["put.7", "forget"]
    again = run(forgetting, 1, smallest.taken)
    assert (again.trace, type(again.error)) == (smallest.trace, AssertionError)


def test_a_check_says_how_to_repeat_what_fails():
    with pytest.raises(SimulationError) as caught:
        check(forgetting, [3])
    name = f"{__name__}:forgetting"
    assert f"python -m satchel.testing.simulation --scenario {name} --seed 3\n" in str(caught.value)
    assert f"--scenario {name} --seed 3 --only put.7 forget" in str(caught.value)


SCENARIO = """
async def scenario(world):
    assert not world.takes_place("a step, among others")
"""


def test_a_scenario_in_a_file_of_its_own_is_repeated_by_its_name(tmp_path, monkeypatch, capsys):
    """As pytest imports a test from a folder that is no package: the command is called from the folder above."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_of_a_user.py").write_text(SCENARIO)
    with monkeypatch.context() as imported:
        imported.syspath_prepend(tests)
        scenario = importlib.import_module("test_of_a_user").scenario
        imported.chdir(tmp_path)
        report = shrink(run(scenario, 1)).report()
    monkeypatch.delitem(sys.modules, "test_of_a_user")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    for line in (line.strip() for line in report.splitlines() if line.startswith("    python")):
        assert main(shlex.split(line)[3:]) == 1
        assert re.findall("trace .* on Python", capsys.readouterr().out) == re.findall("trace .* on Python", report)


def test_a_scenario_within_a_function_is_repeated_by_a_call():
    async def scenario(world):
        assert not world.takes_place("step")

    assert run(scenario, 1).report().endswith(f"run({scenario.__qualname__}, 1)")


def test_a_command_runs_many_seeds(capsys):
    assert main(["--scenario", "bulk", "--seeds", "5", "--first", "100"]) == 0
    assert capsys.readouterr().out == "5 runs from seed 100, 0 failed\n"


def test_a_command_repeats_one_seed(capsys):
    assert main(["--scenario", "bulk", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert run(SCENARIOS["bulk"], 3).trace in said
    assert "--scenario satchel.testing.simulation.scenarios:bulk --seed 3\n" in said


async def test_a_run_within_an_event_loop_is_refused():
    with pytest.raises(RuntimeError, match="plain function"):
        run(forgetting, 1)
