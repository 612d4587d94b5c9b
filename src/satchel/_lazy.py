"""Packages that import each export, with its driver, when it is first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_exports(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package that exports names of other modules.

    Args:
        package: The package's `__name__`.
        modules: The module of each name, relative to the package: `store` is its own, `.store` is its parent's.
    """
    names = vars(sys.modules[package])

    def load(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = names[name] = getattr(import_module(f".{modules[name]}", package), name)
        return found

    def list_names() -> list[str]:
        return sorted({*names, *modules})

    return load, list_names
