"""Who may do what: tokens with their scopes, and the names by which the server may be called."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from .._checks import check_bool
from ..errors import ConfigurationError, ReadOnlyError
from ..names import check_prefix
from .answers import RequestRefusedError

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
"""The names of this machine for itself."""
_SHORTEST: Final = 16


@dataclass(frozen=True)
class Token:
    """Secret that opens a server, or a part of it.

    Args:
        secret: At least 16 visible ASCII characters, such as `secrets.token_urlsafe()` makes.
        prefix: Only collections that begin with this.
        read_only: Only reading.

    Raises:
        ConfigurationError: The secret is too short, or has other characters.
        InvalidKeyError: The prefix is not legal.
    """

    secret: str = field(repr=False)
    prefix: str = ""
    read_only: bool = False

    def __post_init__(self) -> None:
        secret: object = self.secret
        if not isinstance(secret, str) or len(secret) < _SHORTEST or not all("!" <= mark <= "~" for mark in secret):
            raise ConfigurationError(
                f"a token must have at least {_SHORTEST} visible ASCII characters; make one with "
                "secrets.token_urlsafe()"
            )
        check_prefix(self.prefix)
        check_bool("read_only", self.read_only)


@dataclass(frozen=True)
class Access:
    """What one request may do.

    Attributes:
        owner: The SHA-256 of the token; empty without tokens.
        prefix: The beginning of the collections that may be used.
        read_only: No change is allowed.
    """

    owner: bytes
    prefix: str
    read_only: bool

    def check_collection(self, collection: str) -> None:
        """Raise unless a collection is within the scope."""
        if not collection.startswith(self.prefix):
            message = f"this token is for collections that begin with {self.prefix!r}; use another token"
            raise RequestRefusedError(403, "forbidden", message)

    def check_change(self) -> None:
        """Raise unless changes are allowed."""
        if self.read_only:
            raise ReadOnlyError("this server, or this token, is read-only, and refuses every change")

    def check_everything(self) -> None:
        """Raise if the scope is a part of the store."""
        if self.prefix:
            message = "this concerns the whole store, and needs a token without a prefix"
            raise RequestRefusedError(403, "forbidden", message)


class Gate:
    """Judge of what each request may do.

    Args:
        tokens: The tokens; with none, every request has access.
        hosts: The names that a `Host` header may have, without port; `*` is any.
        read_only: Refuse every change.

    Raises:
        ConfigurationError: A name other than the loopback ones is allowed, and there is no token.
    """

    def __init__(self, tokens: Iterable[str | Token], hosts: Iterable[str], *, read_only: bool) -> None:
        if isinstance(tokens, (str, Token)):
            raise ConfigurationError("tokens must be a list of tokens, got a single one; write [token]")
        if isinstance(hosts, str):
            raise ConfigurationError("allowed_hosts must be a list of names, got one str; write [name]")
        check_bool("read_only", read_only)
        made = [token if isinstance(token, Token) else Token(token) for token in tokens]
        self._hosts = frozenset(host.lower() for host in hosts)
        if not made and not self._hosts <= set(LOOPBACK):
            raise ConfigurationError(
                "a server that other machines can reach needs a token: pass tokens=[secrets.token_urlsafe()], or keep "
                f"allowed_hosts to {', '.join(LOOPBACK)}"
            )
        self._accesses = [
            Access(sha256(token.secret.encode()).digest(), token.prefix, token.read_only or read_only) for token in made
        ]
        self._open = None if made else Access(b"", "", read_only)

    def check_host(self, host: str) -> None:
        """Raise unless the value of a `Host` header is allowed.

        A page of another site can make its own name point to this machine: only the header shows it.
        """
        name = host.lower()
        if not name.endswith("]"):
            name = name.rpartition(":")[0] if ":" in name else name
        if name not in self._hosts and "*" not in self._hosts:
            raise RequestRefusedError(
                421, "wrong_host", "this server does not go by the name in the Host header; add it to allowed_hosts"
            )

    def admit(self, authorization: str | None) -> Access:
        """Return what a request may do, from its `Authorization` header.

        Raises:
            RequestRefusedError: It has no token, or an unknown one.
        """
        if self._open is not None:
            return self._open
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("this server needs a token: send the header Authorization: Bearer TOKEN")
        digest = sha256(secret.strip().encode("latin-1", "replace")).digest()
        found = None
        for access in self._accesses:  # all of them, so that the time does not show which
            if hmac.compare_digest(access.owner, digest):
                found = access
        if found is None:
            raise _unauthorized("this token is not one of the server's")
        return found


def _unauthorized(message: str) -> RequestRefusedError:
    return RequestRefusedError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})
