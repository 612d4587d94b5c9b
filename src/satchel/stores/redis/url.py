"""Where a Redis server is: from the options of a store, or from a URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import unquote, unquote_plus

from ..._checks import check_int
from ..._url_parts import UNREADABLE, check_options, split_url
from ...backend.network import check_host, check_port, check_texts
from ...errors import ConfigurationError

Kind = Literal["server", "cluster", "sentinel"]

_KINDS: Mapping[str, Kind] = {
    "redis": "server",
    "rediss": "server",
    "unix": "server",
    "redis+cluster": "cluster",
    "redis+sentinel": "sentinel",
}
_PORTS: Mapping[Kind, int] = {"server": 6379, "cluster": 6379, "sentinel": 26379}
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")
OPTIONS = frozenset({"ssl", "ssl_cert_reqs", "ssl_check_hostname", *_FILES})
"""Connection options that a URL may have after its `?`."""


@dataclass(frozen=True)
class Address:
    """Where a server is, and the credentials for it.

    Attributes:
        kind: One server, a cluster, or servers behind Sentinel.
        hosts: Where to begin: the server, nodes of the cluster, or Sentinels.
        path: The Unix socket, instead of hosts.
        service: The name under which Sentinel knows the servers.
        db: The number of the database.
        tls: None for a connection without TLS, otherwise its options under redis-py's names.
    """

    kind: Kind = "server"
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        match self.kind:
            case "cluster":
                return f"redis+cluster://{hosts}"
            case "sentinel":
                return f"redis+sentinel://{hosts}/{self.service}"
        if self.path:
            return f"unix://{self.path}"
        return f"redis{'s' * (self.tls is not None)}://{hosts}/{self.db}"


def address_of(
    url: str | None,
    host: str | None,
    port: int | None,
    db: int | None,
    username: str | None,
    password: str | None,
    *,
    tls: bool | None = None,
    ca_certs: str | None = None,
) -> Address:
    """Return where the server is that a store's options name.

    Raises:
        ConfigurationError: An option is wrong, or given twice. The message holds no secret.
    """
    if db is not None:
        check_int("db", db, 0)
    check_host(host)
    check_texts(username=username, password=password, ca_certs=ca_certs)
    check_port(port)
    if not isinstance(tls, bool | None):
        raise ConfigurationError(f"tls must be a bool, got {type(tls).__name__}")
    if url is None:
        place = (host or "localhost", port or 6379)
        address = Address("server", (place,), "", "", db or 0, username, password, {} if tls else None)
    else:
        address = _parsed(url, db, username, password)
    if ca_certs is None:
        return address
    if address.tls is None:
        raise ConfigurationError("ca_certs needs TLS: the url begins with rediss, or tls=True")
    if "ssl_ca_certs" in address.tls:
        raise ConfigurationError("ca_certs is given twice: in the URL, as ssl_ca_certs, and as an option")
    return replace(address, tls={**address.tls, "ssl_ca_certs": ca_certs})


def _parsed(url: str, db: int | None, username: str | None, password: str | None) -> Address:
    parts, hosts = split_url(url)
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        raise ConfigurationError(f"a URL of Redis begins with one of {', '.join(f'{name}://' for name in _KINDS)}")
    name, _, secret = parts.netloc.rpartition("@")[0].partition(":")
    options = _options(parts.query)
    path = unquote(parts.path)
    service = ""
    if parts.scheme == "unix":
        if not path:
            raise ConfigurationError("a unix URL is unix:///path/of/the.sock")
        if parts.netloc.rpartition("@")[2]:  # a password with a raw / in it ends there
            raise ConfigurationError(UNREADABLE)
    elif kind == "sentinel":
        service, _, path = path.strip("/").partition("/")
        if not service:
            raise ConfigurationError("a Sentinel URL is redis+sentinel://host:port/name-of-the-service")
    number = options.pop("db", None) if parts.scheme == "unix" else path.strip("/") or options.pop("db", None)
    if kind == "cluster" and (_number(number) or db):
        raise ConfigurationError("a cluster has database 0 alone; leave db out")
    encrypted = parts.scheme == "rediss" or options.pop("ssl", False)
    if kind == "server" and len(hosts) > 1:
        raise ConfigurationError("a redis URL has one host; for several use redis+cluster:// or redis+sentinel://")
    if options and not encrypted:
        raise ConfigurationError(f"{', '.join(options)}: these are options of TLS; use rediss://, or add ssl=true")
    return Address(
        kind=kind,
        hosts=()
        if parts.scheme == "unix"
        else tuple((host or "localhost", port or _PORTS[kind]) for host, port in hosts),
        path=path if parts.scheme == "unix" else "",
        service=service,
        db=_once("db", _number(number), db) or 0,
        username=_once("username", unquote(name) or None, username),
        password=_once("password", unquote(secret) or None, password),
        tls=options if encrypted else None,
    )


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, encoded in check_options(query, OPTIONS | {"db"}, "a URL of Redis"):
        text = unquote_plus(encoded)
        if name in ("ssl", "ssl_check_hostname"):
            if text.lower() not in _BOOLS:
                raise ConfigurationError(f"option {name!r} of the URL must be true or false")
            options[name] = _BOOLS[text.lower()]
        else:
            options[name] = text
    if options.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise ConfigurationError("option 'ssl_cert_reqs' of the URL must be none, optional or required")
    return options


def _number(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise ConfigurationError("the database in the URL must be a number")
    return int(text)


def _once(name: str, in_url: Any, given: Any) -> Any:
    if in_url is not None and given is not None:
        raise ConfigurationError(f"{name} is given twice: in the URL and as an option")
    return given if in_url is None else in_url
