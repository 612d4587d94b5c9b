"""The records whose wire form is kept in tests/golden, one file each.

`python tests/golden/records.py` writes the files that are missing. It never writes over one: a format, once released,
stays readable for ever, and a file that no longer matches means that the code is wrong.
"""

from pathlib import Path

from satchel.backend.record import Record, pack
from satchel.clock import NEVER

VERSION = "00112233445566778899aabbccddeeff"
LONG = "k" * 4096

RECORDS = {
    "json": Record(b'{"name":"Ada"}', 1, VERSION, 1700000000.25),
    "json-deadline": Record(b"[1,2.5,null]", 1, VERSION, 1700000000.25, 1700003600.25),
    "bytes": Record(bytes(range(256)), 0, VERSION, 0.0, 4102444800.0),
    "bytes-empty": Record(b"", 0, VERSION, 1700000000.25),
    "msgpack": Record(b"\x81\xa4name\xa3Ada", 2, VERSION, 1700000000.25),
    "signed-pickle": Record(bytes(32) + b"\x80\x05N.", 3, VERSION, 1700000000.25),
    "custom-codec": Record(b"payload", 255, VERSION, 1700000000.25),
    "names": Record(b"true", 1, VERSION, 1700000000.25, NEVER, ("users", "Åda 🙂\0/..")),
    "names-long": Record(b"null", 1, VERSION, 1700000000.25, 1700003600.25, (LONG, LONG)),
}


def path_of(name: str) -> Path:
    return Path(__file__).parent / f"record-{name}.bin"


if __name__ == "__main__":
    for name, record in RECORDS.items():
        if not path_of(name).exists():
            path_of(name).write_bytes(pack(record))
