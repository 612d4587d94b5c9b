import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from satchel import open_store
from satchel.cli import export_format
from satchel.clock import Until
from satchel.entry import Entry

GOLDEN = Path(__file__).parents[1] / "golden" / "export" / "version-1.jsonl"


def entry(value, version, updated_at, expires_at=None):
    moments = [None if text is None else datetime.fromisoformat(text) for text in (updated_at, expires_at)]
    return Entry(
        value=value,
        version=f"8f14e45fceea167a{version:016}",
        updated_at=moments[0],
        expires_at=moments[1],
        ttl=None,
        size=0,
    )


ENTRIES = {
    ("files", "logo"): entry(b"\x89PNG", 1, "2026-01-02T03:04:05.678901+00:00"),
    ("users", "ada"): entry({"name": "Ada", "tags": [1, 2.0, None, True]}, 2, "2026-01-02T03:04:05+00:00"),
    ("users", "gone"): entry(1, 3, "2020-01-01T00:00:00+00:00", "2020-01-02T00:00:00+00:00"),
    ("users", "grace"): entry("é", 4, "2026-01-02T03:04:05+00:00", "2100-01-02T03:04:05.250+00:00"),
}


def test_the_format_is_what_it_was():
    lines = [export_format.entry_line(*names, found) for names, found in ENTRIES.items()]
    written = b"".join([export_format.first_line(), *lines, export_format.last_line(len(lines))])
    assert written == GOLDEN.read_bytes()


def test_the_golden_file_is_read():
    with GOLDEN.open("rb") as file:
        (batch,) = export_format.batches(file, "golden", 4096)
    read = {(collection, key): found for collection, entries in batch.items() for key, found in entries.items()}
    assert read.keys() == ENTRIES.keys()
    for names, found in read.items():
        expected = ENTRIES[names]
        for attribute in ("value", "version", "updated_at", "expires_at"):
            assert getattr(found, attribute) == getattr(expected, attribute)
            assert type(getattr(found, attribute)) is type(getattr(expected, attribute))


def test_the_golden_file_is_imported(satchel):
    done = satchel("import", "-i", GOLDEN)
    assert (done.code, done.lines) == (0, ["imported 3, 0 skipped, 0 failed, 1 expired"])
    assert satchel("get", "files", "logo").out == b"\x89PNG"
    assert satchel("get", "users", "ada").out == b'{"name":"Ada","tags":[1,2.0,null,true]}\n'
    assert json.loads(satchel("info", "users", "grace", "--json").out)["expires_at"] == "2100-01-02T03:04:05.250000Z"


async def fill(url, values, deadline):
    async with open_store(url) as store:
        await store.put_many("c/d", values)
        await store.put("c/d", "brief", [1.0, "é\n"], ttl=Until(50.0, deadline))


@pytest.mark.parametrize("way", ["file", "stream"])
def test_bytes_values_and_deadlines_make_the_round_trip(satchel, way):
    values = {
        "é": b"\0\xff",
        "none": None,
        "big": 2**63 - 1,
        "float": 1e300,
        "deep": {"a": [{"b": []}]},
        "text": "\0'\"\\",
    }
    deadline = datetime.now(UTC).timestamp() + 1000.123456
    asyncio.run(fill("disk:data", values, deadline))
    if way == "file":
        assert satchel("export", "-o", "x.jsonl").lines == ["exported 7, 0 skipped, 0 failed"]
        assert satchel("import", "-i", "x.jsonl", "-s", "file:other").code == 0
    else:
        exported = satchel("export").out
        assert satchel("import", "-s", "file:other", stdin=exported).code == 0

    async def check():
        async with open_store("file:other") as other:
            found = await other.get_entries("c/d", [*values, "brief"])
            assert {key: (value, type(value)) for key, value in values.items()} == {
                key: (found[key].value, type(found[key].value)) for key in values
            }
            assert abs(found["brief"].expires_at.timestamp() - deadline) < 2e-6
            assert found["brief"].value == [1.0, "é\n"]

    asyncio.run(check())
    assert satchel("check", "disk:data", "file:other").lines == ["no differences"]


