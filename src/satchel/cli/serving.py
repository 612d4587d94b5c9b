"""The command that serves a store over HTTP."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._threads import in_thread
from ..errors import ConfigurationError
from ..server import LOOPBACK, Token, create_app
from ..server.serving import GracefulServer, listening_socket
from . import places
from .outcome import DONE, STORE, UsageError, say

_LOCAL = frozenset({*LOOPBACK, "::1"})
_ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  # a token is needed then


@dataclass(frozen=True)
class ServerAddress:
    """Where a server listens, and by which names.

    Attributes:
        host: The address to listen at.
        port: The port; 0 is any free one.
        names: More names by which clients may address it.
    """

    host: str
    port: int
    names: Sequence[str]

    @property
    def allowed_hosts(self) -> list[str]:
        """The names that a `Host` header may have."""
        if self.host in _ANYWHERE:
            return [*LOOPBACK, *self.names] if self.names else ["*"]
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        return [*LOOPBACK, bracketed, *self.names]


@dataclass(frozen=True)
class TokenSources:
    """Where tokens come from.

    Attributes:
        given: Tokens from the command line.
        file: Path of a file that has more, or None.
    """

    given: Sequence[str]
    file: str | None


@dataclass(frozen=True)
class Rights:
    """What a server lets its clients do.

    Attributes:
        read_only: Every change is refused.
        inspector_writes: The page at `/` edits and deletes entries.
    """

    read_only: bool
    inspector_writes: bool


async def serve(
    place: str | None, address: ServerAddress, sources: TokenSources, rights: Rights, *, max_body: int
) -> int:
    """Serve a store until a signal ends it."""
    tokens = [Token(secret) for secret in sources.given]
    if sources.file is not None:
        tokens += _tokens_in(await in_thread(Path(sources.file).read_text, "utf-8"))
    if not tokens and address.host not in _LOCAL:
        raise UsageError(
            "an address that other machines can reach needs a token: --token-file FILE, with a line that "
            "python3 -c 'import secrets; print(secrets.token_urlsafe())' makes"
        )
    logging.basicConfig(format="satchel: %(message)s", level=logging.WARNING)
    async with await places.opened(place) as store:
        app = create_app(
            store,
            tokens=tokens,
            read_only=rights.read_only,
            inspector_writes=rights.inspector_writes,
            allowed_hosts=address.allowed_hosts,
            max_body=max_body,
        )
        try:
            listener = await in_thread(listening_socket, address.host, address.port)
        except OSError as error:
            raise UsageError(f"cannot listen at {address.host} port {address.port}: {error.strerror}") from None
        with listener:
            say(f"serving {store.describe()} at {_shown(listener)}; Ctrl+C ends it")
            server = GracefulServer(app)
            await server.serve([listener])
    return DONE if server.started else STORE


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tokens_in(text: str) -> list[Token]:
    """Return the tokens of a file.

    Raises:
        ConfigurationError: A line is malformed. The message does not quote it.
    """
    tokens: list[Token] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        prefix, read_only = "", False
        for word in words[1:]:
            if word == "read-only":
                read_only = True
            elif word.startswith("prefix="):
                prefix = word.removeprefix("prefix=")
            else:
                raise ConfigurationError(f"line {number} of the token file must be TOKEN [read-only] [prefix=TEXT]")
        tokens.append(Token(words[0], prefix, read_only))
    if not tokens:
        raise ConfigurationError("the token file has no token")
    return tokens
