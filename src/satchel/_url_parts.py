"""Checks of every URL, before a driver reads it.

A password that was not percent-encoded splits a URL in the wrong places. So no message shows anything of a URL but the
names of options that are known, or that cannot be a part of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigurationError, unknown

UNREADABLE = "the host and port of the URL cannot be read; percent-encode : @ / ? # & in a password"
NO_PORT = "the port of the URL must be a number from 1 to 65535; percent-encode : @ / ? # & in a password"

_ODD = re.compile(r"\A\s|\s\Z|[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SECRET = re.compile(
    r"password|passphrase|passwd|pwd|secret|token|credential|bearer|access_key|api_?key|connection_?string"
    r"|^authMechanismProperties$"  # of MongoDB: it may hold a session token
    r"|(^|_)(auth|dsn|keys?)$",
    re.IGNORECASE,
)
_LAST_PORT = 65535


def is_secret(option: str) -> bool:
    """Return whether an option holds a secret, by its name."""
    return _SECRET.search(option) is not None and not option.endswith("_env")


def check_characters(url: str) -> None:
    """Refuse a URL with white space around it, or with a control character such as a line end in it.

    Raises:
        ConfigurationError: There is such a character.
    """
    if _ODD.search(url):
        raise ConfigurationError(
            "the URL has white space around it, or a control character such as a line end in it; remove it (a URL "
            "read from a file often ends with a line end), or percent-encode it if it is intended"
        )


def is_utf8(text: str) -> bool:
    """Return whether a text has no lone surrogates, which stand for bytes that are not UTF-8."""
    return not _SURROGATE.search(text)


def read_port(text: str) -> int | None:
    """Return the port that a URL names, None for an empty text.

    Raises:
        ConfigurationError: It is none. The message does not show it: it may be a part of a password.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(_LAST_PORT)) and 0 < int(text) <= _LAST_PORT):
        raise ConfigurationError(NO_PORT)
    return int(text)


def check_query(query: str) -> None:
    """Refuse an `@` behind the `?`, where a URL has been split if a password has a raw `?`.

    Raises:
        ConfigurationError: There is one.
    """
    if "@" in query:
        raise ConfigurationError(
            "there is an @ behind the ? of the URL; percent-encode : @ / ? # & in a password, and @ behind the ?"
        )


def split_url(url: object) -> tuple[SplitResult, list[tuple[str, int | None]]]:
    """Return the parts of a server's URL, and its hosts with their ports, separated by commas in it.

    Raises:
        ConfigurationError: It cannot be read, or may have been split within a password that was not percent-encoded.
            The message shows nothing of it.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"url must be a str, got {type(url).__name__}")
    check_characters(url)
    if not is_utf8(url):
        raise ConfigurationError("the URL has something in it that is not UTF-8")
    split = _split(url)
    if split is None:
        raise ConfigurationError(UNREADABLE)
    parts, places = split
    hosts = [(place.hostname or "", read_port(_port_in(place.netloc))) for place in places]
    # The socket of a unix URL may have an @ in its absolute path, but not behind one that ends a password.
    path = "" if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/") else parts.path
    if "@" in path or parts.fragment:
        raise ConfigurationError(UNREADABLE)
    check_query(parts.query)
    return parts, hosts


def _split(url: str) -> tuple[SplitResult, list[SplitResult]] | None:
    try:
        parts = urlsplit(url)
        return parts, [urlsplit(f"//{place}") for place in parts.netloc.rpartition("@")[2].split(",")]
    except ValueError:
        return None  # what it says shows the URL, and so must not be the context of another error


def _port_in(place: str) -> str:
    return place.rpartition("]")[2].partition(":")[2]


def pairs(text: str, separator: str, what: str) -> list[tuple[str, str]]:
    """Return options written `name=value`, their texts as they stand.

    Raises:
        ConfigurationError: They have another form.
    """
    found = []
    for item in text.split(separator) if text else ():
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise ConfigurationError(f"options of {what} are written name=value and joined by {separator}")
        found.append((name.strip(), value))
    return found


def check_options(query: str, known: Collection[str], what: str, *, any_case: bool = False) -> list[tuple[str, str]]:
    """Return the options of a URL that a driver is to read, as `pairs` does, once all of them are known.

    Args:
        query: The part after the `?`.
        known: The names of the options.
        what: The name of the URL in messages.
        any_case: Whether upper and lower case are the same.

    Raises:
        ConfigurationError: One is not known, is given twice, or has another form.
    """
    check_query(query)
    names = {name.lower() if any_case else name for name in known}
    found = pairs(query, "&", what)
    seen: set[str] = set()
    after_secret = False
    for place, (given, _) in enumerate(found, 1):
        name = given.lower() if any_case else given
        if name not in names:
            raise unnamed_option(what, place, known) if after_secret else unknown(f"option of {what}", given, known)
        if name in seen:
            raise ConfigurationError(f"option {given!r} of {what} is given twice")
        seen.add(name)
        after_secret = after_secret or is_secret(name)
    return found


def unnamed_option(what: str, place: int, known: Collection[str]) -> ConfigurationError:
    """Return the error for an option that is not known, without its name: it stands behind a secret.

    Args:
        what: What has no such option.
        place: Its number in the list.
        known: The options that are known.
    """
    return ConfigurationError(
        f"option {place} of {what} is not known; its name is not shown, as it may be a part of the secret before it: "
        f"percent-encode & and , in that. Known: {', '.join(sorted(known))}"
    )
