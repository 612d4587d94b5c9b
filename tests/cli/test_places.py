import pytest

from satchel import __version__

SECRET = "hunter2secret"


def test_a_name_from_the_file_is_a_store(satchel, tmp_path, monkeypatch):
    monkeypatch.delenv("SATCHEL_URL")
    (tmp_path / "satchel.toml").write_text(
        '[satchel]\nurl = "disk:one"\n'
        '[stores.two]\nurl = "disk:two"\nmax_size = 100000000\nwrap = ["ttl(default=60)"]\n'
    )
    assert satchel("put", "c", "k", "1").code == 0
    assert satchel("copy", "disk:one", "two").code == 0
    assert satchel("get", "c", "k", "-s", "two").out == b"1\n"
    assert (
        satchel("describe", "-s", "two").lines[0] == "url             disk:two?max_size=100000000&wrap=ttl(default=60)"
    )


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        ("", "nosuch", "unknown store. Known: none. Give a URL"),
        ('[stores.prod]\nurl = "memory://"', "prd", "unknown store; did you mean 'prod'? Known: prod"),
        ("[stores.prod]\nurl = 5", "prod", 'satchel.toml must have a table [stores.prod] with url = "..."'),
        ("[stores]\nprod = 5", "prod", "write each store as a table"),
        (f'stores = "{SECRET}', "prod", "satchel.toml is not valid TOML in UTF-8"),
        ("", None, "no store is configured"),
    ],
)
def test_a_store_that_is_not_known_is_exit_code_2_and_one_line(satchel, tmp_path, monkeypatch, content, place, said):
    monkeypatch.delenv("SATCHEL_URL")
    if content:
        (tmp_path / "satchel.toml").write_text(content)
    done = satchel("ls", *([] if place is None else ["-s", place]))
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert said in done.err
    assert SECRET not in done.err


URLS = [
    f"redis://user:{SECRET}@127.0.0.1:1/0",
    f"redis://user:a@{SECRET}@127.0.0.1:1/0",
    f"reddis://user:{SECRET}@host",
    f"redis://user:{SECRET}@host:notaport/0",
    f"redis://host?pasword={SECRET}",
    f"postgresql://user:{SECRET}@127.0.0.1:1/base",
    f"memory://?wrap=encryption(key={SECRET})",
    f"disk://user:{SECRET}@/x",
]


@pytest.mark.long
@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("command", ["ls", "get", "copy", "doctor", "export", "misplaced", "option", "environment"])
def test_no_secret_of_a_url_is_shown(satchel, monkeypatch, url, command):
    arguments = {
        "ls": ("ls", "-s", url),
        "get": ("get", "c", "k", f"--store={url}"),
        "copy": ("copy", "memory://", url),
        "doctor": ("doctor", "-s", url),
        "export": ("export", "-o", "x", "-s", url),
        "misplaced": (url, "ls"),
        "option": ("ls", f"--stor={url}"),
        "environment": ("ls",),
    }[command]
    if command == "environment":
        monkeypatch.setenv("SATCHEL_URL", url)
    done = satchel(*arguments)
    assert done.code in (2, 3)
    assert SECRET not in done.err + done.out.decode()
    assert command == "doctor" or done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nosuch",), "No such command 'nosuch'"),
        (("get",), "Missing argument 'COLLECTION'"),
        (("get", "c", "k", "--nosuch"), "No such option: --nosuch"),
        (("copy", "memory://", "null://", "--overwrite", "sometimes"), "'never', 'newer', 'always'"),
        (("ls", "c", "--limit", "0"), "Invalid value for '--limit'"),
        (("ls", "c", "d"), "unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_and_one_line(satchel, arguments, said):
    done = satchel(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1)
    assert said in done.err
    assert done.err.endswith("--help shows what there is)\n")


def test_it_tells_its_version(satchel):
    done = satchel("--version")
    assert (done.code, done.out.decode(), done.err) == (0, f"satchel {__version__}\n", "")
