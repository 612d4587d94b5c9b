"""`open_store`: a store with its wrappers from one URL."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from .._url_parts import check_characters, check_query, is_secret, pairs, read_port, split_url, unnamed_option
from ..collection import HasCollections
from ..errors import ConfigurationError, unknown
from ..protocol import SupportsEverything
from .description import HIDDEN, Described, Description, Layer, describe_as
from .options import convert, known_options, shown_by, takes, without_given
from .registry import find_store, find_wrapper, is_wrapper

_FILE = Path("satchel.toml")
_POSITION = re.compile(r"line (\d+), column (\d+)")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(.*)", re.DOTALL)
_HIDDEN = re.compile(rf"[:=]{re.escape(HIDDEN)}(?=[@&,)]|$)")
_WRAPPER = re.compile(r"([a-z][a-z0-9_-]*)(?:\((.*)\))?", re.DOTALL)
_HOST = re.compile(r"\[([^\]]*)\](?::(.*))?|([^:]*)(?::(.*))?", re.DOTALL)


class OpenedStore(SupportsEverything, HasCollections, Protocol):
    """Store that `open_store` returns: it has typed collections, and can describe itself.

    It has the methods of every capability. Those of one that the backend lacks raise `UnsupportedOperationError`.
    """

    def describe(self) -> Description:
        """Return the parts of this stack as data."""
        ...


def open_store(url: str | Description | None = None, **options: Any) -> OpenedStore:
    """Make the store that a URL names, with the wrappers around it. It connects at its first call.

    `docs/urls.md` lists the URLs. Without one, the URL is taken from the environment variable `SATCHEL_URL`, or from
    the table `[satchel]` of the file `satchel.toml` in the working directory.

    That file is read now, and so are installed entry points if a scheme or wrapper is not satchel's own: in these cases
    call this before the event loop runs.

    Args:
        url: `scheme://...?option=value&wrap=name(option=value)`, the first wrapper innermost, or the result of
            `describe`.
        **options: More options of the store, as text or as they are. `wrap` is a list of further wrappers.

    Raises:
        ConfigurationError: There is no URL, or a part of it is unknown or malformed. The message lists the known names,
            and holds no secret.
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
    built: Any = _made(store.kind or find_store(store.name, Described), Layer(store.name, together))
    for layer in wrappers:
        built = _made(layer.kind or find_wrapper(layer.name, Described), layer, built)
    return built  # type: ignore[no-any-return]  # it is made by class, and every registered class is described


def _found_url() -> tuple[str, dict[str, Any], str]:
    url = os.environ.get("SATCHEL_URL", "")
    if url.strip():
        return url, {}, "SATCHEL_URL"
    table = _tables().get("satchel")
    if not isinstance(table, dict) or not isinstance(table.get("url"), str):
        raise ConfigurationError(f'{_FILE} must have a table [satchel] with url = "..."')
    return table.pop("url"), table, str(_FILE)


