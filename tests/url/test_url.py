"""`open_store`: every documented URL, what is refused, and what a stack says about itself."""

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

import pytest

from satchel import ConfigurationError, MemoryStore, MessagePackCodec, MissingExtraError, NullStore, ReadOnlyError
from satchel._url_parts import is_secret
from satchel.testing import FakeClock
from satchel.url import open_store
from satchel.url import registry as registered
from satchel.url.description import Description, Layer
from satchel.wrappers import BaseWrapper, SanitizationWrapper, StatisticsWrapper, TTLWrapper
from tests.servers import server_url

DOCUMENT = Path(__file__).parents[2] / "docs" / "urls.md"
DOCUMENTED = re.findall(r"^\| `([a-z0-9+]+:[^`]*)` \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)

SERVERS = {
    "redis": "redis",
    "redis+cluster": "redis-cluster",
    "redis+sentinel": "redis-sentinel",
    "valkey": "valkey",
    "valkey+cluster": "valkey-cluster",
    "memcached": "memcached",
    "mongodb": "mongodb",
    "nats": "nats",
    "elasticsearch": "elasticsearch",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+asyncpg": "postgresql",
    **dict.fromkeys(("mysql", "mysql+asyncmy", "mariadb", "mariadb+asyncmy"), "mariadb"),
}
"""The servers that documented URLs are opened on."""

ELSEWHERE = {
    *(
        "rediss",
        "unix",
        "valkeys",
        "valkeys+cluster",
        "mongodb+srv",
        "elasticsearch+https",
        "nats+tls",
        "http",
        "https",
    ),
    *("dynamodb", "s3", "gs", "az", "zip"),
}
"""Schemes whose documented URLs need a certificate, an account, a DNS name or an archive; other tests open those."""


class Server(MemoryStore):
    """Stands for a store behind a network, as third parties write one."""

    url_parts: ClassVar = {"username": "user", "password": "password", "host": "host", "port": "port", "path": "table"}

    def __init__(
        self,
        *,
        host: str,
        user: str = "",
        password: str = "",
        port: int = 1,
        table: str = "",
        speed: float = 1.0,
        mode: Literal["a", "b"] = "a",
        fast: bool | None = None,
        place: Path | None = None,
        client: "Client | None" = None,  # noqa: F821  # as where a driver's types are imported for checkers alone
    ) -> None:
        super().__init__()
        self.made_of = {name: value for name, value in locals().items() if name not in {"self", "__class__"}}


class WholeURL(NullStore):
    """Stands for a store whose driver reads URLs."""

    url_parts: ClassVar = {"url": "url"}
    url_query: ClassVar = frozenset({"tls", "password"})

    def __init__(self, *, url: str, prefix: str = "") -> None:
        super().__init__()
        self.url, self.prefix = url, prefix


class Sealed(BaseWrapper):
    """Stands for a wrapper with a secret."""

    def __init__(self, inner, *, key: str, level: int = 1) -> None:
        self.secret = key
        super().__init__(inner)


@pytest.fixture(autouse=True)
def own_classes(monkeypatch):
    points = {
        "satchel.stores": {"server": "Server", "whole": "WholeURL", "broken": "Nothing", "number": "DOCUMENT"},
        "satchel.wrappers": {"sealed": "Sealed"},
    }
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda *, group: [EntryPoint(name, f"{__name__}:{value}", group) for name, value in points[group].items()],
    )
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or __import__(__name__))
    monkeypatch.delenv("SATCHEL_URL", raising=False)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_document_has_urls():
    assert len(DOCUMENTED) >= 15
    differing = sorted({url.partition(":")[0] for url in DOCUMENTED} ^ registered.STORES.keys())
    assert not differing, f"schemes that only docs/urls.md or only url/registry.py has: {differing}"


def documented(url):
    server = SERVERS.get(url.partition(":")[0])
    return pytest.param(url, marks=[pytest.mark.server(server)] if server else [])


