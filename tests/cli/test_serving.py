"""What `satchel serve` refuses, before it listens."""

import socket

import httpx
import pytest

from tests.stores.http.processes import Process

SECRET = "s3cr3t-s3cr3t-s3cr3t"  # it opens nothing


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "needs a token"),  # it is refused
        (["--host", "10.0.0.7"], "needs a token"),
        (["--token", "short"], "at least 16"),
        (["--token-file", "missing"], "missing: No such file"),
        (["--token-file", "empty"], "has no token"),
        (["--token-file", "wrong"], "line 2 of the token file"),
        (["--token-file", "weak"], "at least 16"),
        (["--max-body", "5"], "--max-body"),
        (["--port", "70000"], "--port"),
    ],
)
def test_a_server_that_cannot_be_started(satchel, tmp_path, arguments, said):
    (tmp_path / "empty").write_text("# nothing\n\n")
    (tmp_path / "wrong").write_text(f"{SECRET}\n{SECRET} all\n")
    (tmp_path / "weak").write_text("s3cr3t\n")
    done = satchel("serve", "memory:", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert said in done.err
    assert "s3cr3t" not in done.err


def test_a_port_that_is_taken(satchel):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = satchel("serve", "memory:", "--port", taken.getsockname()[1])
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "cannot listen at 127.0.0.1" in done.err


@pytest.mark.long
@pytest.mark.parametrize("options", [[], ["--write"]])
def test_the_page_changes_entries_with_the_switch_alone(options):
    with Process("memory://", *options) as server:
        about = httpx.get(f"{server.url}/v1", trust_env=False).json()
        page = httpx.get(f"{server.url}/", trust_env=False)
    assert about["inspector_writes"] is bool(options)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
