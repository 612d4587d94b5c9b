"""Fuzzing: `python -m tests.fuzz TARGET --seconds 600`, guided by coverage where atheris is; `all` is each in turn.

What it finds is in `build/fuzz/TARGET`; it ends with another code than 0 if an input breaks a promise. `--keep` adds
the inputs of the run that reach code which no kept one reaches to `tests/fuzz/corpus/TARGET`.
"""

import argparse
import hashlib
import random
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import harness

BUILD = Path("build/fuzz")
HALF = 0.5
"""Share of the inputs that libFuzzer makes; the others are made as in the tests, with whole values and tokens."""
MOST_KEPT = 20_000
"""Bytes of a target's corpus."""


def guided(target: harness.Target, arguments: list[str]) -> None:
    """Let atheris run a target in this process, until libFuzzer ends it."""
    import atheris  # noqa: PLC0415  # some Pythons have none

    def one(data: bytes) -> None:
        try:
            with harness.in_time():
                target.check(data)
        except harness.HangError as error:
            raise AssertionError("hang") from error

    def mutated(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < HALF:
            return bytes(atheris.Mutate(data, len(data)))[:longest]
        return harness.changed(target, data, chance.choice(known), chance)[:longest]

    known = [*target.seeds(), *harness.corpus(target.name)]
    # To merge, libFuzzer has a shell run the first of these words again and again.
    atheris.Setup([shlex.join(command(target.name)), *arguments], one, custom_mutator=mutated)
    atheris.Fuzz()


def unguided(target: harness.Target, seconds: float) -> None:
    """Try inputs from one seed after another."""
    end, seed = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        seed += 1
        for data in harness.inputs(target, seed, 1000):
            harness.attempt(target, data)
            if time.monotonic() > end:
                break


def prepare(target: harness.Target, work: Path) -> None:
    """Put what is known into the directory of a run."""
    work.mkdir(parents=True, exist_ok=True)
    for data in (*target.seeds(), *harness.corpus(target.name)):
        (work / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    (work.parent / f"{target.name}.tokens").write_text(
        "".join(
            '"' + "".join(f"\\x{byte:02x}" for byte in token) + '"\n' for token in target.tokens if len(token) < 60
        ),
        "utf-8",
    )


def command(name: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "tests.fuzz", name, "--inside", *more]


def fuzz(name: str, seconds: int) -> int:
    """Run a target in a process of its own, and return its exit code."""
    work = BUILD / name
    target = harness.target(name)
    prepare(target, work)
    options = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={work}-",
        "-print_final_stats=1",
    ]
    if target.tokens:  # an empty file of them is an error
        options.append(f"-dict={work}.tokens")
    # Seconds of the clock, on a machine that others use too.
    options += [
        f"-max_len={harness.LONGEST}",
        "-timeout=60",
        "-rss_limit_mb=2048",
        f"-malloc_limit_mb={harness.MEMORY * 8 >> 20}",
    ]
    with Path(f"{work}.log").open("w", encoding="utf-8") as log:
        done = subprocess.run(command(name, str(work), *options), stdout=log, stderr=subprocess.STDOUT, check=False)
    lines = Path(f"{work}.log").read_text("utf-8", errors="replace").splitlines()
    stats = [line for line in lines if line.startswith("stat::number_of_executed_units") or " DONE " in line]
    sys.stdout.write(f"{name}: {done.returncode} after {seconds} s; {' '.join(stats)}\n")
    if done.returncode:
        sys.stdout.write("\n".join(lines[-40:]) + "\n")
    sys.stdout.flush()
    return done.returncode or replay(target, work)


def replay(target: harness.Target, work: Path) -> int:
    """Try what a run has kept with all limits, that of memory too, which a guided run has not; return the exit code."""
    for path in sorted(work.iterdir()):
        try:
            harness.attempt(target, path.read_bytes())
        except BaseException as error:
            sys.stdout.write(f"{path}: {error!r}\n")
            return 1
    return 0


def keep(name: str) -> None:
    """Add to the corpus what reaches code that nothing in it reaches, the shortest first, while there is room."""
    place, merged = harness.CORPUS / name, BUILD / f"{name}.merged"
    place.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir()
    options = ["-merge=1", f"-max_len={harness.LONGEST}", "-timeout=60"]
    for data in harness.target(name).seeds():
        (merged / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    seeds = set(merged.iterdir())
    subprocess.run(
        command(name, str(merged), str(place), str(BUILD / name), *options), capture_output=True, check=False
    )
    room = MOST_KEPT - sum(path.stat().st_size for path in place.iterdir())
    for path in sorted(set(merged.iterdir()) - seeds, key=lambda path: path.stat().st_size):
        room -= path.stat().st_size
        if room < 0:
            break
        shutil.copy(path, place / path.name[:16])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", choices=[*harness.names(), "all"])
    parser.add_argument("--seconds", type=int, default=600, help="of each target (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="add what is new to the corpus")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.inside:
        run_inside(given.target, rest)
        return 0
    BUILD.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in harness.names() if given.target == "all" else [given.target]:
        failed |= fuzz(name, given.seconds)
        if given.keep:
            keep(name)
    return int(bool(failed))


def run_inside(name: str, arguments: list[str]) -> None:
    """Be the process of a run: with coverage of satchel, if that can be had."""
    try:
        import atheris  # noqa: PLC0415  # some Pythons have none
    except ImportError:
        (seconds,) = [int(text.partition("=")[2]) for text in arguments if text.startswith("-max_total_time=")]
        unguided(harness.target(name), seconds)
        return
    with atheris.instrument_imports(include=["satchel"]):
        target = harness.target(name)
        for data in target.seeds():  # they import what is imported late
            with harness.in_time():
                target.check(data)
    guided(target, arguments)


if __name__ == "__main__":
    sys.exit(main())
