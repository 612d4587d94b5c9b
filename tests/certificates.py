"""A certificate for this host that no authority has signed, for tests of TLS."""

import subprocess
from pathlib import Path

from scripts.test_servers.install import program

NAMES = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]


def make_certificate(place: Path) -> tuple[str, str]:
    """Make a certificate, and return the files of it and of its key."""
    files = ["-keyout", "key.pem", "-out", "certificate.pem"]
    kind = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-addext", "basicConstraints=critical,CA:FALSE"]
    command = [program("openssl", "openssl"), "req", *kind, *NAMES, *files]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    return str(place / "certificate.pem"), str(place / "key.pem")
