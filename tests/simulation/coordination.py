"""Scenarios of coordination: what processes that crash do to each other through a simulated engine."""

import asyncio
import itertools
from contextlib import contextmanager, suppress

from satchel import LockLostError, StoreError
from satchel.coordination import Busy, Claimed, Counter, Leader, Lock, Once, Queue, RateLimit, Recorded, Semaphore
from tests.simulation.setting import Setting

LEASE = 1.0
PATIENCE = 5 * LEASE
APART = 20 * 3600.0
"""How far clocks are apart where they must not matter, in seconds."""
PAUSES = (0, 0.05, LEASE / 4, LEASE / 2, LEASE)


class Held:
    """What is held at the same time, and how much of it may be.

    Args:
        most: How many may hold it at once.
        is_held: Returns whether a holder has not lost it, as far as its own process can know.

    Attributes:
        given: For each holder the ticks before and after it was given, and its fencing token.
    """

    def __init__(self, most, is_held):
        self._most, self._is_held = most, is_held
        self._holders, self.given = [], []
        self.ticks = itertools.count()

    @contextmanager
    def by(self, holder):
        """Note that somebody holds it, for the length of a block."""
        self._holders.append(holder)
        try:
            self._check()
            yield
            self._check()
        finally:
            self._holders.remove(holder)

    def give(self, begun, token):
        """Note that a holder who began at a tick has got a token."""
        self.given.append((begun, next(self.ticks), token))

    def _check(self):
        assert sum(map(self._is_held, self._holders)) <= self._most, "too many hold it"

    def check_tokens(self):
        """Check that of two holders the later one has the higher token."""
        tokens = [token for *_, token in self.given]
        assert len(set(tokens)) == len(tokens), "two have the same token"
        for (_, ended, earlier), (begun, _, later) in itertools.permutations(self.given, 2):
            assert begun < ended or later > earlier, "a later holder has a lower token"


async def locks(world):
    """Never do two hold a lock, a later holder has a higher token, and a lock is not lost for good."""
    setting, held, written = Setting(world, skew=APART), Held(1, lambda lock: lock.held), [0]
    if world.random("slow").random() < 0.3:
        setting.make_slow()

    def write(lock, client):
        if not client.was_stopped:
            assert lock.fencing_token >= written[-1], "an earlier holder writes after a later one"
            written.append(lock.fencing_token)

    async def holder(client):
        lock = Lock(client.store, "name", ttl=LEASE, clock=client.clock)
        for _ in client.steps(4):
            begun = next(held.ticks)
            with suppress(StoreError, LockLostError):
                async with lock:
                    held.give(begun, lock.fencing_token)
                    write(lock, client)
                    with held.by(lock):
                        await client.pause(*PAUSES)
                        write(lock, client)
            await client.pause(0, LEASE / 4)

    await setting.work(*[holder] * 3)
    held.check_tokens()
    await setting.calm()
    async with setting.quiet() as quiet:
        lock = Lock(quiet.store, "name", ttl=LEASE)
        assert await lock.acquire(timeout=PATIENCE), "nobody gets the lock any more"
        await lock.release()
        assert not await lock.locked()


async def locks_of_hasty_callers(world):
    """A lock that is kept only while it is held leaves no entry, although its callers are cancelled at any moment."""
    setting, held = Setting(world, skew=APART), Held(1, lambda lock: lock.held)

    async def holder(client):
        lock = Lock(client.store, "name", ttl=LEASE, keep=0, clock=client.clock)
        for _ in client.steps(4):
            with suppress(StoreError, LockLostError, TimeoutError):
                async with asyncio.timeout(client.chance.choice([0.01, 0.1, 1, 10]) * client.chance.random()), lock:
                    with held.by(lock):
                        await client.pause(*PAUSES)

    await setting.work(*[holder] * 3)
    assert not setting.is_calm or setting.entries("locks") == {}, "a cancelled caller leaves a lock taken"
    await setting.calm()
    async with setting.quiet() as quiet:
        lock = Lock(quiet.store, "name", ttl=LEASE, keep=0)
        assert await lock.acquire(timeout=PATIENCE), "nobody gets the lock any more"
        await lock.release()
    assert setting.entries("locks") == {}


