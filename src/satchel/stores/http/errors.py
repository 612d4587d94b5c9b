"""What httpx, a server of satchel's, or another server says went wrong, in satchel's errors."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

import httpx
import msgspec

from ..._rest import ERRORS
from ...codec import UNDECODABLE
from ...errors import (
    CircuitOpenError,
    ConfigurationError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)

_FURTHER: dict[str, type[SatchelError]] = {
    "unauthorized": ConfigurationError,
    "wrong_host": ConfigurationError,
    "outcome_unknown": StoreUnavailableError,
    "overloaded": StoreUnavailableError,
    "request_timeout": StoreTimeoutError,
    "body_too_large": ValueTooLargeError,
}
"""The class of each code that stands for no error of satchel's own; of all others it is `StoreError`."""
_ADVICE = {
    "unauthorized": "the server refuses the token, or needs one: pass token=, or token_env= in a URL",
    "outcome_unknown": (
        "the connection was lost before the answer came, and the server, which has since been started again, does not "
        "know the change: it may or may not have happened"
    ),
}
_PRODUCT = re.compile(r"[A-Za-z][A-Za-z0-9 ._+-]{0,30}")
_PROXY = (502, 503, 504)
_LONGEST = 2000


class Refusal(msgspec.Struct):
    """Body of an answer that is an error.

    Attributes:
        index: The number of the operation at fault, if the answer is to a batch.
    """

    error: str
    message: str = ""
    retryable: bool = False
    retry_after: float = 0.0
    index: int | None = None

    def as_error(self) -> SatchelError:
        """Return it as an error of satchel's."""
        return refusal(self.error, self.message, retryable=self.retryable, retry_after=self.retry_after)


decode_refusal = msgspec.json.Decoder(Refusal).decode


def refusal(code: str, message: str, *, retryable: bool, retry_after: float) -> SatchelError:
    """Return the error for a code of the REST interface."""
    said = _ADVICE.get(code) or message[:_LONGEST] or f"the server refused this: {code}"
    if code in _FURTHER:
        return _FURTHER[code](said)
    kind = ERRORS[code][1] if code in ERRORS else StoreError
    if issubclass(kind, CircuitOpenError):
        return kind(said, retry_after=retry_after, retryable=retryable)
    return kind(said, retryable=retryable) if issubclass(kind, StoreError) else kind(said)


def refusal_in(response: httpx.Response) -> Refusal:
    """Return the error in an answer of a server of satchel's."""
    try:
        return decode_refusal(response.content)
    except UNDECODABLE:
        code = response.headers.get("satchel-error", f"status {response.status_code}")
        return Refusal(code, f"the server answered with status {response.status_code}")


def foreign(response: httpx.Response) -> SatchelError:
    """Return the error for an answer that does not come from a server of satchel's."""
    status, product = response.status_code, _PRODUCT.match(response.headers.get("server", ""))
    name = f" but {product[0].strip()}" if product else ""
    if status in _PROXY:
        return StoreUnavailableError(
            f"what answered is not satchel's server{name}, with status {status}: a proxy that cannot reach it; try "
            "again later"
        )
    hint = "; it redirects elsewhere, which is not followed: give that URL" if 300 <= status < 400 else ""
    return ConfigurationError(
        f"what answered at this URL is not satchel's server{name}, with status {status}{hint}; check host and port, "
        "and that the path of the URL is where the app is mounted"
    )


def translate(error: Exception, where: str) -> SatchelError | None:
    """Return the satchel error for one of httpx's; None for any other error.

    Args:
        error: The error raised.
        where: The URL of the server in messages.
    """
    if isinstance(error, httpx.TimeoutException):
        return StoreTimeoutError("the server did not answer in time")
    if isinstance(error, httpx.TransportError):
        return _of_tls(error) or _of_connection(error, where)
    if isinstance(error, (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError)):
        return StoreError(f"the client failed: {type(error).__name__}")
    return None


def _of_tls(error: httpx.TransportError) -> SatchelError | None:
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return ConfigurationError(
            "the certificate of the server is not trusted; give ca_certs= the file with that of its authority"
        )
    if any(isinstance(cause, ssl.SSLError) for cause in causes) and isinstance(error, httpx.ConnectError):
        return ConfigurationError(
            "the server does not speak TLS as it should; if it speaks none, the URL begins with http://"
        )
    return None


def _of_connection(error: httpx.TransportError, where: str) -> SatchelError:
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.ProxyError)):
        return ConfigurationError(f"the client cannot reach the server in this way ({type(error).__name__})")
    # h11 has one class for what it cannot read and for an answer that ends too early. In other words it is as below.
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in str(error):
        return ConfigurationError(
            "what answered at this URL does not speak HTTP; check host and port, and that the URL begins with https:// "
            "if the server speaks TLS"
        )
    if isinstance(error, httpx.ConnectError):
        return StoreUnavailableError(f"{where} cannot be reached; check host and port, and whether the server runs")
    return StoreUnavailableError(f"the connection to {where} was lost; a change may or may not have happened")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
