"""Runs the catalogue from end to end: load, read back, search, kill, restart, read again.

`python demo.py` runs the demonstration; `python demo.py serve` leaves the service running on the same data.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
from client import CLIENTS, Inventory, Measured, load, read_back
from inventory import installed

HERE = Path(__file__).parent
DATA = HERE.parent.parent / ".satchel" / "catalogue"
SEARCH_TTL = 1.5
START_TIMEOUT = 20


class Service:
    """Is the service in a process of its own, on a free loopback port."""

    def __init__(self, url: str, port: int) -> None:
        self._command = [sys.executable, str(HERE / "app.py"), "--port", str(port)]
        self._environment = os.environ | {"SATCHEL_URL": url, "CATALOGUE_SEARCH_TTL": str(SEARCH_TTL)}

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Start the service, give its address, and kill it with SIGKILL: it gets no chance to tidy up."""
        with subprocess.Popen(self._command, env=self._environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield self._address(process)
            finally:
                process.kill()

    def _address(self, process: subprocess.Popen[str]) -> str:
        for line in process.stdout or ():
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                return found[0]
        raise SystemExit(process.wait() or 1)  # the service has said why on stderr


async def ready(http: httpx.AsyncClient) -> None:
    """Wait until the service says that its store answers."""
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get("/ready")).is_success:
                    return
            await asyncio.sleep(0.05)


async def first_life(address: str, inventory: Inventory) -> list[Measured]:
    async with client(address) as http:
        await ready(http)
        phases = [await load(http, inventory), await read_back(http, inventory, "Read back and check")]
        await show_search(http)
        return phases


async def second_life(address: str, inventory: Inventory) -> list[Measured]:
    async with client(address) as http:
        await ready(http)
        return [await read_back(http, inventory, "Read after kill -9")]


def client(address: str) -> httpx.AsyncClient:
    # Loopback only, whatever proxies the environment names.
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    return httpx.AsyncClient(base_url=address, limits=limits, timeout=30, trust_env=False)


async def show_search(http: httpx.AsyncClient) -> None:
    """Search three times: not cached yet, cached, expired."""
    text = "meta"
    for expected, pause in (("miss", 0.0), ("hit", 0.0), ("miss", SEARCH_TTL + 0.1)):
        await asyncio.sleep(pause)
        started = time.perf_counter()
        answer = (await http.get("/search", params={"text": text})).raise_for_status()
        taken = (time.perf_counter() - started) * 1000
        cache = answer.headers["x-cache"]
        after = f", {pause:.1f} s later" if pause else ""
        print(f"  Search {text!r}: {len(answer.json()):,} files, cache {cache} in {taken:.1f} ms{after}", flush=True)
        if cache != expected:
            raise SystemExit(f"the search cache gave a {cache} where a {expected} was due")
    statistics = (await http.get("/statistics")).raise_for_status().json()
    searches = statistics["searches"]["get"]
    print(f"  Search cache in all: {searches['hits']} hits, {searches['misses']} misses", flush=True)
    metrics = (await http.get("/metrics")).raise_for_status().text.splitlines()
    shown = [line for line in metrics if line.startswith("satchel_operations_total{") and "searches" in line]
    print(f"  GET /metrics: {len(metrics)} lines for Prometheus, such as", *shown[:1], sep="\n    ", flush=True)


def report(phases: list[Measured]) -> None:
    print(f"\n  {'':<24}{'entries':>9}{'requests':>10}{'entries/s':>11}{'p50 ms':>9}{'p99 ms':>9}")
    for phase in phases:
        rate = phase.entries / phase.seconds
        p50, p99 = phase.percentile(0.5) * 1000, phase.percentile(0.99) * 1000
        requests = len(phase.latencies)
        print(f"  {phase.title:<24}{phase.entries:>9,}{requests:>10,}{rate:>11,.0f}{p50:>9.1f}{p99:>9.1f}")


def demonstrate(url: str, port: int) -> None:
    inventory = list(installed())
    files = sum(len(found) for _, found in inventory)
    print(f"satchel catalogue: {len(inventory)} distributions with {files:,} files, {CLIENTS} clients")
    print(f"  Store {url}\n", flush=True)
    service = Service(url, port)
    with service.running() as address:
        phases = asyncio.run(first_life(address, inventory))
    print("  The service was killed with SIGKILL, and is started again.", flush=True)
    with service.running() as address:
        phases += asyncio.run(second_life(address, inventory))
    report(phases)
    print("\n  Everything that was put came back as it was, also after the kill.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("demo", "serve"), default="demo")
    parser.add_argument("--port", type=int, help="loopback port (default: a free one; 8000 to serve)")
    parser.add_argument("--data", type=Path, default=DATA, help="where the embedded store lies (default: %(default)s)")
    arguments = parser.parse_args()
    url = os.environ.get("SATCHEL_URL") or f"disk://{quote(str(arguments.data.resolve()))}"
    if arguments.what == "serve":
        environment = os.environ | {"SATCHEL_URL": url}
        return subprocess.run(
            [sys.executable, str(HERE / "app.py"), "--port", str(arguments.port or 8000)], env=environment, check=False
        ).returncode
    demonstrate(url, arguments.port or 0)
    if "SATCHEL_URL" not in os.environ:
        data = arguments.data.resolve()
        print(f"  The data lies in {data}; remove it with: rm -r {shlex.quote(str(data))}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\n  Interrupted. The service has been stopped; what was loaded so far stays where it is.")
        sys.exit(130)