async def leaders(world):
    """Never do two lead, a later term has a higher token, and there is always a next leader."""
    setting, held = Setting(world, skew=APART), Held(1, lambda term: not term.lost)

    async def candidate(client):
        leader = Leader(client.store, "cron", ttl=LEASE)
        for _ in client.steps(3):
            begun = next(held.ticks)
            with suppress(StoreError, LockLostError):
                async with leader.term() as term:
                    held.give(begun, term.fencing_token)
                    with held.by(term):
                        await client.pause(*PAUSES)

    await setting.work(*[candidate] * 3)
    held.check_tokens()
    await setting.calm()
    async with (
        setting.quiet() as quiet,
        asyncio.timeout(PATIENCE),
        Leader(quiet.store, "cron", ttl=LEASE).term() as term,
    ):
        assert not term.lost


async def semaphores(world):
    """Never do more hold a permit than there are, and no permit is lost for good."""
    setting, held = Setting(world, skew=APART), Held(2, lambda permit: not permit.lost)

    async def holder(client):
        semaphore = Semaphore(client.store, "gpu", permits=2, ttl=LEASE)
        for _ in client.steps(3):
            with suppress(StoreError, LockLostError, TimeoutError):
                async with semaphore.permit(timeout=client.chance.choice([0, 1, 10])) as permit:
                    with held.by(permit):
                        await client.pause(*PAUSES)

    await setting.work(*[holder] * 4)
    await setting.calm()
    async with setting.quiet() as quiet:
        semaphore = Semaphore(quiet.store, "gpu", permits=2, ttl=LEASE)
        async with semaphore.permit(timeout=PATIENCE), semaphore.permit(timeout=PATIENCE):
            assert await semaphore.taken() == 2
        assert await semaphore.taken() == 0


async def idempotency(world):
    """A function does not run twice at once, nor after its result was recorded: all callers get the same result."""
    setting, results, running, recorded = Setting(world, skew=APART), {}, [], set()
    numbers = itertools.count()

    async def work(key, client):
        assert key not in recorded, "a function runs although its result is recorded"
        others = [other for other in running if other[0] == key and not (other[1].crashed or other[1].was_stopped)]
        assert not others, "a function runs twice at once"
        running.append((key, client))
        try:
            await client.pause(*PAUSES)
            if client.chance.random() < 0.2:
                raise ZeroDivisionError
            return next(numbers)
        finally:
            running.remove((key, client))

    def note(key, result):
        assert results.setdefault(key, result) == result, "two callers got different results"
        recorded.add(key)

    async def claim(once, key, client):
        match await once.claim(key):
            case Recorded(result):
                note(key, result)
            case Claimed() as claimed:
                async with claimed:
                    result = await work(key, client)
                    await claimed.record(result)
                    note(key, result)
            case Busy():
                await client.pause(0.1, LEASE)

    async def run(once, key, client):
        note(key, await once.run(key, lambda: work(key, client)))

    async def caller(client):
        once = Once(client.store, claim_ttl=LEASE)
        for _ in client.steps(4):
            key, call = client.chance.choice("ab"), client.chance.choice([run, run, claim])
            with suppress(StoreError, LockLostError, ZeroDivisionError):
                await call(once, key, client)

    await setting.work(*[caller] * 3)
    await setting.calm()
    async with setting.quiet() as quiet:
        once = Once(quiet.store, claim_ttl=LEASE)
        async with asyncio.timeout(PATIENCE):
            for key in "ab":
                with suppress(ZeroDivisionError):
                    await run(once, key, quiet)


async def counters(world):
    """An acknowledged increment is counted once, one that failed once or not at all, and a count never goes back."""
    setting, counted, unknown, seen = Setting(world), 0, 0, []
    ticks, amounts = itertools.count(), (1 << bit for bit in range(60))

    async def add(counter):
        nonlocal counted, unknown
        amount, begun = next(amounts), next(ticks)
        unknown |= amount
        with suppress(StoreError):
            count = await counter.increment(amount)
            assert count & amount, "an increment is not in its own count"
            seen.append((begun, next(ticks), count))
            counted, unknown = counted | amount, unknown & ~amount

    async def increments(client):
        counter = Counter(client.store, "name")
        for _ in client.steps(5):
            await asyncio.gather(*(add(counter) for _ in range(client.chance.randint(1, 3))))
            await client.pause(0, 0, 0.1, 1)

    await setting.work(*[increments] * 3)
    await setting.calm()
    async with setting.quiet() as quiet:
        count = await Counter(quiet.store, "name").value()
        assert count & counted == counted, "an acknowledged increment is lost"
        assert not count & ~(counted | unknown), "something was counted twice"
        for (_, ended, earlier), (begun, _, later) in itertools.permutations(seen, 2):
            assert begun < ended or earlier & later == earlier, "a count went back"


