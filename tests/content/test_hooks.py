"""Hooks that give other types digests: registered, methods of the class, and from other packages."""

import itertools
import subprocess
import sys

import pytest

from satchel import ConfigurationError, DigestError
from satchel.content import Digest, digest, register_hook
from satchel.content.hooks import installed_hooks


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class Dollars(Money):
    pass


class Broken:
    def __digest__(self) -> object:
        raise ValueError("secret")


class Proxy:
    def __init__(self, value: object) -> None:
        self.value = value

    def __digest__(self) -> Digest:
        return digest(self.value)


class Returns:
    def __init__(self, value: object) -> None:
        self.value = value

    def __digest__(self) -> object:
        return self.value


class More(Returns):
    pass


def new_class(base: type = object) -> type:
    """Return a class that has no hook yet."""
    return type(f"Class{next(NUMBERS)}", (base,), {"__module__": __name__, "x": 1})


NUMBERS = itertools.count()


def test_a_registered_hook_gives_digests():
    with pytest.raises(DigestError, match="a Money has no digest"):
        digest(Money(5))
    register_hook(Money, lambda value: value.cents)
    assert digest(Money(5)) == digest(Money(5)) != digest(Money(6))
    assert digest(Money(5)) != digest(5)


def test_a_hook_serves_derived_classes_each_with_a_digest_of_its_own():
    kind = new_class()
    register_hook(kind, lambda value: value.x)
    derived = new_class(kind)
    assert digest(derived()) != digest(kind())
    register_hook(kind, lambda value: [value.x])
    other = digest(derived())
    register_hook(derived, lambda value: value.x)
    assert digest(derived()) != other


def test_the_method_of_a_class_gives_digests():
    assert digest(Returns([1])) == digest(Returns([1])) != digest(Returns([2]))
    assert digest(Returns([1])) not in (digest([1]), digest(More([1])))


def test_a_hook_that_returns_a_digest_gives_that():
    assert digest(Proxy([1])) == digest([1])
    assert digest([Proxy("a")]) == digest(["a"])


def test_a_registered_hook_comes_before_the_method_of_a_class_it_is_derived_from():
    kind = new_class(Returns)
    before = digest(kind(1))
    register_hook(kind, lambda value: (value.value, "more"))
    assert digest(kind(1)) != before


def test_a_hook_that_fails_refuses_the_value_with_the_cause():
    with pytest.raises(DigestError, match=r"^\$\.a: the digest hook of Broken raised ValueError$") as caught:
        digest({"a": Broken()})
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_a_hook_cannot_digest_is_said_with_the_place_of_the_value():
    with pytest.raises(DigestError, match=r"^\$\[0\]: a generator is used up by reading it"):
        digest([Proxy(each for each in ())])


def test_hooks_within_hooks_that_fail_take_no_time_without_end():
    value: object = object()
    for _ in range(60):
        value = Proxy(value)
    with pytest.raises(DigestError, match=r"^\$: an object has no digest"):
        digest(value)


def test_a_hook_that_returns_its_own_value_is_refused():
    value = Returns(None)
    value.value = value
    with pytest.raises(DigestError, match="holds itself"):
        digest(value)
    proxy = Proxy(None)
    proxy.value = proxy
    with pytest.raises(DigestError):
        digest(proxy)


@pytest.mark.parametrize("kind", [int, str, list, dict, type(None), object, type, type(len), Digest])
def test_the_digests_of_pythons_own_types_are_fixed(kind):
    with pytest.raises(ConfigurationError, match="are fixed"):
        register_hook(kind, str)


@pytest.mark.parametrize(("kind", "function"), [("Money", str), (new_class(), None)])
def test_a_hook_is_a_class_and_a_function(kind, function):
    with pytest.raises(ConfigurationError, match="digest hook"):
        register_hook(kind, function)


PACKAGE = """
from {name} import hooks_loaded
class Thing:
    pass
class Other:
    pass
"""
HOOKS = """
import {name}
{name}.hooks_loaded.append(1)
from {name}.things import Thing
from satchel.content import register_hook
def register():
    register_hook(Thing, lambda value: "thing")
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return the name of an installed package that has hooks for its types."""
    name = f"things_of_test_{next(NUMBERS)}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("hooks_loaded = []\n")
    (tmp_path / name / "things.py").write_text(PACKAGE.format(name=name))
    (tmp_path / name / "hooks.py").write_text(HOOKS.format(name=name))
    installed = tmp_path / f"{name}-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[satchel.digests]\n{name} = {name}.hooks:register\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed_hooks.cache_clear()
    yield name
    installed_hooks.cache_clear()
    for module in [each for each in sys.modules if each.partition(".")[0] == name]:
        del sys.modules[module]


def test_another_package_gives_its_types_digests(package):
    things = __import__(f"{package}.things").things
    loaded = sys.modules[package].hooks_loaded
    digest([1, "a", None])
    assert loaded == []
    assert digest(things.Thing()) != digest("thing")
    with pytest.raises(DigestError, match="an Other has no digest"):
        digest(things.Other())
    assert loaded == [1]


def test_hooks_of_another_package_that_cannot_be_loaded_are_an_error_each_time(package, tmp_path):
    (tmp_path / package / "hooks.py").write_text("import a_module_that_there_is_not\n")
    things = __import__(f"{package}.things").things
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=f"{package}.hooks:register, which the entry point {package} of"):
            digest(things.Thing())


@pytest.mark.long
def test_classes_that_a_program_makes_without_end_are_not_all_kept():
    code = (
        "import dataclasses, weakref\n"
        "from satchel.content import digest\n"
        "kept = []\n"
        "for number in range(1500):\n"
        "    kind = dataclasses.make_dataclass(f'C{number}', ['x'], namespace={'__module__': 'm'})\n"
        "    digest(kind(1))\n"
        "    kept.append(weakref.ref(kind))\n"
        "del kind\n"
        "import gc; gc.collect()\n"
        "alive = sum(ref() is not None for ref in kept)\n"
        "assert alive <= 1100, alive\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_a_digest_on_the_event_loop_looks_for_hooks_once():
    installed_hooks.cache_clear()
    for _ in range(2):
        kind = type("Thing", (Returns,), {"__module__": f"package_of_test_{next(NUMBERS)}"})
        assert digest(kind(1)) == digest(kind(1))
    assert installed_hooks.cache_info().misses == 1
