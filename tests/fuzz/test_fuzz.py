"""Every target keeps its promises for the corpus and for inputs from a fixed seed, and can be seen to fail."""

import subprocess
import sys
from pathlib import Path

import pytest

from satchel import names
from satchel.backend import record
from satchel.content import pickles
from satchel.wrappers import compression
from tests.conftest import profile
from tests.fuzz import __main__ as command
from tests.fuzz import harness

SHARE = {"quick": 0.05, "default": 1, "long": 20}
"""Of the inputs of a target in the default profile."""
SLOW = {"calls", "content", "names", "urls"}
"""Targets that load many drivers, or use all of a store for each input."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in SLOW else name for name in harness.names()]
)
@pytest.mark.timeout(1800)
def test_no_input_breaks_a_promise(name: str) -> None:
    target = harness.target(name)
    for data in (*target.seeds(), *harness.corpus(name), b""):
        harness.attempt(target, data)
    for data in harness.inputs(target, seed=1, count=int(target.inputs * SHARE[profile()])):
        harness.attempt(target, data)


def test_the_corpus_is_small_and_of_targets() -> None:
    files = [path for path in harness.CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(harness.names())
    assert sum(path.stat().st_size for path in files) < 300_000


def find(name: str, count: int = 3000) -> BaseException:
    """Return the first error that inputs from a seed find."""
    target = harness.target(name)
    for data in harness.inputs(target, 1, count):
        try:
            harness.attempt(target, data)
        except BaseException as error:
            return error
    raise AssertionError(f"{count} inputs of {name} found nothing")


def test_an_error_of_another_kind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_names(wire: bytes) -> tuple[tuple[str, str], int]:
        length = wire[record.HEADER_SIZE + 1]  # not looked whether it is there
        return (wire[:length].decode("latin-1"), "k"), record.HEADER_SIZE + 2

    monkeypatch.setattr(record, "_read_names", read_names)
    assert isinstance(find("records"), (IndexError, AssertionError))


@pytest.mark.long
def test_two_names_that_become_one_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_percent_encode", lambda text: "-" * len(text))
    assert isinstance(find("names"), AssertionError)


def test_memory_beyond_the_bound_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression.Algorithm, "unpacked", lambda *_: bytes(64 << 20))
    assert isinstance(find("compression"), harness.TooMuchMemoryError)


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(_wire: bytes) -> None:
        while True:
            pass

    monkeypatch.setattr(record, "_read_names", forever)
    monkeypatch.setattr(harness, "CPU_SECONDS", 0.2)
    assert isinstance(find("records"), harness.HangError)


def test_a_pickle_that_is_loaded_though_nobody_signed_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles.Pickles, "check", lambda _self, body, _digest: body[40:])
    target = harness.target("content")
    trap = next(data for data in target.seeds() if b"spring" in data)
    with pytest.raises(AssertionError, match="a pickle was called"):
        target.check(trap)


def test_inputs_are_the_same_each_time() -> None:
    target = harness.target("files")
    assert [*harness.inputs(target, 1, 50)] == [*harness.inputs(target, 1, 50)]
    assert [*harness.inputs(target, 1, 50)] != [*harness.inputs(target, 2, 50)]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_command_fuzzes_with_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "BUILD", tmp_path)
    assert command.fuzz("names", 3) == 0
    assert (tmp_path / "names.log").stat().st_size
    assert len(list((tmp_path / "names").iterdir())) >= len(harness.target("names").seeds())


HANG = """
def hang(what, calls=iter(range(1 << 60))):
    while next(calls) > 100:  # later than what there is to begin with
        pass
    raise record.IntegrityError(what)

"""


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("record.DEADLINE_OFFSET, record._damaged = 30, lambda what: [][0]", "IndexError"),
        ("harness.CPU_SECONDS, record._damaged = 0.5, hang", "AssertionError: hang"),
    ],
)
def test_the_command_finds_a_fault(tmp_path: Path, fault: str, said: str) -> None:
    program = (
        "import sys; from tests.fuzz import __main__ as command, harness\n"
        f"from satchel.backend import record\n{HANG}{fault}\n"
        "command.run_inside('records', sys.argv[1:])"
    )
    options = ["-max_total_time=20", f"-artifact_prefix={tmp_path}/"]
    done = subprocess.run([sys.executable, "-c", program, *options], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_what_a_guided_run_has_kept_is_tried_with_all_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = harness.target("compression")
    for number, data in enumerate(target.seeds()):
        (tmp_path / str(number)).write_bytes(data)
    assert command.replay(target, tmp_path) == 0
    monkeypatch.setattr(compression.Algorithm, "unpacked", lambda *_: bytes(64 << 20))
    assert command.replay(target, tmp_path) == 1


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_command_keeps_what_reaches_new_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, kept = tmp_path / "build", tmp_path / "corpus"
    monkeypatch.setattr(command, "BUILD", build)
    monkeypatch.setattr(harness, "CORPUS", kept)
    (build / "records").mkdir(parents=True)
    seed, *_ = harness.target("records").seeds()
    for name, data in {"known": seed, "new": b"\x89S\x01"}.items():
        (build / "records" / name).write_bytes(data)
    command.keep("records")
    assert [path.read_bytes() for path in (kept / "records").iterdir()] == [b"\x89S\x01"]


@pytest.mark.night
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", harness.names())
def test_ten_minutes_find_nothing(name: str) -> None:
    assert command.fuzz(name, 600) == 0
