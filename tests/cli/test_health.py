import json
import time
from importlib import metadata

import pytest

import satchel as library
from satchel.cli import health


def test_stats_count_each_collection(satchel):
    satchel("put", "a", "x", "1")
    satchel("put", "a", "y", '"text"', "--ttl", "1h")
    satchel("put", "b", "x", "-i", "-", "--bytes", stdin=bytes(1000))
    assert satchel("stats").lines == [
        "     entries         bytes      expiring    unreadable  collection",
        "           2             7             1             0  a",
        "           1         1,000             0             0  b",
    ]
    assert [json.loads(line) for line in satchel("stats", "-c", "a", "--prefix", "y", "--json").lines] == [
        {"collection": "a", "entries": 1, "bytes": 6, "expiring": 1, "unreadable": 0}
    ]


def test_cull_says_how_many_entries_it_removed(satchel):
    for number in range(3):
        satchel("put", "c", f"k{number}", "1", "--ttl", "0.001")
    time.sleep(0.01)
    assert satchel("cull").lines in ([f"{count} expired entries removed"] for count in range(4))
    assert satchel("cull", "--json").out == b'{"culled":0}\n'


def test_describe_connects_to_nothing_and_shows_no_secret(satchel):
    done = satchel("describe", "-s", "redis://user:secret@127.0.0.1:1/0?timeout=2&wrap=ttl(default=60)")
    assert done.code == 0
    assert done.lines[0] == "url             redis://user:***@127.0.0.1:1/0?timeout=2&wrap=ttl(default=60)"
    assert json.loads(satchel("describe", "-s", "null://", "--json").out) == {
        "url": "null://",
        "max_key_bytes": 4096,
        "capabilities": json.loads(satchel("describe", "-s", "null://", "--json").out)["capabilities"],
    }


def findings(done):
    return {finding["about"]: finding for finding in map(json.loads, done.lines)}


def test_the_doctor_finds_nothing_wrong(satchel):
    done = satchel("doctor", "--json")
    found = findings(done)
    assert done.code == 0
    assert found["satchel"]["said"].startswith(library.__version__)
    assert found["redis"]["state"] == "ok"
    assert found["default store, from SATCHEL_URL"]["said"].startswith("disk:data answers in ")
    shown = satchel("doctor").lines
    assert len(shown) == len(found)
    assert all(line.startswith("ok  ") for line in shown)


def test_the_doctor_looks_at_every_store_of_the_file(satchel, tmp_path, monkeypatch):
    monkeypatch.delenv("SATCHEL_URL")
    (tmp_path / "satchel.toml").write_text(
        '[satchel]\nurl = "memory://"\n'
        '[stores.down]\nurl = "redis://:secret@127.0.0.1:1/0"\n'
        '[stores.wrong]\nurl = "reddis://:secret@host"\n'
    )
    done = satchel("doctor", "--json")
    found = findings(done)
    assert done.code == 3
    assert found["default store, from satchel.toml"]["state"] == "ok"
    assert found["store down"]["state"] == found["store wrong"]["state"] == "problem"
    assert found["store down"]["todo"] == "check that the server runs, and that host and port in the URL are right"
    assert "did you mean 'redis'" in found["store wrong"]["said"]
    assert b"secret" not in done.out
    assert satchel("doctor", "-s", "wrong").code == 2


def test_the_doctor_says_how_to_configure_a_store(satchel, monkeypatch):
    monkeypatch.delenv("SATCHEL_URL")
    done = satchel("doctor", "--json")
    assert done.code == 0
    assert findings(done)["default store"]["todo"] == (
        "give --store, set SATCHEL_URL, or write [satchel] with url to satchel.toml"
    )


def test_the_doctor_names_what_is_not_installed(satchel, monkeypatch):
    def without_redis(name):
        if name == "redis":
            raise metadata.PackageNotFoundError
        return metadata.version(name)

    monkeypatch.setattr(health, "version", without_redis)
    found = findings(satchel("doctor", "--json"))
    assert found["redis"]["said"] == "redis not installed"
    assert found["redis"]["todo"] == 'pip install "satchel[redis]", if you need it'


@pytest.mark.parametrize("command", [("stats",), ("doctor",), ("ls",), ("get", "c", "k")])
def test_a_store_that_does_not_answer_is_exit_code_3(satchel, command):
    done = satchel(*command, "-s", "redis://:secret@127.0.0.1:1/0")
    assert done.code == 3
    assert "secret" not in done.err + done.out.decode()
    assert (done.err + done.out.decode()).count("cannot be reached") == 1


def test_a_driver_writes_nothing_beside_the_error(satchel):
    done = satchel("ls", "c", "-s", "valkey://127.0.0.1:1?timeout=1")
    assert (done.code, done.out, done.err.count("\n")) == (3, b"", 1)