LIMIT, BURST, PER = 6, 3, 6.0


async def rate_limits(world):
    """In no span more hits are allowed than the limit says, with those that come back while clocks are apart."""
    setting, allowed = Setting(world, skew=6.0), []

    async def hit(limit):
        begun = setting.now
        with suppress(StoreError):
            if (await limit.hit("k")).allowed:
                allowed.append((begun, setting.now))

    async def hits(client):
        limit = RateLimit(client.store, "login", limit=LIMIT, per=PER, burst=BURST, clock=client.clock)
        for _ in client.steps(12):
            await asyncio.gather(*(hit(limit) for _ in range(client.chance.randint(1, 3))))
            await client.pause(0, 0.1, 0.5, PER / LIMIT)

    await setting.work(*[hits] * 3)
    apart = 1.5 * setting.skew  # they also drift
    most = LIMIT + BURST + -(-apart * LIMIT // PER)
    for begun, _ in allowed:
        within = sum(begun <= first and last < begun + PER for first, last in allowed)
        assert within <= most, "more hits are allowed than the limit says"
    await setting.calm()
    async with setting.quiet() as quiet:
        await asyncio.sleep(4 * PER)
        limit = RateLimit(quiet.store, "login", limit=LIMIT, per=PER, burst=BURST, clock=setting.right_clock)
        assert (await limit.hit("k")).allowed, "a key never gets hits again"


MOST_ATTEMPTS = 4


async def queues(world):
    """No job is lost, none that was done is taken again, one worker has it at a time, and a hopeless one dies."""
    setting, pushed, maybe, worked, done, holders = Setting(world), set(), set(), set(), set(), {}

    def queue_of(client):
        return Queue(client.store, "mail", lease=LEASE, max_attempts=MOST_ATTEMPTS, clock=client.clock)

    async def push(client):
        queue = queue_of(client)
        for step in client.steps(4):
            name = f"{client.name}.{step}{' hopeless' if step == 3 else ''}"
            maybe.add(name)
            with suppress(StoreError):
                await queue.push(name, id=name, delay=client.chance.choice([0, 0, 1]))
                pushed.add(name)
            await client.pause(0, 0.1, 1)

    async def do(job, client):
        assert job.lost or job.id not in done, "a job is taken that was done"
        others = holders.setdefault(job.id, Held(1, lambda job: not job.lost))
        async with job:
            with others.by(job):
                await client.pause(*PAUSES)
            if job.value.endswith("hopeless"):
                raise ZeroDivisionError
            worked.add(job.id)
        if not job.lost and not job.value.endswith("hopeless"):
            done.add(job.id)

    async def work(client):
        queue = queue_of(client)
        for _ in client.steps(10):
            with suppress(StoreError):
                job = await queue.take(timeout=LEASE)
                if job is not None:
                    await do(job, client)

    await setting.work(push, push, work, work, work)
    await setting.calm()
    async with setting.quiet() as quiet:
        queue = queue_of(quiet)
        for _ in range(30):
            if (job := await queue.take(timeout=LEASE)) is not None:
                await do(job, quiet)
            elif not await queue.size():
                break
        assert not await queue.size(), "a job is never taken"
        dead = [job.id async for job in queue.dead()]
        assert len(set(dead)) == len(dead), "a job died twice"
        assert pushed <= worked | set(dead) <= maybe, "a job was lost"
        assert not done & set(dead), "a job was done and died"


SCENARIOS = (
    locks,
    locks_of_hasty_callers,
    leaders,
    semaphores,
    idempotency,
    counters,
    rate_limits,
    queues,
)
