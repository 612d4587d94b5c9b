"""Starts SeaweedFS as an S3 server, with a bucket, somebody who may do everything, and somebody who may only read."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

from .server import HOST, Server

BUCKET = "satchel-tests"
REGION = "us-east-1"
WRITER = ("satchel-writer", "satchel-writer-secret")
READER = ("satchel-reader", "satchel-reader-secret")

_PARTS = ("s3", "master", "volume", "filer")


def begin(server: Server, command: str) -> str:
    """Start it, and return a store's URL once objects can be written.

    Args:
        server: What it runs in.
        command: The program, `weed`.
    """
    file = server.folder("data") / "s3.json"
    file.write_text(json.dumps(configuration()))
    ports = {part: (server.port_for(part), server.port_for(f"{part} grpc")) for part in _PARTS}
    server.spawn(command_line(command, file.parent, ports))
    place = f"http://{HOST}:{ports['filer'][0]}/buckets/{BUCKET}/"
    server.wait_until(lambda: _status("POST", place) in (201, 409))  # it may have been made by an earlier start
    server.wait_until(lambda: _status("PUT", place + "ready", b"ready") == 201)  # there is room for objects
    server.wait_until(lambda: _status("DELETE", place + "ready") == 204)
    server.wait_until(lambda: _status("GET", f"http://{HOST}:{ports['s3'][0]}/") == 403)  # it knows who may come in
    return url(ports["s3"][0])


def configuration() -> dict[str, object]:
    """Return what `s3.json` says: who there is, and what each may do."""
    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [_identity("writer", WRITER, everything), _identity("reader", READER, ["Read", "List"])]}


def command_line(command: str, place: Path, ports: dict[str, tuple[int, int]]) -> list[str]:
    """Return the command that starts it, with every port said: some have a fixed default, and one reports home."""
    options = [f"-{part}.port={port}" for part, (port, _) in ports.items()]
    options += [f"-{part}.port.grpc={port}" for part, (_, port) in ports.items()]
    options += [f"-{part}.localSocket={place / part}.sock" for part in ("s3", "filer")]
    options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", f"-s3.config={place}/s3.json"]
    options += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=0"]
    options += ["-master.electionTimeout=1s", "-master.heartbeatInterval=100ms", "-volume.preStopSeconds=0"]
    where = [f"-dir={place}", f"-ip={HOST}", f"-ip.bind={HOST}"]
    return [command, "-logtostderr=true", "server", *where, "-filer", "-s3", *options]


def url(port: int, who: tuple[str, str] = WRITER) -> str:
    """Return the URL of a store in the bucket, for somebody."""
    access = f"access_key_id={who[0]}&secret_access_key={who[1]}"
    return f"s3://{BUCKET}?endpoint=http://{HOST}:{port}&region={REGION}&{access}"


def _identity(name: str, access: tuple[str, str], actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": access[0], "secretKey": access[1]}], "actions": actions}


def _status(method: str, where: str, data: bytes | None = None) -> int:
    request = urllib.request.Request(where, data, method=method)  # noqa: S310  # a loopback address
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310  # a loopback address
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
