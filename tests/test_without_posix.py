"""That the package is imported, and says what it needs, where Python has nothing of POSIX, as on Windows."""

import subprocess
import sys

import pytest

IMPORTS = """
import errno, importlib, os, pkgutil, sys
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None
import asyncio, multiprocessing, subprocess, threading, tempfile, random, ssl, logging, concurrent.futures.thread
import shutil
shutil._use_fd_functions = False  # it decides by these functions when it is imported

import satchel.errors
import importlib.metadata
for driver in '''
    aiosqlite redis.asyncio glide emcache aiobotocore.session pymongo motor.motor_asyncio elasticsearch asyncpg obstore
    fastapi prometheus_client opentelemetry.metrics lz4.frame zstandard cryptography.hazmat.primitives.ciphers.aead
    key_value.aio.stores.base pytest hypothesis hypothesis.stateful anyio
'''.split():
    try:
        importlib.import_module(driver)  # what it needs of POSIX is its own matter
    except ImportError:
        pass
for name in list(sys.modules):
    if name.partition(".")[0] == "satchel":
        del sys.modules[name]
for name in ("register_at_fork", "fork", "getuid", "geteuid", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC",
             "pathconf", "sched_setaffinity", "fchmod"):
    if hasattr(os, name):
        delattr(os, name)

import satchel

imported, missing = 0, set()
for found in pkgutil.walk_packages(satchel.__path__, "satchel."):
    try:
        importlib.import_module(found.name)
        imported += 1
    except satchel.MissingExtraError:
        missing.add(found.name)
    except ImportError as error:
        assert (error.name or "").partition(".")[0] not in ("fcntl", "pwd", "grp", "resource", "termios"), error
        missing.add(found.name)

async def main(directory):
    async with satchel.MemoryStore() as store:
        await store.put("c", "k", 1)
    from satchel.stores.disk import DiskStore
    async with DiskStore(directory + "/data") as store:
        await store.put("c", "k", 1)
        assert await store.get("c", "k") == 1
    from satchel.stores.filetree import FileTreeStore
    try:
        FileTreeStore(directory)
    except satchel.ConfigurationError as error:
        print(error)

with tempfile.TemporaryDirectory() as directory:
    asyncio.run(main(directory))
print(imported > 100, len(missing))
"""


@pytest.mark.long
def test_every_module_is_imported_and_a_file_tree_says_what_it_needs() -> None:
    ended = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr.decode()) == (0, "")
    said, imported = ended.stdout.decode().splitlines()
    assert said == "FileTreeStore needs the file locks and directory descriptors of a POSIX system; use DiskStore"
    assert imported.startswith("True")
