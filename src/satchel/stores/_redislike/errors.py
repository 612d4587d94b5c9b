"""Error replies of Redis-like servers, as satchel's errors.

`ServerError` is such an answer, whatever library received it; `translate` gives the satchel error, which says what to
do, and is retryable only where the same call can succeed a little later. A server's text may quote what was sent, so
that only its first word, the code, is shown.
"""

from __future__ import annotations

from ...errors import ConfigurationError, IntegrityError, SatchelError, StoreError, StoreUnavailableError

NOT_OURS = "the key holds something that satchel did not write; choose another prefix, or remove the key"
"""Advice for a value that is not an entry."""

_UNAVAILABLE = {
    "LOADING": "the server is loading its data after a start; try again later",
    "BUSY": "the server is busy with a script that takes too long; try again, or end it with SCRIPT KILL",
    "TRYAGAIN": "the cluster is moving these keys to another node; try again",
    "CLUSTERDOWN": "the cluster cannot serve these keys: a node has failed and none has taken its place yet; try again",
    "MASTERDOWN": "the server is a replica that has lost its primary; try again, or connect to the primary",
    "NOREPLICAS": "the server has fewer replicas than its min-replicas-to-write asks for; try again when they are back",
    "UNKILLABLE": "the server is busy with a script that takes too long; try again",
    "MISCONF": "the server cannot save to its disk and refuses writes until it can; see its log",
    "MOVED": "the cluster moved these keys to another node; try again",
    "ASK": "the cluster is moving these keys to another node; try again",
}
_REFUSED = {
    "WRONGTYPE": NOT_OURS,
    "OOM": "the server has reached its maxmemory; raise it, set a maxmemory-policy that evicts, or remove entries",
    "READONLY": "the server is a read-only replica; connect to the primary",
    "NOAUTH": "the server requires a password; pass username and password, or a URL with them",
    "WRONGPASS": "the server refuses the username or password; check both",
    "NOPERM": "the user may not do this to this key; allow it in the server's ACL",
    "CROSSSLOT": "the server is a node of a cluster; open the store with the cluster's URL or client",
    "NOSCRIPT": "the server forgets Lua scripts at once, but must keep them; find the program that calls SCRIPT FLUSH",
}
_SETTINGS = frozenset({"NOAUTH", "WRONGPASS", "CROSSSLOT"})
CODES = frozenset({*_UNAVAILABLE, *_REFUSED})
"""Codes that are recognized. All else is `ERR`, or a code of a script's own."""


class ServerError(Exception):
    """Error that the server answered a command with.

    Args:
        text: The reply. Its first word is the code, such as `WRONGTYPE`.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0].lstrip("-").rstrip(":")
        self.text = text


def translate(error: ServerError) -> SatchelError:
    """Return the satchel error for a server's answer, with the answer as its cause."""
    failure = _failure(error)
    failure.__cause__ = error
    return failure


def _failure(error: ServerError) -> SatchelError:
    code = error.code
    if code in _UNAVAILABLE:
        return StoreUnavailableError(f"{_UNAVAILABLE[code]} ({code})")
    if code == "WRONGTYPE":
        return IntegrityError(f"{NOT_OURS} ({code})")
    if code in _SETTINGS:
        return ConfigurationError(f"{_REFUSED[code]} ({code})")
    if code in _REFUSED:
        return StoreError(f"{_REFUSED[code]} ({code})")
    # These have the code ERR alone. In other words they end in the last line.
    if "max number of clients" in error.text:
        return StoreUnavailableError("the server has reached its maxclients; close other clients, or raise it")
    if "unknown command" in error.text.lower() or "unsupported" in error.text.lower():
        return StoreError("the server lacks a command that the store needs: use Redis 6 or later, or Valkey")
    if "invalid DB index" in error.text or "DB index is out of range" in error.text:
        return ConfigurationError("the server has no database with this number; choose a smaller db")
    return StoreError(f"the server refused the command ({code if code.isupper() else 'ERR'})")
