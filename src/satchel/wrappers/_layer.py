"""`layer`: access to one wrapper in a stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from ..errors import ConfigurationError
from ..protocol import check_store

L = TypeVar("L")


def layer(store: object, kind: type[L]) -> L:
    """Return the outermost wrapper or store of a class in a stack, to use the methods of that class.

    ```python
    from satchel import open_store
    from satchel.wrappers import StatisticsWrapper, layer

    store = open_store("memory://?wrap=statistics&wrap=ttl(default=60)")
    layer(store, StatisticsWrapper).snapshot()
    ```

    Args:
        store: The stack. If a store is composed of several others, each is searched.
        kind: The class.

    Raises:
        ConfigurationError: `store` is not a store, `kind` is not a class, or the stack has no such layer; the message
            shows the stack.
    """
    check_store(store, "layer")
    if not isinstance(kind, type):
        raise ConfigurationError(f"layer takes a class such as EncryptionWrapper, got {type(kind).__name__}")
    for found in _layers(store):
        if isinstance(found, kind):
            return found
    raise ConfigurationError(f"there is no {kind.__name__} in {store!r}")


def _layers(store: Any) -> Iterator[object]:
    yield store
    inners = getattr(store, "inners", None) or [
        inner for inner in (getattr(store, "inner", None),) if inner is not None
    ]
    for inner in inners:
        yield from _layers(inner)
