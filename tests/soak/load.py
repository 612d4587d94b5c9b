"""The load: clients that act as visitors would, others that are slow, and others that go away in the middle."""

import asyncio
import random
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

import httpx

CLIENTS = 24
NAMES = 12
FILES = 400
PATIENCE = 20.0
MOST_LATE = 5.0
"""Seconds after which a due request is not sent: no disturbance lasts so long, so the load itself is late."""
ABSENT = -1
Answer = tuple[httpx.Response, Sequence[int]]


class WrongAnswerError(Exception):
    """The service answered with something else than what was acknowledged before."""


@dataclass(frozen=True)
class Problem:
    """A request that failed: when it began and ended, in seconds since the start, and how."""

    began: float
    ended: float
    what: str


@dataclass
class Measured:
    """What the load has seen: the latencies of each part of the run, and every request that failed."""

    part: float
    """Seconds of a part."""
    started: float = field(default_factory=time.monotonic)
    latencies: list["array[float]"] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def now(self) -> float:
        return time.monotonic() - self.started

    def note(self, began: float, what: str, problem: str | None) -> None:
        ended = self.now()
        number = int(ended / self.part)
        while len(self.latencies) <= number:
            self.latencies.append(array("d"))
        self.latencies[number].append(ended - began)
        self.counts[what] += 1
        if problem is not None:
            self.problems.append(Problem(began, ended, f"{what}: {problem}"))


class Visitor:
    """A client with one connection, cookies, and names of its own, of which it knows what must be there."""

    def __init__(self, number: int, http: httpx.AsyncClient) -> None:
        self._http, self._random = http, random.Random(number)
        self._number, self._made = number, count()
        self._user: str | None = None
        self._names = [self._fresh() for _ in range(NAMES)]
        self._versions: dict[str, int] = {}

    def _fresh(self) -> str:
        return f"d{self._number}-{next(self._made)}"

    async def put(self) -> Answer:
        slot, version = self._random.randrange(NAMES), self._random.randrange(1_000_000)
        name, summary = self._names[slot], "x" * self._random.randrange(2000)
        body = {"name": name, "version": str(version), "summary": summary, "file_count": 1}
        return await self._write(slot, version, self._http.put(f"/distributions/{name}", json=body)), [204]

    async def delete(self) -> Answer:
        slot = self._random.randrange(NAMES)
        return await self._write(slot, ABSENT, self._http.delete(f"/distributions/{self._names[slot]}")), [204]

    async def _write(self, slot: int, version: int, request: Awaitable[httpx.Response]) -> httpx.Response:
        # A write without an answer may come to pass or not, also later: its name is never used again.
        name, self._names[slot] = self._names[slot], self._fresh()
        self._versions.pop(name, None)
        answer = await request
        if answer.status_code == 204:
            self._names[slot] = name
            self._versions[name] = version
        return answer

    async def get(self) -> Answer:
        name = self._random.choice(self._names)
        answer = await self._http.get(f"/distributions/{name}")
        if answer.status_code in {200, 404}:
            found = ABSENT if answer.status_code == 404 else int(answer.json()["version"])
            expected = self._versions.get(name, ABSENT)
            if found != expected:
                raise WrongAnswerError(f"{name} is version {found}, not {expected}")
        return answer, [200, 404]

    async def list(self) -> Answer:
        return await self._http.get("/distributions"), [200]

    async def put_files(self) -> Answer:
        numbers = self._random.sample(range(FILES), 10)
        return await self._http.put("/files", json=[{"owner": "soak", "path": f"file{n}"} for n in numbers]), [204]

    async def look_up_files(self) -> Answer:
        numbers = self._random.sample(range(FILES), 20)
        return await self._http.post("/files/lookup", json=[f"soak/file{number}" for number in numbers]), [200]

    async def search(self) -> Answer:
        return await self._http.get("/search", params={"text": f"file{self._random.randrange(50)}"}), [200]

    async def log_in(self) -> Answer:
        user = f"user{self._number}-{self._random.randrange(3)}"
        self._user = None
        answer = await self._http.post(f"/login/{user}")
        self._user = user if answer.status_code == 204 else None
        return answer, [204]

    async def me(self) -> Answer:
        answer = await self._http.get("/me")
        if answer.status_code == 200 and self._user is not None and answer.json() != self._user:
            raise WrongAnswerError(f"the session is of {answer.json()}, not of {self._user}")
        return answer, [200]

    async def log_out(self) -> Answer:
        self._user = None
        return await self._http.post("/logout"), [204]

    async def limited(self) -> Answer:
        return await self._http.get("/limited"), [200, 429]

    async def job(self) -> Answer:
        return await self._http.post("/jobs", content=b"x" * self._random.randrange(500)), [202]

    async def visit(self) -> Answer:
        return await self._http.post("/visits"), [200]

    async def exclusive(self) -> Answer:
        return await self._http.post(f"/exclusive/{self._random.randrange(20)}"), [204]

    async def order(self) -> Answer:
        return await self._http.post(f"/orders/{self._random.randrange(1_000_000)}"), [200]

    async def rest(self) -> Answer:
        path = f"/rest/v1/c/rest/{self._number}-{self._random.randrange(NAMES)}"
        method = self._random.choice(["GET", "PUT", "DELETE"])
        body = {"content": b'{"a": 1}', "headers": {"content-type": "application/json", "satchel-ttl": "60"}}
        return await self._http.request(method, path, **(body if method == "PUT" else {})), [200, 201, 204, 404]

    async def bad(self) -> Answer:
        name, wrong = "x" * 6000, self._random.randrange(5)
        requests: list[Callable[[], Awaitable[httpx.Response]]] = [
            lambda: self._http.put("/distributions/x", content=b"{"),
            lambda: self._http.put("/distributions/x", json={"name": "y", "version": "1", "file_count": 1}),
            lambda: self._http.put(f"/distributions/{name}", json={"name": name, "version": "1", "file_count": 1}),
            lambda: self._http.get("/search", params={"text": "x"}),
            lambda: self._http.post("/rest/v1/batch", content=b'{"operations": [{"op": "put"}]}'),
        ]
        return await requests[wrong](), [400, 415, 422]


