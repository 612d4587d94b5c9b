"""`ValkeyStore`: entries in Valkey (`valkey://host:port/db`), by the client valkey-glide."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import missing_extra

try:
    import glide
except ModuleNotFoundError as error:
    raise missing_extra("ValkeyStore", "valkey", error) from error

from .._checks import check_int
from .._contexts import task_in_empty_context
from .._shortage import shortage_of_descriptors
from .._threads import offload
from .._url_parts import check_options, split_url
from ..backend.network import DEFAULT_TIMEOUT, check_host, check_one_way, check_port, check_texts
from ..capability import Capability
from ..clock import Clock, system_clock
from ..codec import Codec
from ..errors import ConfigurationError, SatchelError, StoreError, StoreTimeoutError, StoreUnavailableError
from ._redislike.base import CLOCK_SKEW, PAGE, Command, RedisLikeStore
from ._redislike.errors import CODES, ServerError
from ._redislike.line import Line

Client = glide.GlideClient | glide.GlideClusterClient

_SCHEMES = {
    "valkey": (False, False),
    "valkeys": (False, True),
    "valkey+cluster": (True, False),
    "valkeys+cluster": (True, True),
}
_LONGEST_CONNECTING = 2000
"""Milliseconds for connecting to a node of a cluster: one that says nothing leaves time for the others."""
_DESCRIPTORS = 8
"""What the client needs to start and to connect, roughly; its errors do not say when there are too few."""
_NO_END = 24 * 60 * 60 * 1000
_CODES = {
    "Ask": "ASK",
    "BusyLoadingError": "LOADING",
    "ClusterDown": "CLUSTERDOWN",
    "CrossSlot": "CROSSSLOT",
    "MasterDown": "MASTERDOWN",
    "Moved": "MOVED",
    "NoScriptError": "NOSCRIPT",
    "PermissionDenied": "NOPERM",
    "ReadOnly": "READONLY",
    "ResponseError": "ERR",
    "TryAgain": "TRYAGAIN",
}
"""The client's names for some of the server's codes."""
# The client puts its own words before some codes.
_KNOWN_CODE = re.compile(rf"\b({'|'.join(sorted({*_CODES, *CODES}))})\b:? ?")
_FIRST_WORD = re.compile(r"(\w+):? ?")


class ValkeyStore(RedisLikeStore):
    """Store that keeps entries in Valkey, one server with its replicas or a cluster.

    `RedisStore` reads and writes the same entries.

    Each entry is one string under `prefix:collection:key`. The client keeps one connection to each node.

    Args:
        url: URL of the server: `valkey://username:password@host:port/db`, with `valkeys` for TLS, and `+cluster` after
            either for a cluster, of which it may name several nodes: `valkey+cluster://host:port,other:port`.
        client: Your own `GlideClient` or `GlideClusterClient` instead. It stays open. The store then lacks
            `WATCH`: it could not make the connection that watching needs.
        host: Host of the server, without a URL; `"localhost"` by default.
        port: Its port; 6379 by default.
        db: The number of the database; 0 by default.
        username: The user; the server's default user if omitted.
        password: The password of that user.
        tls: Encrypt the connection.
        ca_certs: The file with the certificate authority to trust; by default those of the system.
        cluster: The server is a node of a cluster; the others are found through it.
        prefix: Prefix of the store's keys, so that several stores can share a database.
        timeout: Seconds that a request may take; None for no limit.
        clock_skew: Maximum difference of clients' clocks in seconds: the server keeps an expired entry at least that
            long.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: the server refuses the
            username or the password, or is not a node of a cluster.
    """

    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Client | None = None,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: bool | None = None,
        ca_certs: str | None = None,
        cluster: bool | None = None,
        prefix: str = "satchel",
        timeout: float | None = DEFAULT_TIMEOUT,
        clock_skew: float = CLOCK_SKEW,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        parts = {"host": host, "port": port, "db": db, "username": username, "password": password}
        parts |= {"tls": tls, "cluster": cluster}
        check_one_way("client", client, url=url, ca_certs=ca_certs, **parts)
        check_one_way("url", url, host=host, port=port, tls=tls, cluster=cluster)
        check_host(host)
        check_texts(username=username, password=password, ca_certs=ca_certs)
        check_port(port)
        if db is not None:
            check_int("db", db, 0)
        if not {type(tls), type(cluster)} <= {bool, type(None)}:
            raise ConfigurationError("tls and cluster must be bools")
        if client is not None and not isinstance(client, Client):
            raise ConfigurationError(f"client must be a client of valkey-glide, got {type(client).__name__}")
        if url is not None:
            parts = _parts_of(url) | {name: value for name, value in parts.items() if value is not None}
        if ca_certs is not None and not parts["tls"]:
            raise ConfigurationError("ca_certs needs TLS: the url begins with valkeys, or tls=True")
        self._ca_certs = ca_certs
        self._given_client = client
        self._lent = None if client is None else "a client"
        self._client: Client | None = client
        self._renewal: asyncio.Task[None] | None = None
        self._missing = Capability.NONE if client is None else Capability.WATCH
        self._parts: dict[str, Any] = parts
        self._clustered = isinstance(client, glide.GlideClusterClient) if client else bool(parts["cluster"])
        if self._clustered and parts["db"]:
            raise ConfigurationError("a cluster has the database 0 alone; leave db out")
        super().__init__(prefix=prefix, codec=codec, clock=clock, timeout=timeout, clock_skew=clock_skew)
        self._configuration: Any = None if client else self._configured()
        self._named: Sequence[glide.NodeAddress] = self._configuration.addresses if self._configuration else ()

    def __repr__(self) -> str:
        if self._given_client is not None:
            return "ValkeyStore(client=...)"
        host, port = self._parts["host"] or "localhost", self._parts["port"] or 6379
        return f"ValkeyStore({'cluster at ' * self._clustered}{host}:{port})"

    # Asking the server.

    async def _execute(self, commands: Sequence[Command], *, changes: bool) -> Sequence[Any]:
        client = await self._current()
        try:
            return await self._send(client, commands)
        except glide.TimeoutError:
            await self._leave(client)
            raise

    async def _send(self, client: Any, commands: Sequence[Command]) -> Sequence[Any]:
        if len(commands) == 1:
            return [await _asked(client, commands[0])]
        batch: Any = glide.ClusterBatch(is_atomic=False) if self._clustered else glide.Batch(is_atomic=False)
        for command in commands:
            batch.custom_command(list(command))
        replies = await client.exec(batch, raise_on_error=False)
        return [_reply(reply) if isinstance(reply, glide.RequestError) else reply for reply in replies]

    async def _execute_as_one(self, commands: Sequence[Command]) -> Sequence[Any] | ServerError:
        client = await self._current()
        batch: Any = glide.Batch(is_atomic=True)
        for command in commands:
            batch.custom_command(list(command))
        try:
            answers: Sequence[Any] = await client.exec(batch, raise_on_error=False)
        except glide.RequestError as error:
            refusal = _reply(error)
            if not isinstance(refusal, ServerError):
                raise refusal from error
            return refusal
        return answers

    async def _scan(self, pattern: bytes) -> AsyncGenerator[list[bytes], None]:
        client = await self._current()
        if self._clustered:
            position: Any = glide.ClusterScanCursor()  # type: ignore[no-untyped-call]  # the client does not annotate it
            while not position.is_finished():
                position, keys = await client.scan(position, match=pattern, count=PAGE)
                yield keys
            return
        cursor = b"0"
        while True:
            cursor, keys = await client.scan(cursor, match=pattern, count=PAGE)
            yield keys
            if cursor == b"0":
                return

    async def _ping(self) -> None:
        client = await self._current()
        await client.ping()

    # Watching. The client makes connections for questions and answers alone, and hides it when one was restored.

    async def _lines(self) -> Sequence[Line]:
        self._watched = await self._primaries()
        made: list[Line] = []
        try:
            for host, port in self._watched:
                made.append(await self._line(host, port))  # those made are closed if one cannot be
        except BaseException:
            for line in made:
                line.close()
            raise
        return made

    async def _check_servers(self) -> None:
        if await self._primaries() != self._watched:
            raise StoreUnavailableError("the cluster has other primaries now; all of them are watched again")

    async def _primaries(self) -> list[tuple[str, int]]:
        host, port = self._parts["host"] or "localhost", self._parts["port"] or 6379
        if not self._clustered:
            return [(host, port)]
        slots = await _asked(await self._current(), ("CLUSTER", "SLOTS"))
        if isinstance(slots, Exception):
            raise slots
        return sorted({(named.decode() or host, number) for _, _, (named, number, *_), *_ in slots})

    async def _line(self, host: str, port: int) -> Line:
        tls = await offload(_tls_context, self._ca_certs) if self._parts["tls"] else None
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        greetings: list[tuple[str, ...]] = []
        if self._parts["password"] is not None:
            greetings.append(("AUTH", self._parts["username"] or "default", self._parts["password"]))
        if self._parts["db"]:
            greetings.append(("SELECT", str(self._parts["db"])))
        return Line(reader, writer, writer.transport.abort, greetings)

    # Opening and closing.

    async def _open(self) -> None:
        if self._given_client is None:
            if self._ca_certs is not None:
                self._configuration.advanced_config.tls_config = await self._trusting(self._ca_certs)
            self._client = await self._connected()

    async def _connected(self) -> Any:
        kind: Any = glide.GlideClusterClient if self._clustered else glide.GlideClient
        client = await kind.create(self._configuration)
        try:
            await client.ping()
            if self._clustered:
                await self._note_nodes(client)
        except BaseException as error:
            await client.close()
            if isinstance(error, glide.GlideError):
                raise self._not_connected(error) from error
            raise
        return client

    async def _current(self) -> Any:
        """Return the client; a new one where the last one was left."""
        if self._client is None:
            if self._renewal is None:
                self._renewal = task_in_empty_context(self._renew())
            await asyncio.shield(self._renewal)
        return self._client

    async def _renew(self) -> None:
        try:
            self._client = await self._connected()
        finally:
            self._renewal = None

    async def _leave(self, client: Client) -> None:
        """Close the client of a cluster that got no answer.

        It would go on to ask a node that is frozen, also when another node has taken its place; and once it came to
        know that one, it could send there what its caller was told had failed.
        """
        if self._clustered and self._given_client is None and self._client is client:
            self._client = None
            await client.close()

    async def _note_nodes(self, client: Any) -> None:
        """Note all nodes of the cluster: those that the options name may be the ones that are lost."""
        host = self._parts["host"] or "localhost"
        slots = await client.custom_command(["CLUSTER", "SLOTS"])
        found = {(named.decode() or host, port) for _, _, *nodes in slots for named, port, *_ in nodes}
        given = [(node.host, node.port) for node in self._named]
        self._configuration.addresses = [
            *self._named,
            *(glide.NodeAddress(*place) for place in sorted(found) if place not in given),
        ]

    async def _close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        if self._given_client is None and self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def _discard(self) -> None:
        self._renewal = None
        if self._given_client is not None or self._client is None:
            return
        closing, self._client = self._client.close(), None
        try:
            closing.send(None)  # it awaits nothing, so that it needs no event loop
        except (StopIteration, RuntimeError):
            pass  # done, but for calls that were under way on the closed loop
        finally:
            closing.close()

    async def _trusting(self, ca_certs: str) -> glide.TlsAdvancedConfiguration:
        try:
            return glide.TlsAdvancedConfiguration(root_pem_cacerts=await offload(Path(ca_certs).read_bytes))
        except OSError as error:
            raise ConfigurationError(
                f"ca_certs cannot be read ({type(error).__name__}); give a file in PEM form"
            ) from error

    def _configured(self) -> Any:
        parts = self._parts
        host, port, db = parts["host"] or "localhost", parts["port"] or 6379, parts["db"] or 0
        others = [glide.NodeAddress(name or "localhost", number or 6379) for name, number in parts.get("others", ())]
        milliseconds = _NO_END if self._timeout is None else max(int(self._timeout * 1000), 1)
        connecting = max(milliseconds * 3 // 4, 1)  # so that the client says what was wrong before the time is over
        credentials = None
        if parts["password"] is not None:
            credentials = glide.ServerCredentials(parts["password"], parts["username"])
        elif parts["username"] is not None:
            raise ConfigurationError("a username needs a password")
        options: dict[str, Any] = {
            "addresses": [glide.NodeAddress(host, port), *others],
            "use_tls": bool(parts["tls"]),
            "credentials": credentials,
            "request_timeout": max(milliseconds * 9 // 10, 1),  # so that its error comes first
            "lazy_connect": True,  # otherwise the client connects in the event loop's own thread
        }
        if self._clustered:
            return glide.GlideClusterClientConfiguration(
                **options,
                advanced_config=glide.AdvancedGlideClusterClientConfiguration(
                    connection_timeout=min(connecting, _LONGEST_CONNECTING)
                ),
            )
        return glide.GlideClientConfiguration(
            **options,
            database_id=db,
            advanced_config=glide.AdvancedGlideClientConfiguration(connection_timeout=connecting),
        )

    def _map_error(self, error: Exception) -> SatchelError | None:
        if isinstance(error, glide.TimeoutError):
            return StoreTimeoutError(f"{self!r} did not answer in time; try again, or give a longer timeout")
        if isinstance(error, glide.ClosingError):
            if self._given_client is None:
                return shortage_of_descriptors(_DESCRIPTORS) or StoreUnavailableError(
                    f"{self!r} left a node that does not answer; try again"
                )
            return StoreError(f"the client of {self!r} has been closed; make a new store with an open one")
        if isinstance(error, glide.ConnectionError):
            return StoreUnavailableError(f"{self!r} lost its connection; try again")
        if isinstance(error, glide.RequestError):
            return super()._map_error(_server_error(error))
        return super()._map_error(error)

    def _not_connected(self, error: glide.GlideError) -> SatchelError:
        # The client has one class for this, whatever the server answered.
        refused = re.search(r"NOAUTH|WRONGPASS|NOPERM|PermissionDenied", str(error))
        if refused:
            return super()._map_error(ServerError(_CODES.get(refused[0], refused[0]))) or StoreError(str(refused[0]))
        if "ResponseError" in str(error) and self._clustered:
            return ConfigurationError(f"{self!r} is no cluster; leave +cluster out of the URL")
        return shortage_of_descriptors(_DESCRIPTORS) or StoreUnavailableError(
            f"{self!r} cannot be reached; see that the server runs, that host and port are right, that both sides use "
            "TLS or neither, that ca_certs vouches for its certificate, and that it has the database"
        )


async def _asked(client: Any, command: Command) -> Any:
    try:
        return await client.custom_command(list(command))
    except glide.RequestError as error:
        return _reply(error)


def _tls_context(ca_certs: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_certs)


def _reply(error: glide.RequestError) -> Exception:
    """Return what stands for a reply that is an error; what is not the server's answer is raised."""
    if isinstance(error, (glide.TimeoutError, glide.ConnectionError, glide.ConfigurationError)):
        raise error
    found = _code_in(str(error))
    if found is None or not (found[1] in _CODES or found[1].isupper()):
        # The client's own words: it lost a node, or does not know yet which one took its place.
        failure = StoreUnavailableError("the client could not reach the node that has these keys; try again")
        failure.__cause__ = error
        return failure
    return _server_error(error)


