"""`open_blobs`: a place for blobs from one URL."""

from __future__ import annotations

from collections.abc import Generator
from functools import cache
from typing import Any, Protocol, Self, cast

from .._url_parts import check_characters, check_query, pairs, split_url
from ..blobs.protocol import Blobs
from ..errors import ConfigurationError
from .description import Described
from .open import _SCHEME, _add, _check_option, _names_secret, _parts, decoded, open_store
from .options import convert
from .registry import BLOBS, STORE_BLOBS, load

_STORE_BLOBS = ("collection", "chunk_size", "ids", "template", "max_size", "base_url", "signer", "clock")
"""Options of the blobs, among those of a URL of a store."""


class OpenedBlobs(Blobs, Protocol):
    """Place for blobs that `open_blobs` returns, which can be used at once, awaited, or entered by `async with`."""

    async def aclose(self) -> None:
        """Close the store that was made for these blobs."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    def __await__(self) -> Generator[Any, None, Self]: ...


def open_blobs(url: str, **options: Any) -> OpenedBlobs:
    """Make the place for blobs that a URL names.

    `file:` gives plain files, and `s3://`, `gs://` and `az://` give objects. Every other URL of a store gives
    `StoreBlobs` over that store, with the wrappers that the URL names.

    ```python
    from satchel import open_blobs

    async with open_blobs("memory://?collection=photos&wrap=compression") as blobs:
        await blobs.put("cat.png", b"...")
    ```

    It can be used at once and connects at its first call. `await open_blobs(url)` connects now; close that by
    `aclose`.

    Args:
        url: `scheme://...?option=value`, with options of the store and of the blobs, such as `collection` and `ids`.
        **options: More options, as text or as objects.

    Raises:
        ConfigurationError: A part of the URL is unknown or malformed; the message contains no secret.
        MissingExtraError: The driver is not installed; the message shows the command that installs it.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"url must be a str, got {type(url).__name__}")
    check_characters(url)
    match = _SCHEME.fullmatch(url)
    if match is None:
        raise ConfigurationError("a URL of blobs starts with a scheme, such as file: or s3://")
    scheme = match[1].lower()
    made = _over_store(url, options) if scheme not in BLOBS else _native(scheme, match[2], options)
    return cast("OpenedBlobs", made)


def _over_store(url: str, options: dict[str, Any]) -> Any:
    front, _, query = url.partition("?")
    own: dict[str, Any] = {}
    left = []
    for part in query.split("&"):
        name, _, text = part.partition("=")
        if name.removesuffix("_env") in _STORE_BLOBS:
            _add(own, "blobs", name, decoded(f"blobs: option {name!r}", text))
        else:
            left.append(part)
    twice = own.keys() & options.keys()
    if twice:
        raise ConfigurationError(f"blobs: option {min(twice)!r} is given twice")
    own |= {name: options.pop(name) for name in _STORE_BLOBS if name in options}
    if "clock" in own:
        options["clock"] = own["clock"]
    store = open_store("?".join([front, "&".join(left)]).rstrip("?"), **options)
    blobs = _made(STORE_BLOBS, "blobs", {"store": store, **own})
    blobs._owned = store
    return blobs


def _native(scheme: str, rest: str, options: dict[str, Any]) -> Any:
    kind: type[Described] = load(BLOBS[scheme], scheme)
    front, _, query = rest.partition("?")
    check_query(query)
    given: dict[str, Any] = {}
    after_secret = False
    for place, (name, text) in enumerate(pairs(query, "&", f"the {scheme} URL"), 1):
        _refuse_wrappers(scheme, name)
        _check_option(kind, scheme, place, name, after_secret=after_secret)
        _add(given, scheme, name, decoded(f"{scheme}: option {name!r}", text))
        after_secret = after_secret or _names_secret(name)
    if scheme == "file":
        parts = _parts(front, scheme)
        if parts.keys() != {"path"}:
            raise ConfigurationError("the form of a file URL is file:///absolute/path or file:relative/path")
        _add(given, scheme, "directory", parts["path"])
    else:
        split_url(f"{scheme}:{front}")
        _add(given, scheme, "url", f"{scheme}:{front}")
    for name, value in options.items():
        _refuse_wrappers(scheme, name)
        _add(given, scheme, name, value)
    return _made(BLOBS[scheme], scheme, given)


def _refuse_wrappers(scheme: str, option: str) -> None:
    if option == "wrap":
        raise ConfigurationError(
            f"wrappers go around a store, and {scheme}: keeps blobs as they are; for wrapped blobs write "
            "StoreBlobs(open_store(url))"
        )


def _made(place: str, what: str, options: dict[str, Any]) -> Any:
    kind: Any = load(place, what)
    return _awaitable(kind)(**convert(kind, what, options))


class _Awaitable:
    """Mixin for blobs that can be awaited, which only the result of `open_blobs` is."""

    def __await__(self) -> Generator[Any, None, Self]:
        entering: Any = self
        return cast("Generator[Any, None, Self]", entering.__aenter__().__await__())


@cache
def _awaitable(kind: Any) -> Any:
    return type(kind.__name__, (_Awaitable, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})