def test_part_of_a_store_is_exported(satchel):
    for collection, key in (("a", "x/1"), ("a", "y"), ("b", "x/1")):
        satchel("put", collection, key, "1")
    names = [json.loads(line) for line in satchel("export", "-c", "a", "--glob", "x/*").lines[1:-1]]
    assert [(name["collection"], name["key"]) for name in names] == [("a", "x/1")]


LINES = GOLDEN.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "x is empty: it is not an export"),
        (b"hello\n", "x, line 1: this is not an export from satchel"),
        (b'{"satchel-export":2}\n', "x, line 1: it has format 2, but this release reads format 1; upgrade satchel"),
        (b"".join(LINES[:3]), "x is incomplete: it ends after 2 entries, without its last line; export again"),
        (
            b"".join(LINES)[:-40],
            "x, line 5: the file ends in the middle of it: the export was interrupted; export again",
        ),
        (
            b"".join(LINES)[:-1],
            "x, line 6: the file ends in the middle of it: the export was interrupted; export again",
        ),
        (
            b"".join([*LINES[:2], *LINES[3:]]),
            "x, line 5: the export has 3 entries but should have 4: lines are missing",
        ),
        (b"".join([*LINES, LINES[1]]), "x, line 7: it comes after the last line of the export"),
        (b"".join([*LINES[:3], b"{}\n", *LINES[3:]]), "x, line 4: this is not an entry of an export"),
        (b"".join([*LINES[:3], b"\xff\n", *LINES[3:]]), "x, line 4: this is not an entry of an export"),
        (b'{"satchel-export":' + b"[" * 5000 + b"\n", "x, line 1: this is not an export"),
        (LINES[0] + b'{"entries":' + b"[" * 5000 + b"\n", "x, line 2: the last line is damaged"),
        (
            b"".join(LINES).replace(b'"value":1,', b'"value":' + b"[" * 5000),
            "x, line 4: this is not an entry of an export",
        ),
        (
            b"".join(LINES).replace(b"2020-01-02T00:00:00.000000Z", b"0001-01-01T00:00:00+23:59"),
            "x, line 4: this is not an entry of an export",
        ),
        (
            b"".join(LINES).replace(b"2020-01-02T00:00:00.000000Z", b"9999-12-31T23:59:59-23:59"),
            "x, line 4: this is not an entry of an export",
        ),
        (b"".join(LINES).replace(b'"value":1,', b""), "x, line 4: an entry must have either a value or bytes"),
        (
            b"".join(LINES).replace(b'"value":1,', b'"value":18446744073709551616,'),
            "x, line 4: the value cannot be stored: $",
        ),
        (b"".join(LINES).replace(b'"gone"', b'""'), "x, line 4: key must not be empty"),
        (b"".join(LINES).replace(b'"gone"', b'"' + b"k" * 5000 + b'"'), "x, line 4: key has 5000 bytes"),
        (
            b"".join(LINES).replace(b"2020-01-02T00:00:00.000000Z", b"soon"),
            "x, line 4: this is not an entry of an export",
        ),
        (
            b"".join(LINES).replace(b"2020-01-02T00:00:00.000000Z", b"2020-01-02T00:00:00"),
            "x, line 4: this is not an entry",
        ),
    ],
)
def test_a_file_that_is_not_whole_is_refused_before_anything_is_written(satchel, tmp_path, content, said):
    (tmp_path / "x").write_bytes(content)
    done = satchel("import", "-i", "x", "--overwrite", "always")
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert done.err.startswith(f"satchel: {said}")
    assert not (tmp_path / "data").exists()
    assert satchel("import", "--overwrite", "never", stdin=content).err == done.err.replace("x", "standard input", 1)


