"""`Client`: requests to a server of satchel's, sent again where that does no harm.

An answer that is lost leaves it open whether a change was made. So a change has an id, under which the server keeps its
answer for a while: the same request sent again with it gets that answer, and is not carried out a second time. The
second request also says which run of the server the client knew before the first: a server that was started since
then cannot know what its forerunner did, and refuses.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, cast
from urllib.parse import quote

import httpx

from ..._rest import API
from ..._threads import offload
from ..._url_parts import split_url
from ...backend.network import in_empty_context
from ...backend.record import new_version
from ...errors import ConfigurationError, SatchelError, StoreUnavailableError
from .errors import foreign, refusal_in

_TRIES = 3
_KEEP_IDLE = 4.0
"""Seconds for which an unused connection is kept; uvicorn closes it after 5."""
_IDLE_CONNECTIONS = 8
_LOST = (httpx.NetworkError, httpx.RemoteProtocolError)
_READING = {"Accept-Encoding": "identity"}
_JSON = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
LINES = "application/x-ndjson"
EVENTS = "text/event-stream"


class Client:
    """Requests to a server of satchel's.

    Args:
        client: Sends them.
        url: Where the app is mounted, without a slash at the end.
    """

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        self._batch = httpx.URL(f"{url}/v1/batch")
        self._run = ""

    async def ask(self, path: str, **query: str) -> httpx.Response:
        """Return the answer to a `GET`, whatever its status, if satchel's server gave it."""
        return await self._read("GET", self.url_of(path, **query), None, _READING)

    async def read_batch(self, body: bytes) -> httpx.Response:
        """Return the answer to a batch of reads."""
        return await self._read("POST", self._batch, body, _JSON)

    async def change_batch(self, body: bytes) -> httpx.Response:
        """Return the answer to a batch of changes."""
        return await self._change("POST", self._batch, body, _JSON)

    async def change(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, **query: str
    ) -> httpx.Response:
        """Return the answer to a change of one entry or collection."""
        return await self._change(method, self.url_of(path, **query), body, {**_READING, **(headers or {})})

    async def post(self, path: str) -> httpx.Response:
        """Return the answer to a `POST` without a body that is sent once."""
        return await self._send("POST", self.url_of(path), None, _READING)

    async def lines(self, path: str, kind: str = LINES, **query: str) -> AsyncGenerator[bytes]:
        """Yield an answer of lines in pieces that end where a line does.

        Args:
            path: The path.
            kind: The media type of the answer.
            **query: The parameters.

        Raises:
            SatchelError: The server refuses.
        """
        url = self.url_of(path, **query)
        for tries_left in reversed(range(_TRIES)):
            begun = False
            try:
                async with aclosing(self._lines(url, kind)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except _LOST as error:
                if begun or not tries_left or isinstance(error, httpx.ConnectError):
                    raise
            else:
                return

    async def _lines(self, url: httpx.URL, kind: str) -> AsyncGenerator[bytes]:
        request = self._client.build_request("GET", url, headers={**_READING, "Accept": kind})
        response = await in_empty_context(self._client.send(request, stream=True))
        try:
            self._recognise(response)
            if response.status_code != httpx.codes.OK:
                await response.aread()
                raise refusal_in(response).as_error()
            left: list[bytes] = []
            async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as chunks:
                async for chunk in chunks:
                    whole, end, rest = chunk.rpartition(b"\n")
                    if end:
                        yield b"".join([*left, whole])
                        left = []
                    left.append(rest)
            if any(left):
                raise StoreUnavailableError("the connection to the server was lost in the middle of a listing")
        finally:
            await response.aclose()

    def url_of(self, path: str, **query: str) -> httpx.URL:
        """Return the URL of a path below that of the app; both are as they are sent."""
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        return httpx.URL(f"{self._url}{path}{'?' * bool(text)}{text}")

    async def _read(
        self, method: str, url: httpx.URL, body: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        for _ in range(_TRIES - 1):
            try:
                return await self._send(method, url, body, headers)
            except httpx.ConnectError:
                raise
            except _LOST:
                pass
        return await self._send(method, url, body, headers)

    async def _change(
        self, method: str, url: httpx.URL, body: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        known = self._run
        marked = {**headers, "Satchel-Request-Id": new_version()}
        for _ in range(_TRIES - 1):
            try:
                return await self._send(method, url, body, marked)
            except httpx.ConnectError:
                raise
            except _LOST:
                marked["Satchel-Retry"] = known
        return await self._send(method, url, body, marked)

    async def _send(
        self, method: str, url: httpx.URL, body: bytes | None, headers: Mapping[str, str]
    ) -> httpx.Response:
        request = self._client.build_request(method, url, content=body, headers=headers)
        response = await in_empty_context(self._client.send(request))
        self._recognise(response)
        return response

    def _recognise(self, response: httpx.Response) -> None:
        found = response.headers.get("satchel-api")
        if found is None:
            raise foreign(response)
        if found != API:
            raise ConfigurationError(
                f"the server speaks version {found[:20]} of the REST interface, this release of satchel version {API}; "
                "upgrade the older one"
            )
        self._run = response.headers.get("satchel-instance", self._run)


def path_of(collection: str, key: str | None = None) -> str:
    """Return the path of a collection or an entry, encoded."""
    names = [collection] if key is None else [collection, key]
    return "/v1/c/" + "/".join(map(encoded, names))


def encoded(name: str) -> str:
    """Return a name as it stands in a path."""
    # What lies between would take a name of dots for steps in the path.
    return name.replace(".", "%2E") if name in (".", "..") else quote(name, safe="")


def check_url(url: object) -> str:
    """Return the URL of a server without a slash at its end.

    Raises:
        ConfigurationError: It is none, or has a user, a password or a query.
    """
    parts, hosts = split_url(url)
    host, port = hosts[0]
    if parts.scheme not in ("http", "https") or not host or len(hosts) > 1 or parts.query:
        raise ConfigurationError("url must be http://host:port/path or https://host:port/path")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            "the URL of an HTTPStore has no user and no password; pass token=, or token_env= in it"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


async def connect(token: str | None, ca_certs: str | None, *, tls: bool, verify_certs: bool) -> httpx.AsyncClient:
    """Return a client of the store's own; with TLS this reads files, in a thread.

    Raises:
        ConfigurationError: The file of certificates cannot be read.
    """
    trust: ssl.SSLContext | bool = False
    if tls and verify_certs:
        trust = await offload(_context, ca_certs)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    # Without a bound on connections: listings and watchers keep theirs, and must not take those of all other calls.
    limits = httpx.Limits(max_keepalive_connections=_IDLE_CONNECTIONS, keepalive_expiry=_KEEP_IDLE)
    return httpx.AsyncClient(verify=trust, headers=headers, timeout=None, limits=limits, trust_env=False)  # noqa: S113  # the store has its own


def _context(ca_certs: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_certs)
    except (OSError, ValueError) as error:
        kind = type(error).__name__
    raise ConfigurationError(f"ca_certs must be a file of certificates in PEM form ({kind})")


def check_client(client: Any) -> str:
    """Return the base URL of a caller's client.

    Raises:
        ConfigurationError: It is no `httpx.AsyncClient`, or has no base URL.
    """
    if not isinstance(client, httpx.AsyncClient):
        raise ConfigurationError(f"client must be an httpx.AsyncClient, got {type(client).__name__}")
    if not client.base_url.host:
        raise ConfigurationError("client must be made with base_url=, the URL where the server's app is mounted")
    return str(client.base_url).rstrip("/")


def check_answer(response: httpx.Response, *fine: int) -> httpx.Response:
    """Return an answer with one of some statuses; raise the error in any other.

    Raises:
        SatchelError: The server refused.
    """
    if response.status_code in fine:
        return response
    error: SatchelError = refusal_in(response).as_error()
    raise error