@pytest.mark.parametrize("url", [documented(url) for url in DOCUMENTED if url.partition(":")[0] not in ELSEWHERE])
def test_every_documented_url_opens_and_describes_itself(url, here, monkeypatch):
    for variable, byte in {"APP_KEY": "00", "APP_OLD_KEYS": "01"}.items():
        monkeypatch.setenv(variable, byte * 32)
    local = url.replace("/var/lib/app", f"{here}/app")
    scheme = url.partition(":")[0]
    if scheme in SERVERS:
        local = re.sub(r"localhost:\d+", urlsplit(server_url(SERVERS[scheme])).netloc.rpartition("@")[2], url)

    async def use(store):
        async with store:
            with pytest.raises(ReadOnlyError) if "read_only" in url else nullcontext():
                await store.put("c", "abc", {"n": 1})
            return await store.get("c", "abc")

    store = open_store(local)
    assert asyncio.run(use(store)) == (None if url.startswith("null") or "read_only" in url else {"n": 1})
    assert str(store.describe()) == local
    again = open_store(store.describe())
    assert again.describe() == store.describe() == open_store(str(store.describe())).describe()
    assert type(again) is type(store)


@pytest.mark.parametrize("url", [url for url in DOCUMENTED if url.partition(":")[0] in ELSEWHERE])
def test_documented_urls_of_servers_elsewhere_describe_themselves(url):
    store = open_store(url)
    assert str(store.describe()) == url
    assert open_store(store.describe()).describe() == store.describe()


IN_ORDER = [
    *("timeout(seconds=5)", "circuit_breaker", "retry(attempts=2)", "on_error", "encryption(key_env=APP_KEY)"),
    *("compression(algorithm=gzip)", "sanitization(key_strategy=escape)", "single_collection(collection=app)"),
    *("limit_size(max_bytes=99)", "ttl(default=60)", "events", "read_only", "statistics", "logging", "opentelemetry"),
    *("default_value(value=0)", "single_flight"),
]


def test_a_file_builds_the_same_stack_as_a_url(here, monkeypatch):
    monkeypatch.setenv("APP_KEY", "0123456789abcdef" * 4)
    (here / "satchel.toml").write_text(
        f'[satchel]\nurl = "memory://"\nmax_bytes = 1000\nwrap = {json.dumps(IN_ORDER)}\n'
    )
    store = open_store("memory://?max_bytes=1000" + "".join(f"&wrap={wrapper}" for wrapper in IN_ORDER))
    assert open_store().describe() == store.describe()
    assert [layer.name for layer in store.describe().wrappers] == [text.partition("(")[0] for text in IN_ORDER]


def test_wrappers_are_built_from_the_innermost_on():
    store = open_store("memory://?wrap=ttl(default=60,sliding=true)&max_bytes=100&wrap=statistics", wrap=["ttl"])
    assert [type(store), type(store.inner), type(store.inner.inner), type(store.inner.inner.inner)] == [
        TTLWrapper,
        StatisticsWrapper,
        TTLWrapper,
        MemoryStore,
    ]
    assert store.describe() == Description(
        Layer("memory", {"max_bytes": 100}),
        (Layer("ttl", {"default": 60.0, "sliding": True}), Layer("statistics"), Layer("ttl")),
    )


def test_a_stack_made_in_code_describes_itself_and_is_built_again():
    clock, codec = FakeClock(), MessagePackCodec()
    made = TTLWrapper(
        inner=SanitizationWrapper(MemoryStore(max_bytes=9, codec=codec, clock=clock), preset="redis-v1"), default=5
    )
    description = made.describe()
    assert str(description) == (
        "memory://?max_bytes=9&codec=<MessagePackCodec>&clock=<FakeClock>&wrap=sanitization(preset=redis-v1)"
        "&wrap=ttl(default=5)"
    )
    assert repr(description) == f"Description({str(description)!r})"
    again = open_store(description)
    assert again.describe() == description
    assert again.inner.inner.clock is clock
    with pytest.raises(ConfigurationError, match="'codec' cannot be given as text"):
        open_store(str(description))


