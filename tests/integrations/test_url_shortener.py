"""The URL shortener among the examples: its own tests, and the service in a process of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from scripts.test_servers.server import free_port

pytestmark = pytest.mark.long  # whole programs, which take long to start

ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "url_shortener"


@pytest.mark.timeout(300)
def test_it_passes_its_own_tests():
    command = [sys.executable, "-m", "pytest", "-q", str(APP)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
    assert "6 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.long
async def test_links_and_hits_outlive_the_service(tmp_path):
    port = free_port()
    for hits in (1, 2):
        async with served(tmp_path, port) as client:
            assert (await client.post("/admin/session", json={"password": "secret"})).status_code == 204
            link = {"target": "https://example.com/long", "slug": "short"}
            assert (await client.post("/admin/links", json=link)).status_code == (201 if hits == 1 else 409)
            assert (await client.get("/short")).headers["location"] == "https://example.com/long"
            (listed,) = (await client.get("/admin/links")).json()["links"]
            assert listed["hits"] == hits


class served:  # noqa: N801  # used as a function
    def __init__(self, folder, port):
        self._address = f"http://127.0.0.1:{port}"
        environment = os.environ | {"SATCHEL_URL": f"disk://{folder}/data", "SHORTENER_PASSWORD": "secret"}
        command = [sys.executable, str(APP / "app.py"), "--port", str(port)]
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    async def __aenter__(self):
        self._client = httpx.AsyncClient(base_url=self._address, trust_env=False)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert (await self._client.get("/ready")).status_code == 200
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                else:
                    return self._client

    async def __aexit__(self, *_):
        await self._client.aclose()
        self._process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self._process.wait, 20)
