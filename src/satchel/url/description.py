"""`Description`: a store and its wrappers as data and, with secrets hidden, as one line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from os import PathLike, fspath
from typing import Any, ClassVar, Self

from .._url_parts import is_secret
from . import registry

HIDDEN = "***"
"""Placeholder for a secret in a line."""

_USER = re.compile(r"(?<=://)([^/?@:]*):[^/?]*@")
_QUERY = re.compile(r"(?<=[?&])([^?&=]*)=([^&]*)")


@dataclass(frozen=True, repr=False)
class Layer:
    """One store or wrapper, as data.

    Attributes:
        name: Its name in URLs; the name of its class if it has none.
        options: Its options except inner stores, including secrets.
        kind: Its class; None to look the name up.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: type[Described] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return f"{self.name}({','.join(_shown(self.options))})"


@dataclass(frozen=True, repr=False)
class Description:
    """Store with its wrappers as data; `str()` returns it as one line, a URL with secrets hidden.

    `open_store(description)` builds the same stack again. So does `open_store(str(description))`, as long as nothing
    in it is hidden and no option is an object, such as a client.

    Attributes:
        store: The store itself.
        wrappers: Its wrappers, the innermost first.
    """

    store: Layer
    wrappers: tuple[Layer, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Return the stack as plain data that a JSON, YAML or TOML file can hold, with secrets hidden.

        `open_store(settings)` builds the same stack again, under the same conditions as with `str()`.
        """
        front, options = self._front()
        plain = {name: _plain(name, value) for name, value in options.items() if value is not None}
        wrap = {"wrap": [_short(layer) for layer in self.wrappers]} if self.wrappers else {}
        return {"url": front, **plain, **wrap}

    def _front(self) -> tuple[str, dict[str, Any]]:
        """Return the URL before its options, and the options."""
        options = dict(self.store.options)
        parts = {} if self.store.kind is None else self.store.kind.url_parts
        taken = {part: options.pop(option) for part, option in parts.items() if options.get(option) is not None}
        front = _without_secrets(taken["url"]) if "url" in taken else f"{self.store.name}:{_front(taken)}"
        return front, options

    def __str__(self) -> str:
        front, options = self._front()
        query = "&".join([*_shown(options), *(f"wrap={_short(layer)}" for layer in self.wrappers)])
        return front + ("&" if "?" in front else "?") * bool(query) + query

    def __repr__(self) -> str:
        return f"Description({str(self)!r})"


class Described:
    """Base class for stores and wrappers that remember how they were made, so that they can describe themselves."""

    url_parts: ClassVar[Mapping[str, str]] = {}
    """The option for each part of a URL before the `?`.

    The parts are `username`, `password`, `host`, `port` and `path`, or only `url` for the whole text. After a host, the
    path comes without its first slash.
    """
    url_names: ClassVar[Mapping[str, str]] = {}
    """Short names that options may have after the `?`, with the full names."""
    url_query: ClassVar[frozenset[str]] = frozenset()
    """Options after the `?` that stay in the `url` for the driver."""

    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *arguments: Any, **named: Any) -> Self:
        """Create the object, and remember its arguments."""
        self = super().__new__(cls)
        self._given = arguments, named
        return self

    def describe(self) -> Description:
        """Return the parts of this stack as data."""
        return Description(self._layer())

    def _layer(self) -> Layer:
        arguments, named = self._given
        given = dict(zip(inspect.signature(type(self)).parameters, arguments, strict=False)) | named
        options = {name: value for name, value in given.items() if name != "inner"}
        return Layer(name_of(type(self)), options, type(self))


def describe_as(made: Described, /, *arguments: Any, **named: Any) -> None:
    """Make a store or wrapper describe itself by other arguments than those with which it was made.

    Args:
        made: The store or wrapper.
        *arguments: The positional arguments for its description.
        **named: The named arguments, such as the name of a variable in place of the secret in it.
    """
    made._given = arguments, named


def _shown(options: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_text(name, value)}" for name, value in options.items() if value is not None]


def _short(layer: Layer) -> str:
    return repr(layer).removesuffix("()")


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # a bool is not a secret, even for an option such as `keys`
    if is_secret(name):
        return HIDDEN
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, (int, float)):
        return repr(value).removesuffix(".0")
    if isinstance(value, (str, PathLike)):
        from urllib.parse import quote  # noqa: PLC0415  # slow to import

        # An @ after the ? of a URL is refused.
        # Nor is a path always UTF-8: what is none of it is a surrogate in its text, and a byte again in the URL.
        safe = "/:@*" if name == "path" else "/:*"
        return quote(_without_secrets(fspath(value)), safe, errors="surrogateescape")
    return f"<{type(value).__name__}>"


def _plain(name: str, value: object) -> Any:
    if isinstance(value, (bool, int, float)) and not is_secret(name):
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (str, PathLike)) and not is_secret(name):
        return _without_secrets(fspath(value))
    return _text(name, value)


def _front(parts: Mapping[str, Any]) -> str:
    text = {part: _text(part, value) for part, value in parts.items()}
    path = text.get("path", "")
    if text.keys() <= {"path"}:
        return path if path and not path.startswith("/") else "//" + path
    user = text.get("username", "") + (f":{text['password']}" if "password" in text else "")
    host = text.get("host", "")
    host = f"[{host}]" if ":" in host else host
    port = f":{text['port']}" if "port" in text else ""
    return "//" + f"{user}@" * bool(user) + host + port + f"/{path}" * bool(path)


def _without_secrets(url: str) -> str:
    def hide(match: re.Match[str]) -> str:
        return f"{match[1]}={HIDDEN}" if is_secret(match[1]) else match[0]

    return _QUERY.sub(hide, _USER.sub(rf"\1:{HIDDEN}@", url))


def name_of(kind: type) -> str:
    """Return the scheme or wrapper name of a class; the name of the class if it has none."""
    return registry.found_names.get(kind) or next(_built_in_names(kind), kind.__name__)


def _built_in_names(kind: type) -> Iterator[str]:
    for table in (registry.STORES, registry.WRAPPERS):
        for name, target in table.items():
            module, _, attribute = target.partition(":")
            if attribute == kind.__qualname__ and f"{kind.__module__}.".startswith(f"{module}."):
                yield name
