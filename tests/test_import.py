"""Importing satchel starts no thread, imports no driver, and writes nothing."""

import subprocess
import sys

PROGRAM = """
import sys, threading
opened = []
def watch(event, args):
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        opened.append(args[0])
    elif event in ("os.mkdir", "os.rename", "os.remove", "socket.connect", "subprocess.Popen", "sqlite3.connect"):
        opened.append(event)
sys.dont_write_bytecode = True
sys.addaudithook(watch)
import satchel
satchel.MemoryStore, satchel.open_store, satchel.Collection
assert threading.active_count() == 1, threading.enumerate()
print(*sorted({name.partition(".")[0] for name in sys.modules}), sep="\\n")
assert not opened, opened
"""

STORE_DRIVERS = {
    "aiobotocore",
    "aiosqlite",
    "asyncpg",
    "elasticsearch",
    "emcache",
    "glide",
    "httpx",
    "motor",
    "obstore",
    "pymongo",
}
DRIVERS = STORE_DRIVERS | {
    "anyio",
    "boto3",
    "cryptography",
    "fastapi",
    "hypothesis",
    "opentelemetry",
    "prometheus_client",
    "pydantic",
    "pytest",
    "redis",
    "sqlite3",
}


def test_importing_is_quiet():
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    modules = set(done.stdout.split())
    assert {"satchel", "msgspec"} <= modules
    assert not modules & DRIVERS
