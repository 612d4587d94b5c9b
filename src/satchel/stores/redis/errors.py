"""Mapping of redis-py's errors to satchel's, with advice and without the data that was sent."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    InvalidResponse,
    MaxConnectionsError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from ...errors import ConfigurationError, SatchelError, StoreError, StoreTimeoutError, StoreUnavailableError
from .._redislike.errors import ServerError, translate
from .connections import server_error


class DriverErrors:
    """Mapping of a driver's errors to satchel's, for one store.

    Args:
        where: Names the server, without secrets.
        tls: Whether connections are made with TLS.
    """

    def __init__(self, where: str, *, tls: bool) -> None:
        self._where = where
        self._tls = tls

    def translate(self, error: Exception) -> SatchelError | None:
        """Return the satchel error; None for errors that are not redis-py's."""
        if isinstance(error, SatchelError):
            return error
        if isinstance(error, ServerError):
            return translate(error)
        if isinstance(error, RedisClusterException):
            return self._of_cluster(error)
        if not isinstance(error, (RedisError, OSError)):
            return None
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLError):
                return self._of_tls(cause)
        return self._of_connection(error)

    def _of_connection(self, error: Exception) -> SatchelError:
        where = self._where
        if isinstance(error, (TimedOut, TimeoutError)):
            hint = "; does this port speak TLS?" if self._tls else ""
            return StoreTimeoutError(f"{where} did not answer in time{hint}")
        if isinstance(error, AuthenticationError) and getattr(error, "status_code", None) in (None, "ERR"):
            return ConfigurationError(f"{where} has no password for this user; give none, or set one on the server")
        if isinstance(error, MasterNotFoundError):
            return StoreUnavailableError(
                f"{where}: no Sentinel knows a living primary of that name; check it, or try again after the failover"
            )
        if isinstance(error, MaxConnectionsError):
            return StoreUnavailableError("the client that was passed in has no connection free; let its pool have more")
        if isinstance(error, InvalidResponse):
            return ConfigurationError(
                f"{where} does not speak Redis's protocol; check the port, and whether it requires TLS (rediss://)"
            )
        if isinstance(error, ResponseError) and "unknown command" in str(error) and "SENTINEL" in str(error):
            return ConfigurationError(
                f"{where}: the server there is not a Sentinel; open a server itself with redis://"
            )
        if isinstance(error, RedisError) and getattr(error, "status_code", None):
            return translate(server_error(error))
        if isinstance(error, (Disconnected, OSError)):
            return StoreUnavailableError(
                f"{where} cannot be reached, or closed the connection; check that a server runs there, then try again"
            )
        return StoreError(f"{where} failed ({type(error).__name__})")

    def _of_tls(self, error: ssl.SSLError) -> SatchelError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ConfigurationError(
                f"{self._where}: the server's certificate cannot be verified ({error.verify_message}); "
                "give the authority that signed it as ca_certs"
            )
        return ConfigurationError(
            f"{self._where}: TLS failed ({error.reason}); check that the port speaks TLS, and the certificates"
        )

    def _of_cluster(self, error: RedisClusterException) -> SatchelError:
        for cause in _causes(error):
            if type(cause) is ResponseError:  # to CLUSTER SLOTS; a refused user has a class of its own
                return ConfigurationError(f"{self._where} is no cluster; open it with redis:// instead")
            if isinstance(cause, (RedisError, OSError)):
                known = self.translate(cause)
                if isinstance(known, ConfigurationError):
                    return known
        return StoreUnavailableError(
            f"{self._where}: no node of the cluster answers; check that it runs, and try again"
        )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
