"""The verdict on mutation testing: a change that nobody noticed fails the run unless the list says why."""

import tomllib

import pytest

from scripts.mutation.verdict import Mutant, Outcome, judge, read_modules, table
from tests.project.checkout import ROOT

HERE = ROOT / "scripts/mutation"
KILLED = Mutant("Store.get", "a < b => a <= b", Outcome.KILLED)
SURVIVOR = Mutant("Store.get", "a + b => a - b", Outcome.SURVIVED)
LISTED = {"function": "Store.get", "why": "b is 0", "changes": [SURVIVOR.change]}


def test_a_survivor_that_is_not_listed_fails_the_run_and_is_shown():
    verdict = judge("module", [KILLED, SURVIVOR], [])
    assert verdict.failed
    assert verdict.report() == "survived: Store.get: a + b => a - b"


def test_a_listed_survivor_passes():
    verdict = judge("module", [KILLED, SURVIVOR], [LISTED])
    assert not verdict.failed
    assert verdict.explained == [SURVIVOR]
    assert table([verdict]).splitlines()[1].split() == ["module", "2", "1", "0", "1", "0"]


@pytest.mark.parametrize("entry", [{"function": "Store.put"}, {"changes": ["a + b => a * b"]}])
def test_a_list_explains_the_change_it_names_and_no_other(entry):
    verdict = judge("module", [KILLED, SURVIVOR], [LISTED | entry])
    assert verdict.unexplained == [SURVIVOR]


@pytest.mark.parametrize("entry", [{"why": " "}, {"why": ""}])
def test_a_list_without_a_reason_is_refused(entry):
    with pytest.raises(ValueError, match=r"no reason for Store\.get"):
        judge("module", [SURVIVOR], [LISTED | entry])


def test_what_ended_without_a_result_is_no_survivor_to_explain():
    verdict = judge("module", [Mutant("Store.get", SURVIVOR.change, Outcome.UNKNOWN)], [LISTED])
    assert verdict.failed


def test_a_run_that_changed_nothing_fails():
    assert judge("module", [], []).failed


def test_an_entry_that_no_survivor_needs_is_shown():
    verdict = judge("module", [KILLED], [LISTED])
    assert not verdict.failed
    assert verdict.report() == "listed, but no longer a survivor: Store.get: a + b => a - b"


def test_the_modules_and_the_list_are_about_what_is_there():
    modules = read_modules((HERE / "modules.toml").read_text("utf-8"))
    for module in modules.values():
        assert [source for source in module.sources if not (ROOT / "src/satchel" / source).is_file()] == []
        assert [test for test in module.tests if not (ROOT / test.split("::")[0]).is_file()] == []
        assert set(module.functions) <= set(module.sources)
    listed = tomllib.loads((HERE / "survivors.toml").read_text("utf-8"))
    assert set(listed) <= set(modules)
    for name, entries in listed.items():
        judge(name, [], entries)
        text = "".join((ROOT / "src/satchel" / source).read_text("utf-8") for source in modules[name].sources)
        gone = {entry["function"] for entry in entries if f"def {entry['function'].split('.')[-1]}(" not in text}
        assert gone == set()
