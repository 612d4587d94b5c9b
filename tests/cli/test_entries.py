import json
import sys
from contextlib import suppress

import pytest

from satchel.cli import run


@pytest.mark.parametrize("value", ['{"name":"Ada","tags":[1,2.5,null,true]}', '"text"', "1", "1.0", "null", "[]"])
def test_a_value_comes_back_as_it_was_put(satchel, value):
    assert satchel("put", "c", "k", value).code == 0
    done = satchel("get", "c", "k")
    assert (done.code, done.out, done.err) == (0, f"{value}\n".encode(), "")


def test_bytes_and_text_through_files_and_streams(satchel, tmp_path):
    content = bytes(range(256)) * 1000
    (tmp_path / "in").write_bytes(content)
    assert satchel("put", "c", "file", "-i", "in", "--bytes").code == 0
    assert satchel("put", "c", "stream", "-i", "-", "--bytes", stdin=content).code == 0
    assert satchel("get", "c", "stream").out == content
    assert satchel("get", "c", "file", "-o", "out").out == b""
    assert (tmp_path / "out").read_bytes() == content
    assert satchel("put", "c", "text", "héllo", "--text").code == 0
    assert json.loads(satchel("get", "c", "text").out) == "héllo"
    assert satchel("put", "c", "json", "-i", "-", stdin=b'{"a":1}\n').code == 0
    assert satchel("get", "c", "json").out == b'{"a":1}\n'
    assert satchel("get", "c", "file", "--json").lines[0].startswith('{"collection":"c","key":"file","bytes":"AAECAw')


def test_a_ttl_is_kept_and_changed(satchel):
    assert satchel("put", "c", "k", "1", "--ttl", "2h").code == 0
    about = json.loads(satchel("info", "c", "k", "--json").out)
    assert 7190 < about["ttl"] <= 7200
    assert (about["type"], about["size"]) == ("integer", 1)
    shown = satchel("info", "c", "k").lines
    assert [line.split()[0] for line in shown] == ["collection", "key", "type", "size", "updated", "expires", "version"]
    assert satchel("touch", "c", "k", "--ttl", "90").code == 0
    assert 80 < json.loads(satchel("info", "c", "k", "--json").out)["ttl"] <= 90
    assert satchel("touch", "c", "k", "--never").code == 0
    assert json.loads(satchel("info", "c", "k", "--json").out)["ttl"] is None
    assert satchel("info", "c", "k").lines[5] == "expires     never"


def test_pop_writes_what_it_removes(satchel, tmp_path):
    satchel("put", "c", "k", '{"a":1}')
    assert satchel("pop", "c", "k").out == b'{"a":1}\n'
    assert satchel("get", "c", "k").code == 1
    satchel("put", "c", "k", "-i", "-", "--bytes", stdin=b"\0\1")
    assert satchel("pop", "c", "k", "-o", "out").code == 0
    assert (tmp_path / "out").read_bytes() == b"\0\1"
    assert satchel("pop", "c", "k", "-o", "other").code == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("output", [("-o", "/dev/full"), ()], ids=["file", "stream"])
def test_pop_puts_back_what_it_could_not_write(satchel, monkeypatch, output):
    satchel("put", "c", "k", "[1]", "--ttl", "1h")
    with suppress(OSError), open("/dev/full", "w") as full, monkeypatch.context() as patch:  # noqa: PTH123  # a device
        if not output:
            patch.setattr(sys, "stdout", full)
        code = run(["pop", "c", "k", *output])
    assert code == 2
    assert satchel("get", "c", "k").out == b"[1]\n"
    assert b'"ttl":35' in satchel("info", "c", "k", "--json").out


def test_pop_keeps_the_entry_where_the_file_cannot_be_written(satchel):
    satchel("put", "c", "k", "1")
    done = satchel("pop", "c", "k", "-o", "missing/out")
    assert (done.code, done.err) == (2, "satchel: missing/out: No such file or directory\n")
    assert satchel("get", "c", "k").code == 0


def test_rm_says_how_many_were_absent(satchel):
    satchel("put", "c", "a", "1")
    satchel("put", "c", "b", "1")
    done = satchel("rm", "c", "a", "x", "y")
    assert (done.code, done.err) == (1, "satchel: 2 of 3 keys are absent in c\n")
    assert json.loads(satchel("rm", "c", "b", "--json").out) == {"collection": "c", "removed": 1, "absent": 0}


