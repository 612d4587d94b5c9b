"""The OpenAPI document: it says what the server does, and what it generates breaks nothing."""

import asyncio
import threading
from contextlib import contextmanager, suppress

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from satchel import MemoryStore
from satchel.server import create_app
from satchel.server.openapi import document
from satchel.server.serving import GracefulServer, listening_socket
from tests.server.serving import PLAIN


@contextmanager
def in_a_thread(app):
    """Serve an app in a thread of its own, and give its URL: what calls it here blocks."""
    listener = listening_socket("127.0.0.1", 0)
    server = GracefulServer(app)
    thread = threading.Thread(target=asyncio.run, args=[server.serve([listener])])
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def url():
    with in_a_thread(create_app(MemoryStore())) as url:
        yield url


def test_the_document_has_every_path_and_method(url):
    client = httpx.Client(base_url=url, **PLAIN)
    fill = {"{collection}": "c", "{key}": "k", "{name}": "n"}
    for path, item in document()["paths"].items():
        documented = {name.upper() for name in item if name != "parameters"}
        for name, text in fill.items():
            path = path.replace(name, text)  # noqa: PLW2901  # filled in step by step
        refused = client.request("TRACE", path)
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == documented, path
    client.close()


def test_the_document_is_what_is_sent(url):
    answer = httpx.get(f"{url}/v1/openapi.json", **PLAIN)
    assert answer.json() == document()
    assert answer.json()["openapi"] == "3.1.0"


def send_generated_requests(url, count):
    """Send requests to every operation, good and bad ones, and compare each answer with the document."""
    import schemathesis  # noqa: PLC0415  # it takes seconds to import

    sent = 0
    schema = schemathesis.openapi.from_url(f"{url}/v1/openapi.json")
    for operation in schema.exclude(path_regex="^/v1/watch").get_all_operations():  # its answer has no end
        for mode in schemathesis.GenerationMode:

            @given(case=operation.ok().as_strategy(generation_mode=mode))
            @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            def send(case):
                nonlocal sent
                sent += 1
                # OpenAPI cannot say which parameters exclude one another: those are refused though each is valid.
                case.call_and_validate(excluded_checks=[schemathesis.checks.positive_data_acceptance])

            with suppress(Unsatisfiable):  # nothing can be wrong with an operation that takes nothing
                send()
    return sent


@pytest.mark.long
@pytest.mark.timeout(600)
def test_generated_requests(url):
    assert send_generated_requests(url, 4) > 60


@pytest.mark.night
@pytest.mark.timeout(3600)
def test_many_generated_requests(url):
    assert send_generated_requests(url, 1000) > 10_000