def _code_in(text: str) -> re.Match[str] | None:
    return _KNOWN_CODE.search(text) or _FIRST_WORD.match(text)


def _server_error(error: glide.RequestError) -> ServerError:
    text = str(error)
    found = _code_in(text)
    if found is None:
        return ServerError("ERR")
    return ServerError(f"{_CODES.get(found[1], found[1])} {text[found.end() :]}")


def _parts_of(url: str) -> dict[str, Any]:
    """Return the constructor's options in a URL, by name."""
    split, hosts = split_url(url)
    number = split.path.strip("/")
    is_number = not number or (number.isascii() and number.isdecimal())
    check_options(split.query, (), "a URL of Valkey")
    cluster, tls = _SCHEMES.get(split.scheme, (False, False))
    if split.scheme not in _SCHEMES or (len(hosts) > 1 and not cluster) or not is_number:
        raise ConfigurationError(
            "url must be valkey://username:password@host:port/db, with the scheme valkeys for TLS, and +cluster behind "
            "it for a cluster, which may have several hosts; percent-encode : @ / ? # in a password"
        )
    (host, port), *others = hosts
    return {
        "host": host or None,
        "port": port,
        "others": others,
        "db": int(number) if number else None,
        "username": unquote(split.username) if split.username else None,
        "password": unquote(split.password) if split.password else None,
        "tls": tls,
        "cluster": cluster,
    }
