"""A store whose driver is missing says which extra brings it, however it is asked for."""

import subprocess
import sys
import tomllib

import pytest

import satchel
from satchel.url import registry
from tests.project.checkout import ROOT

pytestmark = pytest.mark.long  # whole programs, which take long to start

DRIVERS = {
    "dynamodb": "aiobotocore",
    "elasticsearch": "elasticsearch",
    "git": "dulwich",
    "http": "httpx",
    "mongodb": "pymongo",
    "nats": "nats",
    "objectstore": "obstore",
    "postgresql": "asyncpg",
    "redis": "redis",
    "sql": "sqlalchemy",
    "valkey": "glide",
}
WITHOUT_DRIVER = {"memcached"}
"""Stores that need the driver only for a client of the caller's."""
PLACES = {scheme: place.removeprefix("satchel.stores.").partition(":") for scheme, place in registry.STORES.items()}
SCHEMES = {module: scheme for scheme, (module, _, _) in PLACES.items()}
NAMES = {module: name for module, _, name in PLACES.values()}
PROGRAM = """
import sys
sys.modules[{driver!r}] = None
import satchel
try:
    {asked}
except satchel.MissingExtraError as error:
    assert isinstance(error, ImportError)
    print(error)
"""


@pytest.mark.parametrize("module", DRIVERS)
@pytest.mark.parametrize("way", ["attribute", "import", "module", "url"])
def test_a_missing_driver_is_named_with_its_extra(module, way):
    asked = {
        "attribute": f"satchel.{NAMES[module]}",
        "import": f"from satchel import {NAMES[module]}",
        "module": f"import satchel.stores.{module}",
        "url": f"satchel.open_store({SCHEMES[module] + '://x'!r})",
    }[way]
    program = PROGRAM.format(driver=DRIVERS[module], asked=asked)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f'pip install "satchel[{module}]"' in done.stdout


def test_a_star_import_needs_no_driver():
    blocked = "".join(f"sys.modules[{driver!r}] = None; " for driver in DRIVERS.values())
    program = f"import sys; {blocked}from satchel import *; assert MemoryStore"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_store_is_a_name_of_the_package():
    for name in NAMES.values():
        assert getattr(satchel, name).__name__ == name
        assert name in dir(satchel)


def test_every_store_that_has_an_extra_is_tested_without_its_driver():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    missing = sorted((NAMES.keys() & extras.keys()) - DRIVERS.keys() - WITHOUT_DRIVER)
    assert not missing, f"rows of DRIVERS missing: {missing}"


def test_every_extra_is_in_all():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (together,) = extras["all"]
    names = set(together.partition("[")[2].rstrip("]").split(","))
    assert names == extras.keys() - {"all", "testing"}
    assert DRIVERS.keys() <= names
