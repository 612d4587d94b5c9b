"""How the documentation is built: `python3 scripts/dev docs`."""

from __future__ import annotations

import builtins
import importlib
import pkgutil
import re
import textwrap
from pathlib import Path
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


def rewrite_fences(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Turn the Markdown fences of a docstring into the directive that autodoc reads."""

    def directive(fence: re.Match[str]) -> str:
        margin, language, code = fence.groups()
        body = textwrap.indent(textwrap.dedent(code), margin + "    ")
        return f"{margin}.. code-block:: {language}\n\n{body}"

    lines[:] = FENCE.sub(directive, "\n".join(lines)).split("\n")


def write_reference(app: Sphinx, config: object) -> None:
    """Write a page for each public module, with the names that no page before it has."""
    modules = [module.name for module in pkgutil.walk_packages(satchel.__path__, "satchel.") if is_public(module.name)]
    shown: dict[tuple[str, str], str] = {}
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    written = set()
    # What is deepest inside first: a store's page has the store, and the page of the whole package what is left.
    for name in sorted([*modules, "satchel"], key=lambda name: (-name.count("."), name)):
        module = importlib.import_module(name)
        offered = {offer: _identity(getattr(module, offer), name, offer) for offer in getattr(module, "__all__", ())}
        elsewhere = {offer: shown[identity] for offer, identity in offered.items() if identity in shown}
        if len(elsewhere) < len(offered):
            shown |= {identity: name for identity in offered.values() if identity not in shown}
            page = folder / f"{name}.md"
            _write(page, reference_page(name, elsewhere))
            written.add(page)
    for page in set(folder.glob("*.md")) - written:
        page.unlink()


def is_public(name: str) -> bool:
    """Tell whether a module is one to import from; a private part, or one that runs when imported, is not."""
    return not any(part.startswith("_") for part in name.split("."))


def reference_page(name: str, elsewhere: dict[str, str]) -> str:
    """Return the page of a module; names that other pages have are links to these."""
    options = f":members:\n   :imported-members:\n   :exclude-members: {', '.join(sorted(elsewhere))}"
    links = "".join(f"* [`{offer}`]({where}.md)\n" for offer, where in sorted(elsewhere.items()))
    also = f"\n## Also offered here\n\n{links}" if elsewhere else ""
    return f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   {options}\n```\n{also}"


def _write(page: Path, content: str) -> None:
    if not page.exists() or page.read_text("utf-8") != content:  # or Sphinx would build it again
        page.write_text(content, "utf-8")


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
    app.connect("config-inited", write_reference)
