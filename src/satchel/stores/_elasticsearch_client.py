"""Making a client of Elasticsearch from a URL and options, and closing it."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from elasticsearch import AsyncElasticsearch

from ..backend.network import split_url
from ..errors import ConfigurationError

_SCHEMES = {"elasticsearch": "http", "elasticsearch+https": "https"}


def client_options(url: object, api_key: object, ca_certs: str | None, verify_certs: object) -> dict[str, Any]:
    """Return the arguments for a client; a wrong option raises `ConfigurationError`."""
    if url is None:
        url = "elasticsearch://127.0.0.1"
    if not isinstance(verify_certs, bool):
        raise ConfigurationError(f"verify_certs must be a bool, got {type(verify_certs).__name__}")
    parts, hosts = split_url(url)
    host, port = hosts[0]
    if parts.scheme not in _SCHEMES or not host or len(hosts) > 1 or parts.query:
        raise ConfigurationError("url must be elasticsearch://host:port or elasticsearch+https://host:port")
    shown = f"[{host}]" if ":" in host else host
    options: dict[str, Any] = {
        "max_retries": 1,  # of requests that change nothing: a connection may have been closed while it was idle
        "hosts": [f"{_SCHEMES[parts.scheme]}://{shown}:{port or 9200}{parts.path.rstrip('/')}"],
    }
    if api_key is not None:
        if not isinstance(api_key, str) or not api_key or parts.username:
            raise ConfigurationError("api_key must be a str that is not empty, and excludes a username in the url")
        options["api_key"] = api_key
    elif parts.username:
        options["basic_auth"] = unquote(parts.username), unquote(parts.password or "")
    if parts.scheme == "elasticsearch+https":
        options |= {"verify_certs": verify_certs, "ssl_show_warn": False}
        options |= {} if ca_certs is None else {"ca_certs": ca_certs}
    elif ca_certs is not None or not verify_certs:
        raise ConfigurationError("ca_certs and verify_certs need TLS: the url begins with elasticsearch+https://")
    return options


def connected(options: dict[str, Any]) -> AsyncElasticsearch:
    """Make a client; with TLS this reads files."""
    try:
        return AsyncElasticsearch(**options)
    except (ValueError, OSError) as error:
        kind = type(error).__name__  # what it says may show an option, and so must not be the context of another error
    raise ConfigurationError(
        f"no client can be made of these options ({kind}); ca_certs must be a file of certificates"
    )
