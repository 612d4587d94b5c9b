"""What NATS and its client say went wrong, in satchel's errors.

What they say is left out but for the number of the error: it may quote a subject, which has a key in it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from nats.errors import (
    AuthorizationError,
    ConnectionClosedError,
    ConnectionDrainingError,
    Error,
    InvalidUserCredentialsError,
    MaxPayloadError,
    NoRespondersError,
    SecureConnRequiredError,
    SecureConnWantedError,
)

from ...errors import (
    ConfigurationError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)

NOT_FOUND = 404
_UNAVAILABLE = 503
_CHANGED = frozenset({10071, 10164})
_NO_MESSAGE = frozenset({10037})
_NO_STREAM = 10059
_NO_JETSTREAM = frozenset({10039, 10076})
_FULL = frozenset({10023, 10028, 10047, 10077, 10122})
_TOO_LARGE = 10054
_OTHER_SETTINGS = 10058
_NO_MESSAGE_TTL = frozenset({10165, 10166})


class ApiError(Exception):
    """Refusal of a request by JetStream.

    Attributes:
        code: The number of the kind, like a status of HTTP.
        number: The number of the error itself; 0 if the server gave none.
    """

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.code, self.number = int(said.get("code", 0)), int(said.get("err_code", 0))
        super().__init__(self.code, self.number)


class DisconnectedError(Exception):
    """The connection was lost while a request was under way, or there is none."""


def is_changed(error: Exception) -> bool:
    """Return whether a conditional write was refused because another one came first."""
    return isinstance(error, ApiError) and error.number in _CHANGED


def is_absent(error: Exception) -> bool:
    """Return whether there is no message under the subject that was asked for."""
    return isinstance(error, ApiError) and error.code == NOT_FOUND and error.number in _NO_MESSAGE | {0}


def is_unsure(error: Exception) -> bool:
    """Return whether the request may still have been carried out."""
    return isinstance(error, (DisconnectedError, TimeoutError)) or (
        isinstance(error, ApiError) and error.code == _UNAVAILABLE
    )


def translate(error: Exception, bucket: str, where: str) -> SatchelError | None:
    """Return the satchel error for one of NATS's; None for those that are not.

    Args:
        error: The error raised.
        bucket: The name of the bucket in messages.
        where: The hosts of the server in messages.
    """
    if isinstance(error, ApiError):
        return _of_api(error, bucket)
    if isinstance(error, (DisconnectedError, ConnectionClosedError, ConnectionDrainingError)):
        return StoreUnavailableError(
            "there is no connection to the NATS server, or it was lost; a write may or may not have happened"
        )
    if isinstance(error, NoRespondersError):
        return StoreUnavailableError(
            f"nothing answers for the bucket {bucket!r}: it was removed while open, JetStream is not enabled, or "
            "its stream has no leader now"
        )
    if isinstance(error, MaxPayloadError):
        return too_large()
    if isinstance(error, TimeoutError):
        return StoreTimeoutError(
            "the NATS server did not answer in time; a write may or may not have happened. A user without permission "
            "for a subject gets no answer either"
        )
    # The protocol has no codes, and the client a class for some refusals alone. In other words it is as below.
    if isinstance(error, (AuthorizationError, InvalidUserCredentialsError)) or "authorization" in str(error).lower():
        return ConfigurationError("the NATS server refuses the credentials: check the user, password, token or file")
    if isinstance(error, (SecureConnRequiredError, SecureConnWantedError)):
        return ConfigurationError(
            "the NATS server and the URL disagree about TLS: use nats+tls:// with TLS, else nats://"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigurationError("the certificate of the NATS server is not trusted; connect a client with your own")
    if isinstance(error, ssl.SSLError):
        return ConfigurationError("the NATS server does not speak TLS on this port; use nats://")
    if isinstance(error, OSError):
        return StoreUnavailableError(f"the NATS server at {where} cannot be reached: check host, port and network")
    if type(error) is Error:  # what the client raises while it connects, and has no class of its own for
        return StoreUnavailableError(f"the server at {where} hung up, or speaks no NATS: check host and port")
    if isinstance(error, Error):
        return StoreError(f"the NATS client failed ({type(error).__name__})")
    return None


def too_large() -> ValueTooLargeError:
    """Return the error for an entry that is larger than a message may be."""
    return ValueTooLargeError("the entry is larger than the max_payload of this NATS server")


def _of_api(error: ApiError, bucket: str) -> SatchelError:
    shown = f"{error.code}, {error.number}"
    if error.number == _NO_STREAM:
        return StoreError(f"the bucket {bucket!r} was removed while it was open; close the store and make a new one")
    if error.number in _NO_JETSTREAM:
        return ConfigurationError("JetStream is not enabled on the NATS server, or for this account: start it with -js")
    if error.number in _FULL:
        return StoreError(f"the bucket {bucket!r} is full, or its server has no room for it; enlarge it ({shown})")
    if error.number == _TOO_LARGE:
        return ValueTooLargeError(f"the entry is larger than the bucket {bucket!r} takes: its max_msg_size is smaller")
    if error.number == _OTHER_SETTINGS:
        return ConfigurationError(f"there is a stream KV_{bucket} with other settings; choose another bucket")
    if error.number in _NO_MESSAGE_TTL:
        return StoreError(f"the bucket {bucket!r} no longer takes the time to live of a message ({shown})")
    if error.code == _UNAVAILABLE:
        return StoreUnavailableError(f"JetStream is not available now; a write may or may not have happened ({shown})")
    return StoreError(f"the NATS server refused a request for the bucket {bucket!r} ({shown})")
