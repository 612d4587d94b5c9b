"""One worker: sends mail from a queue, and schedules while it leads.

`python worker.py STORE` runs it until it is ended.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from functools import partial
from typing import Any

from satchel import LockLostError, open_store
from satchel.coordination import Job, Leader, Once, Queue
from satchel.url import OpenedStore

LEASE = 2
SCHEDULED = 5
"""Number of reminders that the leaders schedule."""


class Refused(Exception):  # noqa: N818  # what the mail server said
    """The address does not exist."""


def queue_of(store: OpenedStore) -> Queue[Any]:
    return Queue(store, "mail", lease=LEASE, max_attempts=3)


async def send(store: OpenedStore, job: Job[Any]) -> None:
    """Put a mail into the outbox: the effect, under the id of its job."""
    to = job.value["to"]
    if to == "nobody@example.com":
        raise Refused
    await asyncio.sleep(0.01)
    await store.put_if_absent("outbox", job.id, {"to": to})


async def work(store: OpenedStore) -> None:
    queue, once = queue_of(store), Once(store, claim_ttl=LEASE)
    async for job in queue.jobs():
        async with job:
            await once.run(job.id, partial(send, store, job))


async def schedule(store: OpenedStore) -> None:
    """Push the next reminder while this process leads; a successor goes on where its predecessor died."""
    leader, queue = Leader(store, "scheduler", ttl=LEASE), queue_of(store)
    while True:
        with contextlib.suppress(LockLostError):
            async with leader.term():
                while (number := await store.get("schedule", "next", 0)) < SCHEDULED:
                    reminder = f"reminder {number}"
                    await queue.push({"to": f"{reminder}@example.com"}, id=reminder)
                    await store.put("schedule", "next", number + 1)
                    await asyncio.sleep(0.2)
                await asyncio.Event().wait()


async def main(url: str) -> None:
    async with open_store(url) as store, asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(store)), group.create_task(schedule(store))]
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()
        for task in tasks:
            task.cancel()  # the job at hand is given back


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(main(sys.argv[1]))