def test_a_class_that_no_url_names_is_described_and_built_again():
    class Unregistered(NullStore):
        def __init__(self, size):
            super().__init__()
            self.size = size

    description = Unregistered(5).describe()
    assert str(description) == "Unregistered://?size=5"
    assert open_store(description).size == 5


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("server://h", {"host": "h"}),
        ("server://h/", {"host": "h"}),
        ("SERVER://h:99/t/u", {"host": "h", "port": 99, "table": "t/u"}),
        ("server://u:p%40%2f%3a+@h", {"host": "h", "user": "u", "password": "p@/:+"}),
        ("server://:p:q@h", {"host": "h", "password": "p:q"}),
        ("server://u@[::1]:5/t%20x", {"host": "::1", "user": "u", "port": 5, "table": "t x"}),
        ("server://h?speed=5&mode=b&fast=True&place=/a%26b", {"host": "h", "speed": 5.0, "mode": "b", "fast": True,
                                                             "place": Path("/a&b")}),
        ("server://?host=h&fast=0", {"host": "h", "fast": False}),
    ],
)  # fmt: skip
def test_parts_and_options_are_converted(url, expected):
    defaults = {"user": "", "password": "", "port": 1, "table": "", "speed": 1.0, "mode": "a", "fast": None}
    store = open_store(url)
    assert store.made_of == defaults | {"place": None, "client": None} | expected
    shown = str(store.describe())
    assert "p@" not in shown
    if "password" not in expected:
        assert open_store(shown).describe() == store.describe()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("cassandra://h", r"unknown scheme 'cassandra'\. Known: .*disk.*redis"),
        ("memroy://", r"unknown scheme 'memroy'; did you mean 'memory'\? Known: .*disk.*server"),
        ("", "starts with a scheme"),
        ("/var/lib", "starts with a scheme"),
        ("sqlite:///x.db", r"unknown scheme 'sqlite'; did you mean 'disk'\? Known: .*disk"),
        ("mem://", r"unknown scheme 'mem'; did you mean 'memory'\?"),
        ("fs:///var", r"unknown scheme 'fs'; did you mean 'file'\?"),
        ("dir:data", r"unknown scheme 'dir'; did you mean 'file'\?"),
        ("mongo://h", r"unknown scheme 'mongo'; did you mean 'mongodb'\?"),
        ("es://h", r"unknown scheme 'es'; did you mean 'elasticsearch'\?"),
        ("postgresql+psycopg://h/b", r"unknown scheme 'postgresql\+psycopg'; did you mean 'postgresql'\?"),
        ("s3a://bucket", r"unknown scheme 's3a'; did you mean 's3'\?"),
        ("abcdef:ghi", r"unknown scheme\. Known: .*disk"),
        ("memory://host", "the memory URL has a host, but its form is memory://"),
        ("memory:///path", "the memory URL has a path, but its form is memory://"),
        (
            "disk://relative/path",
            "the disk URL has a host, but its form is disk:///absolute/path or disk:relative/path",
        ),
        (
            "memory://?max_byte=5",
            r"option of memory 'max_byte'; did you mean 'max_bytes'\? Known: max_bytes, max_entries_per_collection$",
        ),
        ("server://h?cleint=5", r"unknown option of server 'cleint'\. Known: fast, host"),
        ("memory://?max_bytes", "options of the memory URL are written name=value and joined by &"),
        ("memory://?=5", "options of the memory URL are written name=value"),
        ("memory://?max_bytes=lots", "memory: option 'max_bytes' must be a whole number$"),
        ("memory://?max_bytes=-1", "max_bytes must be an int of at least 1"),
        ("memory://?max_bytes=1&max_bytes=2", "memory: option 'max_bytes' is given twice"),
        ("memory://?codec=json", "memory: option 'codec' cannot be given as text"),
        ("memory://?inner=5", "unknown option of memory 'inner'"),
        ("server://h?host=g", "server: option 'host' is given twice"),
        ("server://h?mode=c", "server: option 'mode' must be 'a' or 'b'$"),
        ("server://h?fast=maybe", "server: option 'fast' must be true or false$"),
        ("server://h?speed=x", "server: option 'speed' must be a number$"),
        ("server://h?client=x", "server: option 'client' cannot be given as text"),
        ("server://h:port", "the port of the URL must be a number from 1 to 65535"),
        ("server://[::1", "the port of the URL must be"),
        ("server://", "server needs the option 'host'"),
        ("file://", "file needs the option 'data_directory'"),
        ("broken://", "broken names .*Nothing, which cannot be imported"),
        ("number://", "number names .*DOCUMENT, which is not a BaseStore or BaseWrapper"),
        ("memory://?wrap=tll", r"unknown wrapper 'tll'; did you mean 'ttl'\? Known: .*sealed.*statistics"),
        ("memory://?wrap=ttl(", r"a wrapper is written name or name\(option=value,option=value\)"),
        ("memory://?wrap=", "a wrapper is written name"),
        ("memory://?wrap=ttl(defualt=5)", "unknown option of ttl 'defualt'; did you mean 'default'"),
        ("memory://?wrap=ttl(default=5,default=6)", "ttl: option 'default' is given twice"),
        ("memory://?wrap=ttl(default)", "options of ttl are written name=value and joined by ,"),
        ("memory://?wrap=ttl(default=soon)", "ttl: option 'default' must be a number$"),
        ("memory://?wrap=ttl(default=-5)", "default must be above 0"),
        ("memory://?wrap=ttl(sliding=true)", "sliding renews entries to the default"),
        ("memory://?wrap=sanitization(key_strategy=hsah)", "must be 'passthrough' or .*'hash'"),
        ("memory://?wrap=sealed", "sealed needs the option 'key'"),
        ("memory://?wrap=sealed(key=a,key_env=PATH)", "sealed: option 'key' is given twice"),
    ],
)
def test_what_is_wrong_in_a_url_is_named(url, message):
    with pytest.raises(ConfigurationError, match=message):
        open_store(url)


