"""The example of workers on a queue, whose workers are killed at random: no job is lost, and no effect doubled."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from satchel import open_store
from tests.servers import server_url

DEMO = Path(__file__).parents[2] / "examples" / "worker" / "demo.py"
JOBS, REMINDERS, KILLS = 300, 5, 3


async def outbox(url):
    async with open_store(url) as store:
        return {key: (await store.get("outbox", key))["to"] async for key in store.keys("outbox")}


@pytest.mark.long
@pytest.mark.parametrize("backend", ["disk", pytest.param("redis", marks=pytest.mark.server("redis"))])
def test_no_mail_is_lost_or_sent_twice_by_workers_that_are_killed(backend, tmp_path):
    url = f"disk://{tmp_path}/data" if backend == "disk" else f"{server_url('redis')}?prefix={uuid4().hex}"
    command = [sys.executable, str(DEMO), "--store", url, "--jobs", str(JOBS), "--kills", str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    told = re.search(r"(\d+) mails sent, (\d+) workers killed", done.stdout)
    assert told is not None
    assert int(told[1]) == JOBS + REMINDERS
    assert int(told[2]) >= 1  # how many, a fast machine decides: it has done all jobs before more are killed
    assert "dead: refused, after 3 attempts, Refused" in done.stdout
    expected = {f"mail {number}": f"{number}@example.com" for number in range(JOBS)}
    expected |= {f"reminder {number}": f"reminder {number}@example.com" for number in range(REMINDERS)}
    assert asyncio.run(outbox(url)) == expected
