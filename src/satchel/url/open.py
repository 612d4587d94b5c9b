"""`open_store`: a store with its wrappers from one URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from .._url_parts import check_characters, check_query, is_secret, is_utf8, pairs, read_port, split_url, unnamed_option
from ..collection import HasCollections
from ..errors import ConfigurationError, unknown
from ..protocol import SupportsEverything
from .description import HIDDEN, Described, Description, Layer, describe_as
from .options import as_bool, convert, known_options, shown_by, takes, without_given
from .registry import find_store, find_wrapper, is_wrapper
from .settings import found_settings, options_in_environment, settings_in, split_settings

_COMMON = ("default_ttl", "read_only")
"""Options of every store: short forms of the most common wrappers."""
_OUTERMOST = frozenset({"statistics", "logging", "opentelemetry", "default_value", "single_flight"})
"""Wrappers that go outside of those."""
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(.*)", re.DOTALL)
_HIDDEN = re.compile(rf"[:=]{re.escape(HIDDEN)}(?=[@&,)]|$)")
_WRAPPER = re.compile(r"([a-z][a-z0-9_-]*)(?:\((.*)\))?", re.DOTALL)
_HOST = re.compile(r"\[([^\]]*)\](?::(.*))?|([^:]*)(?::(.*))?", re.DOTALL)


class OpenedStore(SupportsEverything, HasCollections, Protocol):
    """Store that `open_store` returns: it has typed collections, and can describe itself.

    It has the methods of all capabilities. Calling one that the backend lacks raises `UnsupportedOperationError`.
    """

    def describe(self) -> Description:
        """Return the parts of this stack as data."""
        ...


def open_store(url: str | Description | Mapping[str, Any] | PathLike[str] | None = None, **options: Any) -> OpenedStore:
    """Make the store that a URL names, with the wrappers around it. It connects at its first call.

    `docs/urls.md` lists the URLs. By default, the URL comes from the environment variable `SATCHEL_URL`, with options
    from variables such as `SATCHEL_TIMEOUT` and `SATCHEL_DEFAULT_TTL`, or from the table `[satchel]` of the file
    `satchel.toml` in the working directory.

    This blocks while it reads a file or, if a scheme or wrapper is not satchel's own, the installed entry points: in
    these cases call it before the event loop runs.

    Args:
        url: `scheme://...?option=value&wrap=name(option=value)`, the first wrapper innermost; or the result of
            `describe`; or a mapping with `url` and options; or the `Path` of a TOML, YAML or JSON file that has such a
            mapping under `satchel`.
        **options: More options of the store, as text or as objects. `wrap` is a list of further wrappers;
            `default_ttl` is the ttl in seconds of values put without one; `read_only` refuses every change.

    Raises:
        ConfigurationError: There is no URL, or a part of it is unknown or malformed. The message lists the known names,
            and contains no secret.
        MissingExtraError: The driver is not installed; the message shows the command that installs it.
    """
    if isinstance(url, (str, Description)):
        return _opened(url, {}, options)
    if isinstance(url, Mapping):
        (found, table), place = split_settings(url), "the settings"
    elif isinstance(url, PathLike):
        (found, table), place = settings_in(Path(url)), str(url)
    elif url is None:
        found, table, place = found_settings()
    else:
        raise ConfigurationError(f"url must be a str or a Description, got {type(url).__name__}")
    try:
        return _opened(found, table, options, from_environment=place == "SATCHEL_URL")
    except ConfigurationError as error:
        error.args = (f"{error} (the URL is from {place})",)
        raise


def _opened(
    url: str | Description, table: dict[str, Any], options: dict[str, Any], *, from_environment: bool = False
) -> OpenedStore:
    description = _parsed(url) if isinstance(url, str) else url
    store, wrappers, together = description.store, list(description.wrappers), dict(description.store.options)
    kind = store.kind or find_store(store.name, Described)
    own_common = [name for name in _COMMON if not takes(kind, name)]
    if from_environment:
        known = [name for name in known_options(kind) if takes(kind, name)]  # the driver reads the others from the URL
        table = options_in_environment([*known, *own_common])
    for given in (table, options):
        wrappers += _wrappers(given.pop("wrap", None))
        twice = together.keys() & given.keys()
        if twice:
            raise ConfigurationError(f"{store.name}: option {min(twice)!r} is given twice")
        together |= given
    common = {name: together.pop(name) for name in own_common if name in together}
    built: Any = _made(kind, Layer(store.name, together))
    for layer in _with_common(wrappers, common):
        built = _made(layer.kind or find_wrapper(layer.name, Described), layer, built)
    return built  # type: ignore[no-any-return]  # every registered class is described


def _with_common(wrappers: list[Layer], common: dict[str, Any]) -> list[Layer]:
    """Return wrappers with those for the options of every store, inside of wrappers that must see all calls."""
    layers: list[Layer] = []
    if (ttl := common.get("default_ttl")) is not None:
        layers.append(Layer("ttl", {"default": _default_ttl(ttl)}))
    if as_bool("read_only", common.get("read_only", False)):
        layers.append(Layer("read_only"))
    end = len(wrappers)
    while end and wrappers[end - 1].name in _OUTERMOST:
        end -= 1
    return [*wrappers[:end], *layers, *wrappers[end:]]


def _default_ttl(ttl: Any) -> Any:
    """Return a time to live as it was given: of text, the wrapper's own errors show nothing."""
    if isinstance(ttl, str):
        with suppress(ValueError):  # what it says shows the text, and so must not be the context of another error
            float(ttl)
            return ttl
        raise ConfigurationError("default_ttl must be a number of seconds, such as 3600")
    return ttl


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
        # A secret from a variable is described by the name of the variable.
        describe_as(made, *inner, **{name: arguments.get(name, variable) for name, variable in layer.options.items()})
        return made
    raise refusal  # raised here, so that the error with the secret is not its context