@pytest.mark.parametrize("url", [5, b"memory://", ["memory://"]])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ConfigurationError, match="url must be a str or a Description"):
        open_store(url)


def test_none_and_nothing_are_no_wrappers():
    for wrap in (None, [], ()):
        assert isinstance(open_store("memory://", wrap=wrap), MemoryStore)


@pytest.mark.parametrize("wrap", ["ttl", [5], 3, {"ttl": 1}, iter(["ttl"])])
def test_wrappers_in_code_are_a_list_of_texts(wrap):
    with pytest.raises(ConfigurationError, match="wrap must be a list of str"):
        open_store("memory://", wrap=wrap)


def test_an_option_is_given_once():
    with pytest.raises(ConfigurationError, match="option 'max_bytes' is given twice"):
        open_store("memory://?max_bytes=1", max_bytes=2)


SECRET = "hunter2"


def test_secrets_are_hidden_and_what_hides_them_does_not_open():
    made = [
        open_store(f"server://u:{SECRET}@h/t?wrap=sealed(key={SECRET},level=3)"),
        open_store(f"whole://u:{SECRET}@h,g:5/db?tls=1&password={SECRET}&prefix=p"),
        Sealed(WholeURL(url=f"whole://:{SECRET}@h"), key=SECRET),
    ]
    lines = [str(store.describe()) for store in made]
    assert lines == [
        "server://u:***@h/t?wrap=sealed(key=***,level=3)",
        "whole://u:***@h,g:5/db?tls=1&password=***&prefix=p",
        "whole://:***@h?wrap=sealed(key=***)",
    ]
    for store in made:
        description = store.describe()
        assert SECRET not in f"{store!r} {description!r} {description.store!r} {description.wrappers!r}"
        assert open_store(description).describe() == description
    for line in lines:
        with pytest.raises(ConfigurationError, match="hidden"):
            open_store(line)


def test_the_driver_gets_the_url_as_it_is():
    store = open_store("whole://u:p%40@h,g:5/db?tls=1&prefix=a%20b")
    assert (store.url, store.prefix) == ("whole://u:p%40@h,g:5/db?tls=1", "a b")
    assert open_store("whole://h").url == "whole://h"
    with pytest.raises(ConfigurationError, match=r"'tsl'; did you mean 'tls'\? Known: password, prefix, tls, url"):
        open_store("whole://h?tsl=1")


