"""`open_store`: a store with its wrappers from one URL."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from .description import HIDDEN, Described, Description, Layer
from .errors import ConfigurationError
from .has_collections import HasCollections
from .options import convert, shown_by
from .protocol import SupportsEverything
from .registry import find_store, find_wrapper

_FILE = Path("satchel.toml")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(.*)", re.DOTALL)
_HIDDEN = re.compile(rf"[:=]{re.escape(HIDDEN)}(?=[@&,)]|$)")
_WRAPPER = re.compile(r"([a-z][a-z0-9_-]*)(?:\((.*)\))?", re.DOTALL)
_HOST = re.compile(r"\[([^\]]*)\](?::(.*))?|([^:]*)(?::(.*))?", re.DOTALL)


class OpenedStore(SupportsEverything, HasCollections, Protocol):
    """Store that `open_store` returns: it has typed collections, and can describe itself.

    It has the methods of every capability. Those of one that the backend lacks raise `UnsupportedOperationError`.
    """

    def describe(self) -> Description:
        """Return what this is made of, as data."""
        ...


def open_store(url: str | Description | None = None, **options: Any) -> OpenedStore:
    """Make the store that a URL names, with the wrappers around it. It connects at its first call.

    `docs/urls.md` lists the URLs. Without one, the environment variable `SATCHEL_URL` gives it, or else the table
    `[satchel]` of the file `satchel.toml` in the working directory.

    That file is read now, and so is what is installed, when a scheme or wrapper is not one of satchel's own: then call
    this before the event loop runs.

    Args:
        url: `scheme://...?option=value&wrap=name(option=value)`, the first wrapper innermost, or what `describe` gave.
        **options: More options of the store, as text or as they are. `wrap` is a list of further wrappers.

    Raises:
        ConfigurationError: There is no URL, or something in it is not known or has a wrong form. The message says what
            is known, and holds no secret.
        MissingExtraError: The driver is not installed; the message has the command that installs it.
    """
    if url is not None:
        return _opened(url, {}, options)
    url, table, place = _found_url()
    try:
        return _opened(url, table, options)
    except ConfigurationError as error:
        error.args = (f"{error} (the URL is from {place})",)
        raise


def _opened(url: object, table: dict[str, Any], options: dict[str, Any]) -> OpenedStore:
    if not isinstance(url, (str, Description)):
        raise ConfigurationError(f"url must be a str or a Description, got {type(url).__name__}")
    description = _parsed(url) if isinstance(url, str) else url
    store, wrappers, together = description.store, list(description.wrappers), dict(description.store.options)
    for given in (table, options):
        wrappers += _wrappers(given.pop("wrap", None))
        twice = together.keys() & given.keys()
        if twice:
            raise ConfigurationError(f"{store.name}: option {min(twice)!r} is given twice")
        together |= given
    built: Any = _made(store.kind or find_store(store.name), Layer(store.name, together))
    for layer in wrappers:
        built = _made(layer.kind or find_wrapper(layer.name), layer, built)
    return built  # type: ignore[no-any-return]  # it is made by class, and every registered class is described


def _found_url() -> tuple[str, dict[str, Any], str]:
    url = os.environ.get("SATCHEL_URL", "")
    if url.strip():
        return url, {}, "SATCHEL_URL"
    try:
        table = tomllib.loads(_FILE.read_text("utf-8")).get("satchel")
    except FileNotFoundError:
        raise ConfigurationError(
            f"no store is configured: give a URL, or set SATCHEL_URL, or write one into {_FILE}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{_FILE} cannot be read: {type(error).__name__}") from None
    if not isinstance(table, dict) or not isinstance(table.get("url"), str):
        raise ConfigurationError(f'{_FILE} must have a table [satchel] with url = "..."')
    return table.pop("url"), table, str(_FILE)


def _wrappers(wrap: object) -> list[Layer]:
    if wrap is None:
        return []
    if not isinstance(wrap, (list, tuple)) or not all(isinstance(text, str) for text in wrap):
        raise ConfigurationError('wrap must be a list of str, such as ["ttl(default=60)"]')
    return [_wrapper(text) for text in wrap]


def _made(kind: type[Described], layer: Layer, *inner: Any) -> Any:
    arguments = convert(kind, layer.name, layer.options)
    try:
        made = kind(*inner, **arguments)
    except ConfigurationError as error:
        names = shown_by(str(error), layer.options, arguments)
        if not names:
            raise
        raise ConfigurationError(f"{layer.name} refuses what {' and '.join(names)} gives, which is not shown") from None
    # A secret from a variable is described by the variable's name.
    made._given = inner, {name: arguments.get(name, variable) for name, variable in layer.options.items()}
    return made


def _parsed(url: str) -> Description:
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise ConfigurationError("a store's URL starts with a scheme, such as memory://")
    if _HIDDEN.search(url):
        raise ConfigurationError(f"a secret was hidden when this URL was written down; put it where {HIDDEN} is")
    scheme, rest = match[1].lower(), match[2]
    front, _, query = rest.partition("?")
    kind = find_store(scheme)
    options: dict[str, Any] = {}
    wrappers, left = [], []
    for name, text in _pairs(query, "&", f"{scheme} URL"):
        if name == "wrap":
            wrappers.append(_wrapper(text))
        elif name in kind.url_query:
            left.append(f"{name}={text}")
        else:
            _add(options, scheme, kind.url_names.get(name, name), unquote(text))
    if "url" in kind.url_parts:
        _add(options, scheme, kind.url_parts["url"], f"{scheme}:{front}" + "?" * bool(left) + "&".join(left))
    else:
        for part, text in _parts(front, scheme).items():
            if part not in kind.url_parts:
                raise ConfigurationError(f"a {scheme} URL has no {part}; it is {_form(scheme, kind)}")
            _add(options, scheme, kind.url_parts[part], text)
    return Description(Layer(scheme, options), tuple(wrappers))


def _parts(front: str, scheme: str) -> dict[str, str]:
    if not front.startswith("//"):
        return {"path": unquote(front)} if front else {}
    location, slash, path = front[2:].partition("/")
    user, _, server = location.rpartition("@")
    username, _, password = user.partition(":")
    match = _HOST.fullmatch(server)
    host, port = (match[1] or match[3], match[2] or match[4]) if match else ("", "")
    if match is None or (port and not port.isdecimal()):
        raise ConfigurationError(
            f"the host and port of a {scheme} URL cannot be read; percent-encode : @ / in a password"
        )
    path = path if location else slash + path
    parts = {"username": username, "password": password, "host": host, "port": port, "path": path}
    return {part: unquote(text) for part, text in parts.items() if text}


def _form(scheme: str, kind: type[Described]) -> str:
    if kind.url_parts.keys() == {"path"}:
        return f"{scheme}:///absolute/path or {scheme}:relative/path"
    return f"{scheme}://" + " ".join(kind.url_parts)


def _wrapper(text: str) -> Layer:
    match = _WRAPPER.fullmatch(text)
    if match is None:
        raise ConfigurationError("a wrapper is written name or name(option=value,option=value)")
    options: dict[str, Any] = {}
    for name, value in _pairs(match[2] or "", ",", match[1]):
        _add(options, match[1], name, unquote(value))
    return Layer(match[1], options)


def _pairs(text: str, separator: str, what: str) -> list[tuple[str, str]]:
    pairs = []
    for item in text.split(separator) if text else ():
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise ConfigurationError(f"options of {what} are written name=value and joined by {separator}")
        pairs.append((name.strip(), value))
    return pairs


def _add(options: dict[str, Any], what: str, name: str, value: str) -> None:
    if name in options:
        raise ConfigurationError(f"{what}: option {name!r} is given twice")
    options[name] = value
