"""The soak: `python -m tests.soak` runs it, prints its verdict, and ends with 1 if that is against the service."""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from scripts.test_servers import resp
from scripts.test_servers.install import program
from scripts.test_servers.server import HOST, Server
from tests.soak.load import Measured, run_load
from tests.soak.plot import draw
from tests.soak.verdict import ALLOWED, Disturbances, complaints, growth, unexpected

RATE = 100
PARTS = 60
PAUSE = 120.0
"""Seconds between disturbances; in a short run a fifth of it."""
SETTLE = 5.0
"""Seconds after a disturbance in which requests may still fail; in a short run a quarter of the pause."""
SAMPLES = 720
SECONDS = 3600
MIB = 1 << 20
PAGE = os.sysconf("SC_PAGE_SIZE")


def begin_redis(server: Server) -> str:
    """Start a Redis that loses nothing when it is killed: it writes before it answers."""
    command = program("redis-server", "redis-server")
    server.ask_version(command)
    port, place = server.port_for("main"), str(server.folder("data"))
    keeps = ["--save", "", "--appendonly", "yes", "--appendfsync", "no"]
    server.spawn([command, "--port", str(port), "--bind", HOST, "--dir", place, *keeps])
    server.wait_until(lambda: resp.ask(port, "PING").startswith(b"PONG"))
    return f"redis://{HOST}:{port}/0"


@contextmanager
def running_service(url: str, log: Path) -> Iterator[tuple[str, int]]:
    """Run the service, and give its address and its process."""
    command = [sys.executable, "-m", "tests.soak.service"]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=os.environ | {"SATCHEL_URL": url}, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                raise SystemExit(f"the service did not start; {log} says why")
            yield address, process.pid
        finally:
            process.terminate()
            process.wait(20)


def restart(server: Server) -> None:
    """Kill the server, and start it again a second later."""
    server.kill()
    time.sleep(1)
    server.start()


def freeze(server: Server) -> None:
    """Stop the server in its tracks for three seconds; all connections stay open."""
    server.pause()
    time.sleep(3)
    server.resume()


def cut(server: Server) -> None:
    """Close all connections of the service from the other side."""
    for kind in ("normal", "pubsub"):
        resp.ask(server.port, "CLIENT", "KILL", "TYPE", kind)


KINDS: Sequence[Callable[[Server], None]] = (restart, cut, freeze)


async def disturb(server: Server, measured: Measured, pause: float) -> list[dict[str, Any]]:
    """Disturb the server again and again, until cancelled; the list fills meanwhile."""
    found: list[dict[str, Any]] = []
    try:
        while True:
            await asyncio.sleep(pause)
            kind = KINDS[len(found) % len(KINDS)]
            found.append({"kind": kind.__name__, "begin": measured.now(), "end": measured.now()})
            await asyncio.to_thread(kind, server)
            found[-1]["end"] = measured.now()
    except asyncio.CancelledError:
        return found


async def watch_gauges(address: str, pid: int, measured: Measured, pause: float) -> list[dict[str, float]]:
    """Read the gauges of the service again and again, until cancelled."""
    samples: list[dict[str, float]] = []
    process = Path(f"/proc/{pid}")
    try:
        async with httpx.AsyncClient(base_url=address, timeout=20, trust_env=False) as http:
            while True:
                await asyncio.sleep(pause)
                state = (await http.get("/state")).json()
                samples.append(
                    {
                        "at": round(measured.now(), 1),
                        "memory": round(int((process / "statm").read_text().split()[1]) * PAGE / MIB, 2),
                        "descriptors": len(list((process / "fd").iterdir())),
                        "threads": len(list((process / "task").iterdir())),
                        **state,
                    }
                )
    except asyncio.CancelledError:
        return samples


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def parts(measured: Measured) -> list[dict[str, float]]:
    """Return the percentiles of each part of the run, in seconds."""
    found = []
    for number, latencies in enumerate(measured.latencies):
        if ordered := sorted(latencies):
            shares = {name: round(percentile(ordered, share), 5) for name, share in SHARES.items()}
            found.append({"until": (number + 1) * measured.part, "requests": len(ordered), **shares})
    return found


SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


async def soak(server: Server, address: str, pid: int, seconds: float, rate: float) -> dict[str, Any]:
    """Run the load, the disturbances and the gauges together, and return all that was seen."""
    measured = Measured(seconds / PARTS)
    pause = min(PAUSE, seconds / 5)
    disturber = asyncio.create_task(disturb(server, measured, pause))
    watcher = asyncio.create_task(watch_gauges(address, pid, measured, seconds / SAMPLES))
    await run_load(address, rate, seconds, measured)
    for task in (disturber, watcher):
        task.cancel()
    disturbances, samples = await disturber, await watcher
    spans = [(each["begin"], each["end"]) for each in disturbances]
    windows = Disturbances(spans, min(SETTLE, pause / 4))
    everything = sorted(latency for part in measured.latencies for latency in part)
    return {
        "seconds": seconds,
        "rate": rate,
        "server": server.version,
        "requests": dict(measured.counts.most_common()),
        "latencies": {name: round(percentile(everything, share), 5) for name, share in SHARES.items()},
        "growth": {gauge: growth(samples, gauge, windows) for gauge in ALLOWED},
        "complaints": complaints(samples, measured.problems, windows),
        "failed": dict(Counter(problem.what for problem in measured.problems).most_common()),
        "unexpected": [vars(problem) for problem in unexpected(measured.problems, windows)],
        "disturbances": disturbances,
        "parts": parts(measured),
        "samples": samples,
    }


def report(result: Mapping[str, Any]) -> int:
    """Print what was found, and return the exit code."""
    lines = [f"{title}: {result[title]}" for title in ("requests", "latencies", "growth", "failed")]
    lines.append(f"disturbances: {len(result['disturbances'])}")
    lines += [f"AGAINST IT: {line}" for line in result["complaints"]]
    lines.append(f"verdict: {'failed' if result['complaints'] else 'passed'}")
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(result["complaints"]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Soak the catalogue service.")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SOAK_SECONDS") or SECONDS))
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=Path("build/soak"), help="(default: %(default)s)")
    given = parser.parse_args()
    given.results.mkdir(parents=True, exist_ok=True)
    with Server("redis", begin_redis) as server:
        url = server.start()
        with running_service(url, given.results / "service.log") as (address, pid):
            result = asyncio.run(soak(server, address, pid, given.seconds, given.rate))
    (given.results / "result.json").write_text(json.dumps(result), "utf-8")
    draw(result, given.results / "soak.svg")
    return report(result)


if __name__ == "__main__":
    sys.exit(main())