@pytest.mark.parametrize(
    "url",
    [
        f"server://u:{SECRET}@h:port",
        f"server://u:{SECRET}@h?speed=fast",
        f"server://u:{SECRET}@h?sped=1",
        f"server://u:{SECRET}/x@h",
        f"serve://u:{SECRET}@h",
        f"memory://u:{SECRET}@h",
        f"u:{SECRET}@h",
        f"{SECRET}@h",
        f"memory://?wrap=sealed(key={SECRET},lvel=1)",
        f"memory://?wrap=sealed(key={SECRET}",
        f"memory://?wrap=sealed(key_env=x,key={SECRET})",
        f"server://h?password={SECRET}&password={SECRET}",
        f"server://h?password_env={SECRET}",
        f"server://h?password_env={SECRET}\ud800",
        f"server://h?apikey={SECRET}&apikey={SECRET}",
        "memory://?max_bytes_env=DATABASE",
        "server://h?mode_env=DATABASE",
        "server://h?client_env=DATABASE",
        "memory://?wrap=ttl(default_env=DATABASE)",
        "memory://?wrap=sanitization(preset_env=DATABASE)",
    ],
)
def test_no_error_shows_a_secret(url, monkeypatch):
    monkeypatch.setenv("DATABASE", SECRET)
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    error = caught.value
    while error is not None:
        assert SECRET not in f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_secret_comes_from_a_variable_and_is_described_by_its_name(monkeypatch):
    monkeypatch.setenv("APP_KEY", SECRET)
    monkeypatch.setenv("APP_SPEED", "7")
    store = open_store("server://h?password_env=APP_KEY&speed_env=APP_SPEED&wrap=sealed(key_env=APP_KEY)")
    assert store.secret == store.inner.made_of["password"] == SECRET
    assert store.inner.made_of["speed"] == 7.0
    line = "server://h?password_env=APP_KEY&speed_env=APP_SPEED&wrap=sealed(key_env=APP_KEY)"
    assert str(store.describe()) == line
    assert open_store(line).secret == open_store(store.describe()).secret == SECRET
    with pytest.raises(ConfigurationError, match="sealed: key_env names an environment variable that is not set"):
        open_store("memory://?wrap=sealed(key_env=APP_KEX)")
    with pytest.raises(ConfigurationError, match="unknown option of sealed 'kay_env'"):
        open_store("memory://?wrap=sealed(kay_env=APP_KEY)")


def test_what_a_constructor_refuses_is_shown_but_for_what_a_variable_gave(monkeypatch):
    monkeypatch.setenv("BOUND", "-4711")
    with pytest.raises(ConfigurationError, match="memory refuses the value from max_bytes_env") as caught:
        open_store("memory://?max_bytes_env=BOUND")
    assert "4711" not in str(caught.value)
    assert caught.value.__context__ is None
    monkeypatch.setenv("BOUND", "4711")
    with pytest.raises(ConfigurationError, match=r"_per_collection must be an int of at least 1.* got -5"):
        open_store("memory://?max_bytes_env=BOUND&max_entries_per_collection=-5")


@pytest.mark.parametrize("value", ["", " ", "\n"], ids=repr)
@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("memory://?wrap=encryption(key_env=APP_KEY)", "encryption: key_env names the environment variable APP_KEY, "),
        ("memory://?wrap=signing(key_env=APP_KEY)", "signing: key_env names the environment variable APP_KEY, "),
        ("redis://h?password_env=APP_KEY", "redis: password_env names the environment variable APP_KEY, "),
    ],
)
def test_a_secret_whose_variable_is_empty_is_refused_by_the_variables_name(url, named, value, monkeypatch):
    monkeypatch.setenv("APP_KEY", value)
    with pytest.raises(ConfigurationError, match=f"{named}which is empty: set it"):
        open_store(url)


def test_what_a_variable_gives_in_a_wrong_form_is_refused_by_the_variables_name(monkeypatch):
    monkeypatch.setenv("BOUND", "lots")
    with pytest.raises(
        ConfigurationError, match=r"'max_bytes' \(from the environment variable BOUND\) must be a whole"
    ):
        open_store("memory://?max_bytes_env=BOUND")


WITH_HOSTS = [
    *("redis://h{}", "rediss://h{}", "redis+cluster://g:1,h{}", "redis+sentinel://g:1,h{}/service"),
    *("valkey://h{}", "valkeys+cluster://h{}", "memcached://h{}", "server://h{}", "elasticsearch://h{}"),
    *("elasticsearch+https://h{}", "mongodb://h{}", "mongodb://g:1,h{}/base", "postgresql://g,h{}/base"),
    *("postgres://[::1]{}/base", "redis://[::1]{}", "postgresql:///base?host=h&port=1,{:.1}"),
]


@pytest.mark.parametrize("port", [":0", ":00", ":65536", ":99999999999", ":-1", ":x", ":٣"])
@pytest.mark.parametrize("url", WITH_HOSTS)
def test_a_port_that_is_none_is_refused_in_the_same_words_everywhere(url, port):
    url = url.replace("{:.1}", port[1:]).format(port)
    with pytest.raises(ConfigurationError, match=r"^the port of the URL must be a number from 1 to 65535; percent-enc"):
        open_store(url)


