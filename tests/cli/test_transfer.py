import json
from uuid import uuid4

import pytest

from tests.servers import server_url


@pytest.fixture
def filled(satchel):
    for collection, key in (("users", "ada"), ("users", "grace"), ("files", "eu/a"), ("files", "us/b")):
        assert satchel("put", collection, key, f'"{key}"').code == 0
    assert satchel("put", "files", "raw", "-i", "-", "--bytes", "--ttl", "1h", stdin=b"\0").code == 0
    return satchel


def test_a_copy_is_checked(filled):
    done = filled("copy", "disk:data", "file:copy", "--verify")
    assert (done.code, done.lines) == (0, ["5 copied (25 bytes), 0 skipped, 0 failed"])
    assert filled("check", "disk:data", "file:copy").lines == ["no differences"]
    assert json.loads(filled("copy", "disk:data", "file:copy", "--json").out) == {
        "copied": 0, "skipped": 5, "failed": 0, "bytes": 0,
    }  # fmt: skip
    filled("rm", "users", "ada", "-s", "file:copy")
    filled("put", "users", "grace", "1", "-s", "file:copy")
    filled("put", "only", "here", "1", "-s", "file:copy")
    done = filled("check", "disk:data", "file:copy")
    assert (done.code, done.err) == (1, "satchel: entries that differ: 3\n")
    assert sorted(done.lines) == ["extra       only  here", "missing     users  ada", "value       users  grace"]
    assert sorted(json.loads(line)["kind"] for line in filled("check", "disk:data", "file:copy", "--json").lines) == [
        "extra", "missing", "value",
    ]  # fmt: skip


@pytest.mark.server("redis")
def test_a_disk_store_is_copied_to_redis(filled):
    url = f"{server_url('redis')}?prefix={uuid4().hex}"
    assert filled("copy", "disk:data", url, "--state", "copy.state").lines == [
        "5 copied (25 bytes), 0 skipped, 0 failed"
    ]
    assert filled("check", "disk:data", url).lines == ["no differences"]
    assert filled("get", "files", "raw", "-s", url).out == b"\0"
    assert json.loads(filled("info", "files", "raw", "-s", url, "--json").out)["ttl"] > 3500
    assert filled("rm", "users", "ada", "grace", "-s", url).code == 0
    assert filled("rm", "files", "eu/a", "us/b", "raw", "-s", url).code == 0


def test_a_choice_is_copied(filled):
    assert filled("copy", "disk:data", "file:copy", "-c", "files", "--glob", "*/*", "--exclude", "us").lines == [
        "1 copied (6 bytes), 0 skipped, 0 failed"
    ]
    assert filled("copy", "disk:data", "file:copy", "--prefix", "g", "--dry-run").lines == [
        "would copy: 1 copied (7 bytes), 0 skipped, 0 failed"
    ]
    assert filled("ls", "-s", "file:copy").lines == ["files"]


def test_what_the_target_has_stays_unless_said(filled):
    filled("put", "users", "ada", "1", "-s", "file:copy")
    filled("copy", "disk:data", "file:copy")
    assert filled("get", "users", "ada", "-s", "file:copy").out == b"1\n"
    filled("copy", "disk:data", "file:copy", "--overwrite", "always")
    assert filled("get", "users", "ada", "-s", "file:copy").out == b'"ada"\n'


def test_a_failed_key_is_named_and_is_exit_code_3(filled):
    done = filled("copy", "disk:data", "memory://?wrap=limit_size(max_bytes=6)")
    assert (done.code, done.lines) == (3, ["4 copied (18 bytes), 0 skipped, 1 failed"])
    assert done.err.startswith("satchel: failed: users grace: ")
    assert done.err.count("\n") == 1


def test_a_mirror_makes_the_target_like_the_source(filled):
    filled("put", "users", "ada", "1", "-s", "file:copy")
    filled("put", "users", "old", "1", "-s", "file:copy")
    filled("put", "only", "here", "1", "-s", "file:copy")
    assert filled("mirror", "disk:data", "file:copy").lines == ["copied 5, 0 skipped, 0 failed"]
    assert sorted(filled("check", "disk:data", "file:copy").lines) == [
        "extra       only  here",
        "extra       users  old",
    ]
    done = filled("mirror", "disk:data", "file:copy", "--delete")
    assert (done.code, done.out) == (2, b"")
    assert "add --yes" in done.err
    assert filled("mirror", "disk:data", "file:copy", "--delete", "--dry-run").lines == [
        "copied 0, 0 skipped, 0 failed, 2 removed"
    ]
    assert filled("ls", "only", "-s", "file:copy").lines == ["here"]
    assert filled("mirror", "disk:data", "file:copy", "--delete", "--yes").lines == [
        "copied 0, 0 skipped, 0 failed, 2 removed"
    ]
    assert filled("check", "disk:data", "file:copy").code == 0
    assert filled("mirror", "disk:data", "file:copy", "--delete", "--yes", "--json").out == (
        b'{"copied":0,"skipped":0,"failed":0,"removed":0,"expired":0}\n'
    )


def test_a_mirror_of_an_empty_source_removes_nothing(filled):
    done = filled("mirror", "disk:empty", "disk:data", "--delete", "--yes")
    assert (done.code, done.out) == (2, b"")
    assert "the source has no such entries" in done.err
    assert filled("mirror", "disk:data", "disk:copy", "--delete", "--yes", "-c", "nothing").code == 2
    assert sorted(filled("ls").lines) == ["files", "users"]


@pytest.mark.parametrize("command", ["copy", "mirror", "check"])
def test_a_store_and_itself_are_refused(filled, command):
    done = filled(command, "disk:data", "disk:data")
    assert (done.code, done.out, done.err) == (2, b"", "satchel: source and target are the same store; give two\n")


def test_a_store_under_another_name_is_not_copied_onto_itself(filled, tmp_path):
    (tmp_path / "link").symlink_to("data")
    done = filled("copy", "disk:data", "disk:link", "--overwrite", "always")
    assert (done.code, done.err) == (2, "satchel: source and target are the same store; a copy needs two\n")


def test_a_copy_without_rights_or_a_reachable_target_writes_nothing(filled, tmp_path):
    done = filled("copy", "disk:data", "redis://127.0.0.1:1/0", "--state", "state")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert not (tmp_path / "state").exists()
    done = filled("copy", "disk:data", "disk:copy", "--state", "missing/state")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not (tmp_path / "copy").exists() or filled("ls", "-s", "disk:copy").out == b""