def _tables() -> dict[str, Any]:
    """Return the contents of the file."""
    try:
        tables = _read_tables(_FILE.read_bytes())
    except FileNotFoundError:
        raise ConfigurationError(
            f"no store is configured: give a URL, or set SATCHEL_URL, or write one into {_FILE}"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{_FILE} cannot be read ({type(error).__name__})") from None
    if isinstance(tables, str):
        raise ConfigurationError(f"{_FILE}: {tables}")
    return tables


def _read_tables(content: bytes) -> dict[str, Any] | str:
    """Return what TOML has, or what is wrong with it: raised here, it would have what shows it as its context."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # editors of Windows write a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"line {line} is not UTF-8; save the file as UTF-8"
    except tomllib.TOMLDecodeError as error:
        return f"{_place(error)}: this is not valid TOML"


def _place(error: tomllib.TOMLDecodeError) -> str:
    """Return where a file is at fault; before Python 3.14 the message alone says it."""
    found = _POSITION.search(str(error))
    line: object = getattr(error, "lineno", found[1] if found else None)
    column: object = getattr(error, "colno", found[2] if found else None)
    return "at its end" if line is None else f"line {line}, column {column}"


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
        refusal = _without_given(error, layer, arguments)
        if refusal is None:
            raise
    else:
        # A secret from a variable is described by the variable's name.
        describe_as(made, *inner, **{name: arguments.get(name, variable) for name, variable in layer.options.items()})
        return made
    raise refusal  # here, so that the error which shows something is not its context


def _without_given(error: ConfigurationError, layer: Layer, arguments: dict[str, Any]) -> ConfigurationError | None:
    """Return an error that shows nothing of what was given, None where the error itself shows nothing."""
    names = shown_by(str(error), layer.options, arguments)
    if names:
        return ConfigurationError(f"{layer.name} refuses what {' and '.join(names)} gives, which is not shown")
    message = without_given(str(error), layer.options, arguments)
    return None if message == str(error) else ConfigurationError(message)


def _parsed(url: str) -> Description:
    check_characters(url)
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise ConfigurationError("a store's URL starts with a scheme, such as memory://")
    if _HIDDEN.search(url):
        raise ConfigurationError(f"a secret was hidden when this URL was written down; put it where {HIDDEN} is")
    scheme, rest = match[1].lower(), match[2]
    front, _, query = rest.partition("?")
    kind = find_store(scheme, Described, shown=rest.startswith("//"))
    check_query(query)
    # First what stands before the ?: where it is wrong, what stands behind it may be a part of a password.
    parts = {} if "url" in kind.url_parts else _parts(front, scheme)
    if "url" in kind.url_parts:
        split_url(f"{scheme}:{front}")
    options: dict[str, Any] = {}
    wrappers, left = [], []
    after_secret = False
    for place, (name, text) in enumerate(pairs(query, "&", f"the {scheme} URL"), 1):
        if name == "wrap":
            wrapper = _wrapper(text, after_secret=after_secret)
            wrappers.append(wrapper)
            after_secret = after_secret or any(map(_names_secret, wrapper.options))
            continue
        if name in kind.url_query:
            left.append(f"{name}={text}")
        else:
            name = kind.url_names.get(name, name)  # noqa: PLW2901  # the option's own name
            _check_option(kind, scheme, place, name, after_secret=after_secret)
            _add(options, scheme, name, unquote(text))
        after_secret = after_secret or _names_secret(name)
    if "url" in kind.url_parts:
        _add(options, scheme, kind.url_parts["url"], f"{scheme}:{front}" + "?" * bool(left) + "&".join(left))
    else:
        for part, text in parts.items():
            if part not in kind.url_parts:
                raise ConfigurationError(f"the {scheme} URL has a {part}, but its form is {_form(scheme, kind)}")
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
    if match is None or (location and "@" in path):
        raise ConfigurationError(
            f"the host and port of the {scheme} URL cannot be read; percent-encode : @ / ? # & in a password"
        )
    read_port(port or "")
    path = path if location else slash + path
    parts = {"username": username, "password": password, "host": host, "port": port, "path": path}
    return {part: unquote(text) for part, text in parts.items() if text}


def _form(scheme: str, kind: type[Described]) -> str:
    if kind.url_parts.keys() == {"path"}:
        return f"{scheme}:///absolute/path or {scheme}:relative/path"
    return f"{scheme}://" + " ".join(kind.url_parts)


def _wrapper(text: str, *, after_secret: bool = False) -> Layer:
    match = _WRAPPER.fullmatch(text)
    if match is None:
        raise ConfigurationError("a wrapper is written name or name(option=value,option=value)")
    if after_secret and not is_wrapper(match[1]):
        raise ConfigurationError(
            "a wrapper is not known; its name is not shown, as it may be a part of the secret before it: "
            "percent-encode & in that"
        )
    kind = find_wrapper(match[1], Described)
    options: dict[str, Any] = {}
    for place, (name, value) in enumerate(pairs(match[2] or "", ",", match[1]), 1):
        _check_option(kind, match[1], place, name, after_secret=after_secret or any(map(_names_secret, options)))
        _add(options, match[1], name, unquote(value))
    return Layer(match[1], options)


def _names_secret(option: str) -> bool:
    return is_secret(option.removesuffix("_env"))  # who mistakes the option gives the secret itself


def _check_option(kind: type[Described], what: str, place: int, name: str, *, after_secret: bool) -> None:
    """Refuse an option that is not known, without its name where that may be a part of a secret before it."""
    if not takes(kind, name):
        known = known_options(kind)
        raise unnamed_option(what, place, known) if after_secret else unknown(f"option of {what}", name, known)


def _add(options: dict[str, Any], what: str, name: str, value: str) -> None:
    if name in options:
        raise ConfigurationError(f"{what}: option {name!r} is given twice")
    options[name] = value