@pytest.mark.parametrize("port", [":0", ":65536"])
@pytest.mark.parametrize("url", ["s3://b?endpoint=http://h{}", "dynamodb://table?endpoint_url=https://h{}/x&region=r"])
def test_a_port_of_an_endpoint_is_refused_as_well(url, port):
    with pytest.raises(ConfigurationError, match="port of the URL must be a number from 1 to 65535"):
        open_store(url.format(port))


@pytest.mark.parametrize(
    "odd", ["{}\n", "{}\r\n", "{} ", "\n{}", "\t{}", "{}\x00", "{}\x7f", "{}\u2028", "{}\u00a0"], ids=ascii
)
@pytest.mark.parametrize(
    "url",
    ["disk:x", "disk:///x", "file:x", "memory://", "redis://h", "mongodb://h", "postgresql://h", "s3://b", "dynamodb://table"],
)  # fmt: skip
def test_white_space_around_a_url_and_control_characters_are_refused(url, odd, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"^the URL has white space around it, or a control character"):
        open_store(odd.format(url))
    if "\0" not in odd:
        monkeypatch.setenv("SATCHEL_URL", odd.format(url))
        with pytest.raises(ConfigurationError, match=r"remove it .*\(the URL is from SATCHEL_URL\)$"):
            open_store()


def test_a_space_within_a_path_and_an_encoded_line_end_are_meant(here):
    assert open_store("server://h/a b").made_of["table"] == "a b"
    assert open_store("server://h/a%0A").made_of["table"] == "a\n"


@pytest.mark.parametrize("url", ["file:/tmp/%FF%2f", "disk:///tmp/a%20%80b", "file:/tmp/\udcff%2f"])
def test_a_path_may_be_other_than_utf8(url):
    described = open_store(url).describe()
    assert open_store(str(described)).describe() == described
    assert str(described).isascii()


@pytest.mark.parametrize(
    "url",
    ["server://h?user=%FF", "server://%FFuser@h", "server://h\udcff", "memory:?wrap=prefix_keys(prefix=a%80)"],
)
def test_whatever_else_is_no_utf8_is_refused(url):
    with pytest.raises(ConfigurationError, match=r"is not UTF-8, percent-encoded$") as refusal:
        open_store(url)
    assert str(refusal.value).isascii()


@pytest.mark.parametrize("url", ["redis://h\udcff", "http://h/\udcff"])
def test_the_url_of_a_server_is_text(url):
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        open_store(url)


def test_an_at_sign_behind_the_question_mark_is_percent_encoded():
    assert open_store("server://h?user=me%40home").made_of["user"] == "me@home"
    assert str(open_store("whole://h?prefix=me%40home").describe()) == "whole://h?prefix=me%40home"
    with pytest.raises(ConfigurationError, match="there is an @ behind the \\? of the URL; percent-encode"):
        open_store("whole://h?prefix=me@home")


def test_a_database_of_a_cluster_may_be_0_in_a_url():
    for scheme in ("redis+cluster", "valkey+cluster"):
        assert str(open_store(f"{scheme}://h/0").describe()) == f"{scheme}://h/0"
        with pytest.raises(ConfigurationError, match=r"a cluster has .*database 0 alone"):
            open_store(f"{scheme}://h/1")


def test_names_of_secrets():
    hidden = ["password", "key", "keys", "api_key", "signing_key", "aws_secret_access_key", "aws_session_token"]
    hidden += ["passwd", "pwd", "apikey", "apiKey", "auth", "basic_auth", "bearer", "dsn", "connection_string"]
    hidden += ["credential", "credentials"]
    shown = ["key_env", "key_strategy", "max_key_bytes", "monkey", "host", "max_entries_per_collection", "prefix"]
    shown += ["author", "authority", "passthrough", "connections"]
    assert [name for name in hidden + shown if is_secret(name)] == hidden


