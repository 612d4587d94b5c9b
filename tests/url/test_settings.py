"""Settings of a store: environment, files, mappings, and what a stack says of itself."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from satchel import (
    ConfigurationError,
    MissingExtraError,
    MongoDBStore,
    ReadOnlyError,
    RedisStore,
    UnsupportedOperationError,
)
from satchel.url import open_store
from satchel.wrappers import StatisticsWrapper, TTLWrapper

SETTINGS = {
    "url": "memory://",
    "max_bytes": 7000,
    "default_ttl": 60,
    "read_only": True,
    "wrap": ["limit_size(max_bytes=500)", "statistics"],
}
LINE = "memory://?max_bytes=7000&wrap=limit_size(max_bytes=500)&wrap=ttl(default=60)&wrap=read_only&wrap=statistics"
FILES = {
    "a.json": json.dumps({"satchel": SETTINGS, "other": 1}),
    "a.yaml": yaml.safe_dump({"satchel": SETTINGS}),
    "a.YML": yaml.safe_dump({"satchel": SETTINGS}),
    "a.toml": '[satchel]\nurl = "memory://"\nmax_bytes = 7000\ndefault_ttl = 60\nread_only = true\n'
    'wrap = ["limit_size(max_bytes=500)", "statistics"]\n',
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SATCHEL_URL", raising=False)
    return tmp_path


def test_a_mapping_gives_the_store():
    given = dict(SETTINGS)
    assert str(open_store(given).describe()) == LINE
    assert given == SETTINGS, "the caller's mapping was changed"


@pytest.mark.parametrize("name", FILES)
def test_a_file_gives_the_store(here, name):
    (here / name).write_text("\ufeff" + FILES[name], "utf-8")
    assert str(open_store(here / name).describe()) == LINE


@pytest.mark.parametrize("url", [LINE, "disk:///var/lib/app?max_size=5", "null://?wrap=prefix_keys(prefix=a%2Cb)"])
def test_a_description_round_trips_through_each_form(here, url):
    description = open_store(url).describe()
    settings = description.settings()
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (here / "a.toml").write_text("\n".join(["[satchel]", *lines]))
    (here / "a.yaml").write_text(yaml.safe_dump({"satchel": settings}))
    (here / "a.json").write_text(json.dumps({"satchel": settings}))
    for form in (description, str(description), settings, *(here / f"a.{end}" for end in ("toml", "yaml", "json"))):
        again = open_store(form).describe()
        assert str(again) == str(description), form
        assert again.settings() == settings, form


def test_settings_hide_secrets():
    description = RedisStore(url="redis://user:hunter2@localhost").describe()
    settings = description.settings()
    assert "hunter2" not in str(settings)
    with pytest.raises(ConfigurationError, match="a hidden secret"):
        open_store(settings)


async def test_read_only_and_default_ttl_in_the_url():
    async with open_store("memory://?default_ttl=6000") as store:
        await store.put("c", "k", 1)
        assert 5900 < (await store.get_entry("c", "k")).ttl <= 6000
    async with open_store("memory://?read_only=true&default_ttl=60") as store:
        with pytest.raises(ReadOnlyError):
            await store.put("c", "k", 1)
        with pytest.raises(UnsupportedOperationError):
            await store.put_if_absent("c", "k", 1)
    async with open_store("memory://?read_only=false") as store:
        await store.put("c", "k", 1)


def test_common_wrappers_are_inside_of_those_that_see_all_calls():
    store = open_store("memory://?wrap=statistics", default_ttl=5)
    assert type(store) is StatisticsWrapper
    assert type(store.inner) is TTLWrapper
    line = "memory://?wrap=ttl(default=5)&wrap=prefix_keys(prefix=a)"
    assert str(open_store("memory://?wrap=ttl(default=5)&wrap=prefix_keys(prefix=a)").describe()) == line


def test_the_environment_gives_options(monkeypatch):
    monkeypatch.setenv("SATCHEL_URL", "memory://?wrap=statistics")
    monkeypatch.setenv("SATCHEL_DEFAULT_TTL", "90")
    monkeypatch.setenv("SATCHEL_READ_ONLY", "true")
    monkeypatch.setenv("SATCHEL_MAX_BYTES", "7000")
    monkeypatch.setenv("SATCHEL_SOMETHING_ELSE", "x")
    line = "memory://?max_bytes=7000&wrap=ttl(default=90)&wrap=read_only&wrap=statistics"
    assert str(open_store().describe()) == line
    assert str(open_store("null://").describe()) == "null://", "a URL in code does not look there"
    with pytest.raises(ConfigurationError, match=r"option 'max_bytes' is given twice .the URL is from SATCHEL_URL"):
        open_store(max_bytes=5)


def test_a_secret_of_the_environment_is_described_by_its_variable(monkeypatch):
    monkeypatch.setenv("SATCHEL_URL", "redis://localhost")
    monkeypatch.setenv("SATCHEL_PASSWORD", "hunter2")
    description = open_store().describe()
    assert "hunter2" not in str(description) + repr(description.store.options)
    assert "password_env=SATCHEL_PASSWORD" in str(description)


def test_what_a_driver_reads_in_the_url_is_no_variable(monkeypatch):
    monkeypatch.setenv("SATCHEL_URL", "mongodb://localhost/app")
    for name in MongoDBStore.url_query:
        monkeypatch.setenv(f"SATCHEL_{name.upper()}", "1")
    assert str(open_store().describe()) == "mongodb://localhost/app"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://?read_only=maybe", "'read_only' must be true or false"),
        ("memory://?default_ttl=soon", "default_ttl must be a number of seconds"),
        ("memory://?read_only=true&read_only=true", "'read_only' is given twice"),
        ({}, "settings need a url"),
        ({"url": 3}, "settings need a url"),
        ({"url": "memory://", 3: 4}, "names of settings must be str"),
        ({"url": "memory://", "maxbytes": 4}, r"unknown option of memory 'maxbytes'.*from the settings\)"),
        ({"url": "memory://", "read_only": 1}, "'read_only' must be true or false"),
        ({"url": "memory://", "wrap": "ttl"}, "wrap must be a list"),
        (3, "url must be a str or a Description, got int"),
        (Path("missing.toml"), "missing.toml does not exist"),
        (Path("missing.ini"), "must end with .toml, .yaml, .yml, .json"),
    ],
)
def test_bad_settings_are_refused(url, message):
    with pytest.raises(ConfigurationError, match=message):
        open_store(url)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"satchel": hunter2}', "a.json: line 1, column 13: this is not valid JSON$"),
        ("a.json", "[1]", r"must have a table \[satchel\]"),
        ("a.json", '{"satchel": {"url": 3}}', r"must have a table \[satchel\]"),
        ("a.json", "[" * 100_000, "a.json: this nests too deep|a.json: line 1.*not valid JSON"),
        ("a.yaml", "satchel: {url: 'hunter2", r"a.yaml: line 1, column \d+: this is not valid YAML$"),
        ("a.yaml", "satchel: !!python/object:os.system [hunter2]", "this is not valid YAML$"),
        ("a.yaml", "", r"must have a table \[satchel\]"),
        ("a.yaml", "satchel: {url: 'memory://', speed: 3}", r"unknown option of memory 'speed'.*from .*a.yaml\)"),
        ("a.toml", "[satchel]\nurl = hunter2", "line 2, column 7: this is not valid TOML$"),
    ],
)
def test_a_bad_file_is_refused_without_its_content(here, name, text, message):
    (here / name).write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_store(here / name)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or "hunter2" not in str(caught.value.__context__)


def test_yaml_needs_its_extra(here, monkeypatch):
    (here / "a.yaml").write_text("satchel: {url: 'memory://'}")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r'pip install "satchel\[yaml\]"'):
        open_store(here / "a.yaml")
