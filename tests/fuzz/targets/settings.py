"""Settings from files and mappings: an environment, or an error that shows no value."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from satchel.environment import Environment, SettingError
from tests.fuzz.harness import text_of

KINDS = {"e": ".env", "j": ".json", "t": ".toml", "i": ".ini"}
TOKENS = [
    *(
        b"${",
        b"}",
        b":-",
        b"$$",
        b"=",
        b"\n",
        b"'",
        b'"',
        b"\\",
        b"#",
        b"export ",
        b"${A}",
        b"${B:-${A}}",
        b"[a]",
        b"[[a]]",
    ),
    *(
        b"[" * 300,
        b"{" * 300,
        b"a." * 300,
        b"{'a':" * 300,
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"1979-05-27",
        b"1e400",
        b"9" * 5000,
    ),
]
_FOLDER = tempfile.TemporaryDirectory(prefix="satchel-fuzz-")


def seeds() -> Sequence[bytes]:
    return [
        b"eA=1\nexport B='two words'\nC=${A}-${D:-x} # why\nDEV_A=\"a\\nb\"\n",
        b'j{"db": {"host": "x", "ports": [1, 2]}, "debug": true, "none": null}',
        b't[db]\nhost = "x"\nports = [1, 2]\n[db.more]\nat = 1\n',
        b"i[DEFAULT]\na = 1\n[db]\nhost = x\n",
        b"eA=${B}\nB=${A}\n",
    ]


def check(data: bytes) -> None:
    suffix = KINDS.get(data[:1].decode("latin-1"), ".env")
    path = Path(_FOLDER.name, f"settings{suffix}")
    path.write_bytes(data[1:])
    makers = {".env": Environment, ".json": Environment.from_json}
    for made in (lambda: makers.get(suffix, Environment.from_config)(path), lambda: Environment({"A": text_of(data)})):
        try:
            environment = made()
        except SettingError:
            continue
        for name in environment:
            try:
                environment[name]
            except SettingError:
                continue
        repr(environment)