@pytest.mark.parametrize(
    "command", [("get",), ("info",), ("pop",), ("touch", "--never"), ("rm",)], ids=lambda command: command[0]
)
def test_an_absent_key_is_exit_code_1_and_one_line(satchel, command):
    name, *options = command
    done = satchel(name, "c", "nobody", *options)
    assert (done.code, done.out, done.err.count("\n")) == (1, b"", 1)
    assert "absent" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("put", "c", "k"), "put needs a value, or -i with a file (- for standard input), and not both"),
        (
            ("put", "c", "k", "1", "-i", "x"),
            "put needs a value, or -i with a file (- for standard input), and not both",
        ),
        (("put", "c", "k", "hello"), "the value is not JSON; use --text or --bytes to store it as it is"),
        (("put", "c", "k", "-i", "missing"), "missing: No such file or directory"),
        (("put", "c", "k", "1", "--ttl", "soon"), "a ttl is written as seconds, or with a unit: 90, 15m, 2h, 7d, 2w"),
        (("put", "c", "k", "1", "--ttl", "0"), "ttl must be above 0"),
        (("put", "c", "k", "99999999999999999999"), "$"),
        (("put", "", "k", "1"), "collection must not be empty"),
        (("get", "c", "k" * 5000), "key has 5000 bytes in UTF-8"),
        (("touch", "c", "k"), "touch needs --ttl with a time, or --never, and not both"),
        (("touch", "c", "k", "--never", "--ttl", "5"), "touch needs --ttl with a time, or --never, and not both"),
        (("ls", "--prefix", "a"), "name a collection"),
        (("ls", "c", "--glob", "***"), "glob has more than two stars"),
        (("export", "--exclude", ""), "exclude_prefix must not be empty"),
    ],
)
def test_wrong_arguments_are_exit_code_2_and_one_line(satchel, tmp_path, arguments, said):
    done = satchel(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert said in done.err
    assert not (tmp_path / "data").exists()


def test_collections_and_keys_are_listed(satchel):
    for collection, key in (("a", "x/1"), ("a", "x/2/3"), ("a", "y"), ("b", "new\nline"), ("b", '"quoted"')):
        satchel("put", collection, key, "1")
    assert sorted(satchel("ls").lines) == ["a", "b"]
    page = satchel("ls", "--limit", "1")
    assert (page.lines, page.err) == (["a"], "satchel: there are more; the next page is --after a\n")
    assert satchel("ls", "--limit", "1", "--after", "a").lines == ["b"]
    assert sorted(satchel("ls", "a").lines) == ["x/1", "x/2/3", "y"]
    assert sorted(satchel("ls", "b").lines) == ['"\\"quoted\\""', '"new\\nline"']
    assert [json.loads(line) for line in satchel("ls", "b", "--limit", "9", "--json").lines] == [
        {"collection": "b", "key": '"quoted"'},
        {"collection": "b", "key": "new\nline"},
    ]
    assert sorted(satchel("ls", "a", "--prefix", "x/").lines) == ["x/1", "x/2/3"]
    assert satchel("ls", "a", "--prefix", "x/", "--depth", "1").lines == ["x/1"]
    assert satchel("ls", "a", "--glob", "x/*").lines == ["x/1"]
    assert satchel("ls", "a", "--exclude", "x").lines == ["y"]
    assert satchel("ls", "missing").out == b""


@pytest.mark.long
@pytest.mark.parametrize("store", ["disk:data", "file:tree"])
def test_pages_follow_each_other_to_the_end(satchel, tmp_path, store):
    keys = sorted(f"k{number}" for number in range(2500))
    lines = [
        f'{{"collection":"c","key":"{key}","value":1,"updated_at":"2026-01-01T00:00:00Z","version":"1"}}\n'
        for key in keys
    ]
    (tmp_path / "in").write_text('{"satchel-export":1}\n' + "".join(lines) + f'{{"entries":{len(keys)}}}\n')
    assert satchel("import", "-i", "in", "-s", store).code == 0
    seen, after = [], ()
    while True:
        page = satchel("ls", "c", "-s", store, "--limit", "400", *after)
        seen += page.lines
        if not page.err:
            break
        assert page.err == f"satchel: there are more; the next page is --after {seen[-1]}\n"
        after = "--after", seen[-1]
    assert seen == keys
    assert satchel("ls", "c", "-s", store, "--after", keys[-3]).lines == keys[-2:]