def test_an_import_over_entries_that_are_there_is_refused_unless_said(satchel):
    satchel("put", "users", "ada", '"mine"')
    done = satchel("import", "-i", GOLDEN)
    assert (done.code, done.out) == (2, b"")
    assert done.err == (
        "satchel: 1 of 4 entries exist already, such as users ada; add --overwrite never, newer or always\n"
    )
    assert satchel("ls").lines == ["users"]
    assert satchel("import", "-i", GOLDEN, "--overwrite", "never").lines == [
        "imported 2, 1 skipped, 0 failed, 1 expired"
    ]
    assert satchel("get", "users", "ada").out == b'"mine"\n'
    assert satchel("import", "-i", GOLDEN, "--overwrite", "newer").lines == [
        "imported 0, 3 skipped, 0 failed, 1 expired"
    ]
    assert satchel("import", "-i", GOLDEN, "--overwrite", "always", "--json").out == (
        b'{"imported":3,"skipped":0,"failed":0,"removed":0,"expired":1}\n'
    )
    assert satchel("get", "users", "ada").out.startswith(b'{"name":"Ada"')


def test_a_dry_run_of_an_import_writes_nothing(satchel):
    assert satchel("import", "-i", GOLDEN, "--dry-run").lines == ["imported 3, 0 skipped, 0 failed, 1 expired"]
    assert satchel("ls").out == b""


def test_an_export_that_fails_leaves_the_earlier_one(satchel, tmp_path):
    (tmp_path / "x").write_text("earlier")
    done = satchel("export", "-o", "x", "-s", "redis://127.0.0.1:1/0?timeout=1")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert (tmp_path / "x").read_text() == "earlier"
    assert satchel("export", "-o", "missing/x").err == "satchel: missing/x.partial: No such file or directory\n"


def test_an_entry_that_cannot_be_read_is_named_and_the_rest_exported(satchel, tmp_path):
    satchel("put", "c", "good", "1", "-s", "file:tree")
    satchel("put", "c", "bad", "1", "-s", "file:tree")
    (tmp_path / "tree" / "c" / "bad.json").write_text("{")
    done = satchel("export", "-s", "file:tree")
    assert (done.code, len(done.lines)) == (3, 3)
    assert done.err.startswith("satchel: failed: c bad: ")
    assert done.lines[-1] == '{"entries":1}'


def test_an_export_as_an_archive_is_a_store(satchel):
    assert satchel("put", "users", "ada", '{"name": "Ada"}').code == 0
    assert satchel("put", "files", "raw", "-i", "-", "--bytes", "--ttl", "1h", stdin=b"\0").code == 0
    assert satchel("export", "--zip", "-o", "backup.zip").lines == ["exported 2, 0 skipped, 0 failed"]
    assert satchel("get", "users", "ada", "-s", "zip:backup.zip").out == b'{"name":"Ada"}\n'
    version = json.loads(satchel("info", "users", "ada", "--json").out)["version"]
    assert json.loads(satchel("info", "users", "ada", "-s", "zip:backup.zip", "--json").out)["version"] == version
    assert satchel("copy", "zip:backup.zip", "disk:restored").code == 0
    assert satchel("check", "disk:data", "disk:restored").lines == ["no differences"]
    assert satchel("export", "--zip", "-o", "users.zip", "-c", "users").code == 0
    assert satchel("ls", "-s", "zip:users.zip").lines == ["users"]


def test_an_archive_needs_a_file_and_appears_only_whole(satchel, tmp_path):
    done = satchel("export", "--zip")
    assert (done.code, done.err) == (2, "satchel: --zip writes a file: name it with -o\n")
    assert satchel("export", "--zip", "-o", "backup.zip", "-s", "zip:absent.zip").code == 3
    assert [path.name for path in tmp_path.iterdir() if "zip" in path.name] == []
