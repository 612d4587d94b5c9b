"""The connection of a `NATSStore`: made from a URL, or the caller's own, with requests that end when it is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError, NoServersError

from ..._threads import offload
from ..._url_parts import split_url
from ...backend.lifecycle import close_at_end_of_loop
from ...backend.network import in_empty_context
from ...errors import ConfigurationError
from .errors import NOT_FOUND, ApiError, DisconnectedError

logger = logging.getLogger("satchel")

SCHEMES = ("nats", "nats+tls")
_FORM = "nats://user:password@host:4222/bucket"
_BETWEEN_TRIES = 0.1
_PATIENCE = 1.0
_NO_RESPONDERS = 503
_SIGN_OF_LIFE = 2
"""Seconds between two questions whether the server is there; one that missed two of them is left for another."""


@dataclass(frozen=True)
class Target:
    """What a URL says.

    Attributes:
        servers: The URLs of the servers, as the client takes them, with the credentials.
        tls: Whether to connect with TLS.
        bucket: The bucket, if it is named.
        shown: The hosts, for messages.
    """

    servers: tuple[str, ...]
    tls: bool
    bucket: str | None
    shown: str


def read_url(url: object) -> Target:
    """Return what a URL says.

    Raises:
        ConfigurationError: It is not a URL of NATS. The message shows nothing of it.
    """
    parts, hosts = split_url(url)
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(f"url must be a str such as {_FORM}, or with nats+tls")
    if parts.query:
        raise ConfigurationError("a URL of NATS has no options of the driver; connect a client of your own for them")
    bucket = unquote(parts.path.removeprefix("/"))
    if "/" in bucket:
        raise ConfigurationError(f"the path of a URL of NATS is the name of one bucket: {_FORM}")
    user, password, at = parts.username or "", parts.password, ""
    if user and password is None:
        raise ConfigurationError("a user has a password; a token is written as one without a user: nats://:token@host")
    if password:
        # What the client takes for a token is a user without a password.
        at = f"{user}:{password}@" if user else f"{password}@"
    places = [f"{f'[{host}]' if ':' in host else host or 'localhost'}:{port or 4222}" for host, port in hosts]
    scheme = "tls" if parts.scheme == "nats+tls" else "nats"
    servers = tuple(f"{scheme}://{at}{place}" for place in places)
    return Target(servers, scheme == "tls", bucket or None, ",".join(places))


def check_client(client: object) -> None:
    """Raise unless the client is one of nats-py."""
    if not isinstance(client, Client):
        raise ConfigurationError(f"client must be a client that nats.connect returned, got {type(client).__name__}")


class Connection:
    """Client of NATS, with requests over it and their answers.

    The client's own requests wait for their time limit when the connection is lost; these end at once.

    Args:
        client: The caller's client; None to connect one.
    """

    def __init__(self, client: Client | None) -> None:
        self.client = Client() if client is None else client
        self._own = client is None
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._tokens = itertools.count()
        self._connecting: asyncio.Future[None] | None = None
        self._failures = 0
        self._guard: AsyncGenerator[None] | None = None
        self._listeners: set[Listener] = set()
        self._inbox = ""
        self._answers: Any = None

    async def open(self, target: Target | None, credentials: str | None, seconds: float | None) -> None:
        """Connect, unless the client is the caller's, and listen for answers."""
        if target is not None and self._own:
            await self._connect(target, credentials, seconds)
        self._inbox = self.client.new_inbox()
        # An empty context: the task that takes answers would keep the variables of its caller.
        self._answers = await in_empty_context(
            self.client.subscribe(f"{self._inbox}.*", cb=self._answer, pending_msgs_limit=0, pending_bytes_limit=0)
        )

    async def close(self) -> None:
        """Release what `open` acquired."""
        if self._guard is not None:
            await self._guard.aclose()
        elif self._answers is not None and self.client.is_connected:
            await self._answers.unsubscribe()

    async def request(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> Msg:
        """Send a request and return its answer.

        Raises:
            DisconnectedError: There is no connection, or it was lost before the answer came.
            NoRespondersError: Nobody listens on the subject.
        """
        await self._connected()
        token = str(next(self._tokens))
        future = self._waiting[token] = asyncio.get_running_loop().create_future()
        try:
            await self.client.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=headers)
            answer: Msg = await future
        finally:
            del self._waiting[token]
        if status_of(answer) == _NO_RESPONDERS and not answer.data:
            raise NoRespondersError
        return answer

    async def ask(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request of JetStream's API and return its answer.

        Raises:
            ApiError: JetStream refuses it.
        """
        return answered(await self.request(subject, b"" if body is None else json.dumps(body).encode()))

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Listener]:
        """Take any number of answers to what is sent meanwhile."""
        await self._connected()
        listener = Listener(self.client)
        # An empty context, as in `open`.
        answers = await in_empty_context(
            self.client.subscribe(listener.inbox, cb=listener.take, pending_msgs_limit=0, pending_bytes_limit=0)
        )
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if self.client.is_connected:
                await answers.unsubscribe()

    async def _connected(self) -> None:
        """Wait a little for a connection that was lost and may be back soon.

        The client would keep what it cannot send, and send it later, after its caller gave up.
        """
        give_up = time.monotonic() + _PATIENCE
        while not self.client.is_connected:
            if self.client.is_closed or time.monotonic() > give_up:
                raise DisconnectedError
            await asyncio.sleep(_BETWEEN_TRIES / 2)

    async def _connect(self, target: Target, credentials: str | None, seconds: float | None) -> None:
        tls = await offload(ssl.create_default_context) if target.tls else None
        self._connecting = asyncio.get_running_loop().create_future()
        self._failures = -len(target.servers)
        trying = asyncio.ensure_future(
            self.client.connect(
                list(target.servers),
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                ping_interval=_SIGN_OF_LIFE,
                max_outstanding_pings=2,
                reconnect_time_wait=_BETWEEN_TRIES,  # type: ignore[arg-type]  # it takes fractions
                connect_timeout=2 if seconds is None else min(2.0, seconds / 2),  # type: ignore[arg-type]  # as above
                user_credentials=credentials,
                tls=tls,
            )
        )
        try:
            await asyncio.wait([trying, self._connecting], return_when=asyncio.FIRST_COMPLETED)
            if trying.done():
                trying.result()
            else:
                self._connecting.result()
        except BaseException:
            trying.cancel()
            await asyncio.wait([trying])
            await self.client.close()
            raise
        finally:
            self._connecting.cancel()
            self._connecting = None
        self._guard = close_at_end_of_loop(self.client.close)
        await anext(self._guard)

    async def _on_error(self, error: Exception) -> None:
        """Note a failure; while connecting, give up once every server failed."""
        logger.debug("the NATS client reports %s", type(error).__name__)
        if not self.client.is_connected and self.client._transport is not None:
            # The client would leave it open where a server says nothing.
            self.client._transport.close()  # type: ignore[no-untyped-call]  # nats-py has no annotation there
        if self._connecting is not None and not self._connecting.done():
            self._failures += 1
            if self._failures >= 0:
                self._connecting.set_exception(NoServersError() if error is None else error)

    async def _on_disconnected(self) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(DisconnectedError())
        for listener in self._listeners:
            listener.end()

    async def _answer(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(message)


class Listener:
    """Inbox for the answers to several requests, in order.

    Args:
        client: The client over which they are sent.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.inbox = client.new_inbox()
        self._answers: asyncio.Queue[Msg | None] = asyncio.Queue()

    async def send(self, subject: str, payload: bytes) -> None:
        """Send a request."""
        await self._client.publish(subject, payload, reply=self.inbox)

    async def next(self) -> Msg:
        """Return the next answer.

        Raises:
            DisconnectedError: The connection was lost.
        """
        answer = await self._answers.get()
        if answer is None:
            raise DisconnectedError
        return answer

    async def take(self, message: Msg) -> None:
        """Take an answer."""
        self._answers.put_nowait(message)

    def end(self) -> None:
        """Say that no more answers come."""
        self._answers.put_nowait(None)


def status_of(message: Msg) -> int:
    """Return the status of an answer; 0 if it has none, as one with a message has."""
    return int((message.headers or {}).get("Status", 0))


def answered(message: Msg) -> dict[str, Any]:
    """Return an answer in JSON.

    Raises:
        ApiError: It is a refusal.
    """
    said: dict[str, Any] = json.loads(message.data)
    if "error" in said:
        raise ApiError(said["error"])
    return said


def refuse_status(message: Msg) -> None:
    """Raise `ApiError` for an answer that has a status instead of a message."""
    status = status_of(message)
    if status:
        raise ApiError({"code": status if status != 408 else NOT_FOUND})