WEIGHTS = {
    Visitor.get: 28,
    Visitor.put: 18,
    Visitor.delete: 5,
    Visitor.me: 8,
    Visitor.rest: 8,
    Visitor.look_up_files: 6,
    Visitor.put_files: 4,
    Visitor.job: 4,
    Visitor.bad: 4,
    Visitor.log_in: 3,
    Visitor.limited: 3,
    Visitor.visit: 2,
    Visitor.exclusive: 2,
    Visitor.order: 2,
    Visitor.log_out: 1,
    Visitor.list: 1,
    Visitor.search: 1,
}


async def run_load(address: str, rate: float, seconds: float, measured: Measured) -> None:
    """Send requests for some seconds: those of visitors at a rate a second, and beside them those of odd clients."""
    # Each is due at its time, whatever the service does, and its latency begins then: a stall hides nothing.
    due = iter(number / rate for number in range(int(rate * seconds)))
    odd = [asyncio.create_task(_go_on(client, address, measured)) for client in (slow, leaves, watches) * 2]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(_visit(number, address, due, measured))
    finally:
        for task in odd:
            task.cancel()
        await asyncio.wait(odd)


async def _visit(number: int, address: str, due: Iterator[float], measured: Measured) -> None:
    choice, actions, weights = random.Random(-number), list(WEIGHTS), list(WEIGHTS.values())
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False) as http:
        visitor = Visitor(number, http)
        for at in due:
            await asyncio.sleep(max(0.0, at - measured.now()))
            if measured.now() - at > MOST_LATE:
                measured.counts["not sent"] += 1
                continue
            (action,) = choice.choices(actions, weights)
            problem: str | None = None
            try:
                answer, right = await action(visitor)
                if answer.status_code not in right:
                    problem = str(answer.status_code)
            except WrongAnswerError as error:
                problem = f"WRONG ANSWER: {error}"
            except httpx.TransportError as error:
                problem = type(error).__name__
            measured.note(at, action.__name__, problem)


async def _go_on(client: Callable[[str, Measured], Awaitable[None]], address: str, measured: Measured) -> None:
    """Begin a client again where a connection failed, which is a problem: the service itself is never restarted."""
    while True:
        began = measured.now()
        try:
            await client(address, measured)
        except OSError as error:
            measured.problems.append(Problem(began, measured.now(), f"{client.__name__}: {error!r}"))
            await asyncio.sleep(1)


async def slow(address: str, measured: Measured) -> None:
    """Send requests a few bytes at a time, and read the answers as slowly."""
    while True:
        reader, writer = await asyncio.open_connection(urlsplit(address).hostname, urlsplit(address).port)
        request = b"GET /distributions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        for begin in range(0, len(request), 8):
            writer.write(request[begin : begin + 8])
            await asyncio.sleep(0.1)
        while await reader.read(4096):  # noqa: ASYNC110  # it is slow on purpose
            await asyncio.sleep(0.02)
        measured.counts["slow"] += 1
        writer.close()


async def leaves(address: str, measured: Measured) -> None:
    """Go away in the middle of a request, or of its answer."""
    for number in count():
        _, writer = await asyncio.open_connection(urlsplit(address).hostname, urlsplit(address).port)
        head = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
        begun = b"PUT /distributions/gone HTTP/1.1\r\n" + head + b'{"name":'
        asked = b"GET /distributions HTTP/1.1\r\nHost: localhost\r\n\r\n"
        writer.write(begun if number % 2 else asked)
        await asyncio.sleep(0.05 * (number % 7))
        writer.transport.abort()
        measured.counts["leaves"] += 1
        await asyncio.sleep(0.3)


async def watches(address: str, measured: Measured) -> None:
    """Follow the changes for a while, again and again, as pages do that are opened and closed."""
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False) as http:
        for number in count():
            with suppress(httpx.TransportError, TimeoutError):
                async with asyncio.timeout(1 + number % 10), http.stream("GET", "/changes") as stream:
                    async for _ in stream.aiter_bytes():
                        pass
            measured.counts["watches"] += 1
            await asyncio.sleep(0.2)
