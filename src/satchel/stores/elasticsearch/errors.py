"""What Elasticsearch and its client say went wrong, in satchel's errors.

What the server says may quote a document, so that only its status and the type of its error are shown.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

from aiohttp import ClientConnectorCertificateError
from elastic_transport import ApiError, ConnectionError, ConnectionTimeout, SerializationError, TlsError, TransportError  # noqa: A004  # the driver calls it so
from elasticsearch import UnsupportedProductError

from ...errors import (
    ConfigurationError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)

MISSING_INDEX = "index_not_found_exception"
ALREADY_THERE = "resource_already_exists_exception"
PRIVILEGES = "read, write and manage"
"""The index privileges that a store needs."""

_UNTRUSTED = (ssl.SSLCertVerificationError, ClientConnectorCertificateError)
_OTHER_PRODUCT = "the server is not Elasticsearch; check the host, the port and the path of the URL"
_OTHER_MAPPING = "the index does not have satchel's mapping; choose another index_prefix, or remove the index"
_BY_TYPE: dict[str, tuple[type[SatchelError], str]] = {
    "media_type_header_exception": (
        ConfigurationError,
        (
            "the server is of an older major version than the client; install the client of the server's: "
            'pip install "elasticsearch<9" for Elasticsearch 8'
        ),
    ),
    "strict_dynamic_mapping_exception": (ConfigurationError, _OTHER_MAPPING),
    "document_parsing_exception": (ConfigurationError, _OTHER_MAPPING),
    "mapper_parsing_exception": (ConfigurationError, _OTHER_MAPPING),
    "invalid_alias_name_exception": (
        ConfigurationError,
        "there is an index with the name that index_prefix gives the store's alias; choose another index_prefix",
    ),
    "cluster_block_exception": (
        StoreError,
        (
            "the index is blocked for this, by a setting or because a disk of the cluster is nearly full; "
            "free room, or remove the block"
        ),
    ),
}
_BY_STATUS: dict[int, tuple[type[SatchelError], str]] = {
    401: (
        ConfigurationError,
        (
            "the server refuses the credentials; check api_key, or the username and password in the URL, and whether "
            "they have expired"
        ),
    ),
    403: (
        StoreError,
        f"the user or API key may not do this; it needs the privileges {PRIVILEGES} on the index and its alias",
    ),
    413: (ValueTooLargeError, "the server takes no request as large as this; raise its http.max_content_length"),
    429: (StoreUnavailableError, "the server is overloaded and refused the request; try again later"),
    502: (StoreUnavailableError, "a proxy before the server cannot reach it; try again later"),
    503: (StoreUnavailableError, "the server or a shard of the index is not available now; try again later"),
    504: (StoreUnavailableError, "a proxy before the server had no answer from it in time; try again later"),
}


def translate(error: Exception, where: str = "the server") -> SatchelError | None:
    """Return the satchel error for one of the client's; None for any other error.

    Args:
        error: The error raised.
        where: What the server is called where it cannot be reached.
    """
    if isinstance(error, UnsupportedProductError):
        return ConfigurationError(_OTHER_PRODUCT)
    if isinstance(error, ApiError):
        return failure(error.meta.status, type_of(error.body))
    if isinstance(error, ConnectionTimeout):
        return StoreTimeoutError("the server did not answer in time")
    if isinstance(error, TlsError):
        return _of_tls(error)
    if isinstance(error, ConnectionError):
        return StoreUnavailableError(
            f"{where} cannot be reached or closed the connection; check host and port, and that the URL begins with "
            "elasticsearch+https:// if the server speaks TLS"
        )
    if isinstance(error, SerializationError):
        return ConfigurationError(_OTHER_PRODUCT)
    return StoreError(f"the client failed: {type(error).__name__}") if isinstance(error, TransportError) else None


def failure(status: int, kind: str) -> SatchelError:
    """Return the satchel error for the status and the type of a refusal."""
    known = _BY_TYPE.get(kind) or _BY_STATUS.get(status)
    if known is not None:
        return known[0](known[1])
    if status == 404 and kind == "unknown":
        return ConfigurationError(_OTHER_PRODUCT)
    return StoreError(f"the server refused this with status {status} ({kind})")


def type_of(body: Any) -> str:
    """Return the type of the error in an answer, `unknown` if it names none."""
    error = body.get("error") if isinstance(body, dict) else None
    found = error.get("type") if isinstance(error, dict) else None
    return found if isinstance(found, str) else "unknown"


def _of_tls(error: TlsError) -> SatchelError:
    if any(isinstance(cause, _UNTRUSTED) for cause in _causes(error)):
        return ConfigurationError(
            "the certificate of the server is not trusted; give ca_certs= the file with that of its authority"
        )
    return ConfigurationError(
        "the server does not speak TLS as it should; if it speaks none, the URL begins with elasticsearch://"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the causes of a client's error, its own and those of the library below."""
    left: list[BaseException] = [error]
    while left:
        one = left.pop()
        yield one
        left += [cause for cause in (*getattr(one, "errors", ()), one.__cause__) if isinstance(cause, BaseException)]