def test_a_driver_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path):
    (tmp_path / "redis_store.py").write_text("import no_such_driver\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registered.STORES, "redis", "redis_store:RedisStore")
    with pytest.raises(MissingExtraError, match=r'no_such_driver.*pip install "satchel\[redis_store\]"') as caught:
        open_store("redis://localhost")
    assert isinstance(caught.value, ImportError)


def test_the_url_comes_from_the_environment_first(monkeypatch, here):
    (here / "satchel.toml").write_text('[satchel]\nurl = "null://"\n')
    monkeypatch.setenv("SATCHEL_URL", "memory://?max_bytes=7")
    assert str(open_store().describe()) == "memory://?max_bytes=7"
    for blank in ("", " ", "\n"):
        monkeypatch.setenv("SATCHEL_URL", blank)
        assert str(open_store().describe()) == "null://"


def test_the_file_gives_url_options_and_wrappers(here):
    (here / "satchel.toml").write_text(
        '[other]\nx = 1\n[satchel]\nurl = "memory://?max_bytes=7&wrap=statistics"\n'
        'max_entries_per_collection = 5\nwrap = ["ttl(default=60)"]\n'
    )
    line = "memory://?max_bytes=7&max_entries_per_collection=5&wrap=statistics&wrap=ttl(default=60)"
    assert str(open_store().describe()) == line
    assert str(open_store(wrap=["statistics"]).describe()) == f"{line}&wrap=statistics"
    for option in ("max_bytes", "max_entries_per_collection"):
        with pytest.raises(ConfigurationError, match=f"option '{option}' is given twice .the URL is from satchel.toml"):
            open_store(**{option: 6})


def test_an_option_of_the_file_is_not_one_of_its_url(here):
    (here / "satchel.toml").write_text('[satchel]\nurl = "memory://?max_bytes=7"\nmax_bytes = 8\n')
    with pytest.raises(ConfigurationError, match="option 'max_bytes' is given twice"):
        open_store()


def test_a_message_says_where_the_url_is_from(monkeypatch, here):
    monkeypatch.setenv("SATCHEL_URL", "memory://")
    with pytest.raises(
        ConfigurationError, match=r"unknown option of memory 'durability'.* \(the URL is from SATCHEL_URL"
    ):
        open_store(durability="full")
    with pytest.raises(ConfigurationError) as caught:
        open_store("memory://", durability="full")
    assert "SATCHEL_URL" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no store is configured: give a URL, set SATCHEL_URL, or write a URL to satchel.toml"),
        ("", r"must have a table \[satchel\] with url"),
        ("satchel = 5", r"must have a table \[satchel\] with url"),
        ("[satchel]\nurl = 5", r"must have a table \[satchel\] with url"),
        ("[satchel]\nurl = 'hunter2", r"^satchel.toml: (line 2, column 15|at its end): this is not valid TOML"),
        ("[satchel]\nurl = 'memory://'\nmax_byte = 5", "unknown option of memory 'max_byte'"),
        ("[satchel]\nurl = 'memory://'\nmax_bytes = 'x'", "must be a whole number \\(the URL is from satchel.toml"),
        ("[satchel]\nurl = 'memory://'\nwrap = 'ttl'", "wrap must be a list of str"),
        ("[satchel]\n\nurl = hunter2\n", "^satchel.toml: line 3, column 7: this is not valid TOML$"),
        ("[satchel]\nurl = 'hunter2\udcff'", "^satchel.toml: line 2 is not UTF-8; save the file as UTF-8$"),
    ],
)
def test_a_file_that_does_not_say_enough_is_refused(here, text, message):
    if text is not None:
        (here / "satchel.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_store()
    assert SECRET not in f"{caught.value} {caught.value.__context__!r} {vars(caught.value.__context__ or caught.value)}"


@pytest.mark.parametrize("beginning", ["\ufeff", "\ufeff\r\n", ""])
def test_a_file_may_begin_with_a_byte_order_mark(here, beginning):
    (here / "satchel.toml").write_bytes(f'{beginning}[satchel]\r\nurl = "memory://?max_bytes=7"\r\n'.encode())
    assert str(open_store().describe()) == "memory://?max_bytes=7"


async def test_a_url_opens_within_a_running_loop(here):
    async with open_store(f"disk://{here}/d?wrap=statistics") as store:
        await store.put("c", "k", 1)
        assert await store.get("c", "k") == 1


def test_importing_reads_no_file_and_imports_no_driver(here):
    (here / "satchel.toml").write_text("this is no toml")
    code = (
        "import sys, satchel.url;"
        "lazy = {'aiosqlite', 'importlib.metadata', 'satchel.stores.disk', 'satchel.wrappers'};"
        "print(sorted(lazy & sys.modules.keys()))"
    )
    environment = {**os.environ, "SATCHEL_URL": "wrong"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert ran.stdout.strip() == "[]"
