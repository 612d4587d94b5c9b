"""What tests of PostgreSQLStore share, such as tables of their own on a server that several test processes use."""

import hashlib
import secrets
from pathlib import Path

_RUN = secrets.token_hex(4)


def table_for(place: Path) -> str:
    """Return the name of the table for a place, the same each time, which no other test process uses."""
    return f"t_{_RUN}_{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"
