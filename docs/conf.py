"""How the documentation is built: `python3 scripts/dev docs`."""

from __future__ import annotations

import builtins
import importlib
import pkgutil
import re
import textwrap
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain

import satchel

project = "satchel"
release = version = satchel.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "satchel"
# Docstrings put code between single backticks, as the pages do.
default_role = "code"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
REFERENCE_MARK = "<!-- modules -->"


def rewrite_fences(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Turn the Markdown fences of a docstring into the directive that autodoc reads."""

    def directive(fence: re.Match[str]) -> str:
        margin, language, code = fence.groups()
        body = textwrap.indent(textwrap.dedent(code), margin + "    ")
        return f"{margin}.. code-block:: {language}\n\n{body}"

    lines[:] = FENCE.sub(directive, "\n".join(lines)).split("\n")


def list_modules(app: Sphinx, page: str, content: list[str]) -> None:
    """Put every module that says what it offers, by `__all__`, into the reference."""
    if page != "reference":
        return
    modules = [module.name for module in pkgutil.walk_packages(satchel.__path__, "satchel.")]
    runnable = "__main__"  # it would run when imported
    offering = [
        name
        for name in ["satchel", *modules]
        if not name.endswith(runnable) and hasattr(importlib.import_module(name), "__all__")
    ]
    sections = []
    shown: set[tuple[str, str]] = set()
    for name in offering:
        module = importlib.import_module(name)
        offered = {offer: _identity(getattr(module, offer), name, offer) for offer in module.__all__}
        twice = {offer for offer, identity in offered.items() if identity in shown}
        shown |= set(offered.values())
        options = f":members:\n   :imported-members:\n   :exclude-members: {', '.join(sorted(twice))}"
        sections.append(f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   {options}\n```\n")
    content[0] = content[0].replace(REFERENCE_MARK, "\n".join(sections))


def _identity(thing: object, module: str, name: str) -> tuple[str, str]:
    """Return where a thing is from: a package may offer again what a module in it offers."""
    return getattr(thing, "__module__", None) or module, getattr(thing, "__qualname__", name)


class WithoutBuiltins(PythonDomain):
    """Python's domain, in which an annotation such as `bytes` is no reference to an attribute of that name."""

    def find_obj(self, env: Any, modname: Any, classname: Any, name: str, *arguments: Any) -> list[Any]:
        """Return the objects that a name may refer to."""
        return [] if hasattr(builtins, name) else super().find_obj(env, modname, classname, name, *arguments)


def setup(app: Sphinx) -> None:
    """Connect the above to the build."""
    app.add_domain(WithoutBuiltins, override=True)
    app.connect("autodoc-process-docstring", rewrite_fences, priority=400)
    app.connect("source-read", list_modules)
