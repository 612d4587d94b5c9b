"""Tables of the local DynamoDB for tests, and an endpoint that answers what a test says.

The tables of the shared server go with it.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self
from uuid import uuid4

import aiohttp
from aiobotocore.session import get_session
from aiohttp import web

from satchel.stores.dynamodb import DynamoDBStore
from tests.servers import server_url

ANY_CREDENTIALS = {"region_name": "eu-west-1", "aws_access_key_id": "local", "aws_secret_access_key": "local"}
SECRET = "very-secret-very-secret"

_models: list[Any] = []

Answer = tuple[int, dict[str, Any]] | None


def local_store(table_name: str, **options: Any) -> DynamoDBStore:
    return DynamoDBStore(table_name, **{"endpoint_url": server_url("dynamodb"), **ANY_CREDENTIALS, **options})


def new_name() -> str:
    return f"satchel-{uuid4().hex[:12]}"


def raw_client(url: str | None = None, **options: Any) -> AbstractAsyncContextManager[Any]:
    """Return the driver's own client, with the driver's own settings, but without reading AWS's files anew."""
    where = {"endpoint_url": url or server_url("dynamodb"), **ANY_CREDENTIALS}
    session = get_session()
    if not _models:
        _models.append(session.get_component("data_loader"))
    session.register_component("data_loader", _models[0])
    return session.create_client("dynamodb", **where, **options)


class Endpoint:
    """Answers as a test says, and passes all else on to the local DynamoDB; remembers what it was asked.

    Attributes:
        url: Where it listens.
        answer: Gives the answer to an operation with its arguments: status and body; None to pass it on.
        asked: The operations so far.
    """

    def __init__(self, answer: Callable[[str, dict[str, Any]], Answer]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def __aenter__(self) -> Self:
        self._onward = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(web.Application(client_max_size=2**25))
        self._runner.app.router.add_post("/", self._handle)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._onward.close()

    async def _handle(self, request: web.Request) -> web.Response:
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        self.asked.append(operation)
        body = await request.read()
        answer = self.answer(operation, json.loads(body))
        if answer is None:
            headers = {name: request.headers[name] for name in ("X-Amz-Target", "Content-Type", "Authorization")}
            async with self._onward.post(server_url("dynamodb"), data=body, headers=headers) as onward:
                return web.Response(status=onward.status, body=await onward.read())
        status, said = answer
        return web.Response(status=status, text=json.dumps(said), content_type="application/x-amz-json-1.0")


def refusal(code: str, message: str = "") -> Answer:
    """Return an error as AWS answers it."""
    return 400, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}


@asynccontextmanager
async def new_store(**options: Any) -> AsyncIterator[DynamoDBStore]:
    """Give a store with a new table of its own."""
    async with local_store(new_name(), create_table=True, **options) as store:
        yield store
