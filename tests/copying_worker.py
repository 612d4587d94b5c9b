"""Copies one store into another in a process of its own, and says after each batch how far it is."""

import asyncio
import sys

from satchel import copy_store, open_store


def say(report):
    sys.stdout.write(f"{report.copied}\n")
    sys.stdout.flush()


async def main(source_url, target_url, state):
    async with open_store(source_url) as source, open_store(target_url) as target:
        await copy_store(source, target, state=state, on_progress=say)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