def _without_given(error: ConfigurationError, layer: Layer, arguments: dict[str, Any]) -> ConfigurationError | None:
    """Return an error that shows no argument; None if the given error shows none."""
    names = shown_by(str(error), layer.options, arguments)
    if names:
        return ConfigurationError(f"{layer.name} refuses the value from {' and '.join(names)}, which is not shown")
    message = without_given(str(error), layer.options, arguments)
    return None if message == str(error) else ConfigurationError(message)


def _parsed(url: str) -> Description:
    check_characters(url)
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise ConfigurationError("a store's URL starts with a scheme, such as memory://")
    if _HIDDEN.search(url):
        raise ConfigurationError(f"this URL has a hidden secret; put the secret in place of {HIDDEN}")
    scheme, rest = match[1].lower(), match[2]
    front, _, query = rest.partition("?")
    kind = find_store(scheme, Described, shown=rest.startswith("//"))
    check_query(query)
    # Check the part before the ? first: if it is wrong, the part after it may belong to a password.
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
            if name not in _COMMON:
                _check_option(kind, scheme, place, name, after_secret=after_secret)
            _add(options, scheme, name, decoded(f"{scheme}: option {name!r}", text))
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
        return {"path": _decoded_path(front)} if front else {}
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
    return {
        part: _decoded_path(text) if part == "path" else decoded(f"the {part} of the {scheme} URL", text)
        for part, text in parts.items()
        if text
    }


def _decoded_path(text: str) -> str:
    # As Python has it everywhere: what is not UTF-8 in a path is a surrogate in its text.
    return unquote(text, errors="surrogateescape")


def decoded(what: str, text: str) -> str:
    """Return what percent-encoded text stands for.

    Args:
        what: Its name in messages.
        text: The text.

    Raises:
        ConfigurationError: It stands for something that is not UTF-8. The message does not show it.
    """
    found = unquote(text, errors="surrogateescape")
    if not is_utf8(found):
        raise ConfigurationError(f"{what} is not UTF-8, percent-encoded")
    return found


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
            "a wrapper is not known; its name is not shown, because it may be part of the secret before it: "
            "percent-encode & in the secret"
        )
    kind = find_wrapper(match[1], Described)
    options: dict[str, Any] = {}
    for place, (name, value) in enumerate(pairs(match[2] or "", ",", match[1]), 1):
        _check_option(kind, match[1], place, name, after_secret=after_secret or any(map(_names_secret, options)))
        _add(options, match[1], name, decoded(f"{match[1]}: option {name!r}", value))
    return Layer(match[1], options)


def _names_secret(option: str) -> bool:
    return is_secret(option.removesuffix("_env"))  # by mistake, the text may be the secret itself


def _check_option(kind: type[Described], what: str, place: int, name: str, *, after_secret: bool) -> None:
    """Refuse an unknown option, without showing its name if that may be part of a secret before it."""
    if not takes(kind, name):
        known = known_options(kind)
        raise unnamed_option(what, place, known) if after_secret else unknown(f"option of {what}", name, known)


def _add(options: dict[str, Any], what: str, name: str, value: str) -> None:
    if name in options:
        raise ConfigurationError(f"{what}: option {name!r} is given twice")
    options[name] = value
