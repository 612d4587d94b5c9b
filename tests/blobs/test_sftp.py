"""Blobs on an SFTP server, in a process of its own, by fsspec's client for it."""

import asyncio
import subprocess
import sys
from typing import ClassVar

import pytest
from fsspec.implementations.sftp import SFTPFileSystem

from satchel.blobs import FsspecBlobs
from satchel.testing import BlobConformance

pytestmark = pytest.mark.long

SERVER = """
import asyncio, sys, asyncssh

class Open(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False

async def main():
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Open, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=sys.argv[1].encode()),
    )
    print(server.get_port(), flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def filesystem(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-c", SERVER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline())
        login = {"username": "anybody", "password": "", "look_for_keys": False, "allow_agent": False}
        made = SFTPFileSystem("127.0.0.1", port=port, skip_instance_cache=True, **login)
        yield made
        made.client.close()
        server.stdin.close()


class TestSFTP(BlobConformance):
    supports: ClassVar = frozenset({"move"})

    @pytest.fixture(autouse=True)
    async def place_of_blobs(self, filesystem, tmp_path):
        self._filesystem = filesystem
        await asyncio.to_thread(filesystem.makedirs, f"/{tmp_path.name}")

    def make_blobs(self, clock, place, new_store, **options):
        return FsspecBlobs(self._filesystem, f"/{place.name}", clock=clock, **options)

    async def test_times(self, blobs, clock):
        await blobs.put("k", b"1")
        first = await blobs.info("k")
        await blobs.put("k", b"22")  # of another length, since the server tells times in seconds
        second = await blobs.info("k")
        assert second.updated_at >= first.updated_at
        assert second.version != first.version

    async def test_reading_does_not_make_it_another_blob(self, blobs):
        await blobs.put("k", b"1")
        before = await blobs.info("k")
        await asyncio.sleep(1.1)  # the server tells when a file was read, in seconds
        assert await blobs.get("k") == b"1"
        assert (await blobs.info("k")).version == before.version
