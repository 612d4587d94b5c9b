"""The entries whose form in a table is kept in items.json.

`python tests/golden/dynamodb/entries.py` writes that file if it is missing. It never writes over it: a format, once
released, stays readable for ever, and items that no longer match mean that the code is wrong.
"""

import base64
import json
from pathlib import Path
from typing import Any

from satchel.backend.record import Record
from satchel.clock import NEVER
from satchel.stores.dynamodb.items import hidden_names, item_of

VERSION = "00112233445566778899aabbccddeeff"
WRITTEN = 4102444800.125  # far ahead, or the expiry of DynamoDB would remove entries
LONG_COLLECTION, LONG_KEY = "c" * 2045, "é" * 600

ENTRIES = {
    "json": (("users", "ada"), b'{"name":"Ada","notes":["\xc3\xa9",1.5,null]}', 1, NEVER),
    "json-deadline": (("users", "Åda 🙂\0/.."), b"[1,2.5,null]", 1, WRITTEN + 3600.2),
    "bytes": (("users", "photo"), bytes(range(256)), 0, NEVER),
    "bytes-empty": (("users", "nothing"), b"", 0, NEVER),
    "msgpack": (("users", "packed"), b"\x81\xa4name\xa3Ada", 2, NEVER),
    "names-long": ((LONG_COLLECTION, LONG_KEY), b"null", 1, WRITTEN + 60),
    "names-almost-long": (("c" * 2044, "k" * 1020), b"true", 1, NEVER),
}
FILE = Path(__file__).with_name("items.json")


def record(name: str) -> tuple[tuple[str, str], Record]:
    ref, payload, codec, deadline = ENTRIES[name]
    return ref, Record(payload, codec, VERSION, WRITTEN, deadline).sealed(hidden_names(ref))


def items() -> dict[str, Any]:
    """Return the golden items, with bytes where the file has Base64."""

    def decode(attribute: dict[str, str]) -> dict[str, Any]:
        return {"B": base64.b64decode(attribute["B"])} if "B" in attribute else attribute

    kept = json.loads(FILE.read_text("utf-8"))
    return {name: {each: decode(attribute) for each, attribute in item.items()} for name, item in kept.items()}


def write() -> None:
    made = {name: item_of(*record(name)) for name in ENTRIES}
    text = json.dumps(made, indent=1, ensure_ascii=False, default=lambda value: base64.b64encode(value).decode())
    FILE.write_text(text + "\n", "utf-8")


if __name__ == "__main__" and not FILE.exists():
    write()
