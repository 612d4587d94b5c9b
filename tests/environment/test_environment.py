"""Sources and their order, references, snapshots, changes."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import ConfigurationError, MemoryStore
from satchel.environment import (
    Environment,
    InvalidSettingError,
    MissingSettingError,
    Mode,
    SettingCycleError,
    SettingError,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".env"


def read(path, text, **options):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Environment(path, **options)


def test_a_later_source_wins(path, monkeypatch):
    monkeypatch.setenv("C", "system")
    path.write_text("A=file\nB=file\nC=file\n")
    env = Environment(path, {"B": "mapping", "C": "mapping"}, os.environ)
    assert (env["A"], env["B"], env["C"]) == ("file", "mapping", "system")


def test_the_system_is_read_once_and_taken_as_it_is(monkeypatch):
    monkeypatch.setenv("PASSWORD_LIKE", "a${b$$c")
    env = Environment(os.environ)
    monkeypatch.setenv("PASSWORD_LIKE", "later")
    assert env["PASSWORD_LIKE"] == "a${b$$c"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=1", "1"),
        ("export A=1", "1"),
        (b"\xef\xbb\xbfA=1", "1"),
        ("A='one\ntwo'\n", "one\ntwo"),
        ('A="one\\ntwo"', "one\ntwo"),
        ("A=one # two", "one"),
        ("A='one # two'", "one # two"),
        ("A=", ""),
        ("# nothing\n\nA = 1 \r\n", "1"),
        ("A=1\nA=2", "2"),
        ("A=ä", "ä"),
    ],
)
def test_env_files(path, text, value):
    assert read(path, text)["A"] == value


@pytest.mark.parametrize("text", ["A", "A='hidden", b"A=\xff", "=1"])
def test_a_line_that_is_no_variable_is_refused_without_its_text(path, text):
    with pytest.raises(InvalidSettingError, match=r"\.env") as caught:
        read(path, text)
    assert "hidden" not in str(caught.value)


def test_a_missing_env_file_is_empty_and_told(path):
    env = Environment(path)
    assert len(env) == 0
    assert "absent" in repr(env)


def test_what_is_no_source_is_refused():
    with pytest.raises(ConfigurationError, match="a source must be"):
        Environment(7)
    with pytest.raises(InvalidSettingError, match="A must be a text"):
        Environment({"A": object()})
    with pytest.raises(InvalidSettingError, match="is named by"):
        Environment({"A=B": "1"})
    with pytest.raises(ConfigurationError, match="secrets must be"):
        Environment(secrets="*_KEY")
    with pytest.raises(ConfigurationError, match="parent"):
        Environment(parent={})


def test_references(path):
    env = read(path, "HOST=h\nURL=http://${HOST}:${PORT:-80}/\nCOST=5$$\nPLAIN=$HOST\nEMPTY=\nE=${EMPTY:-e}\n")
    assert env["URL"] == "http://h:80/"
    assert (env["COST"], env["PLAIN"], env["E"]) == ("5$", "$HOST", "e")
    assert Environment(path, interpolate=False)["URL"] == "http://${HOST}:${PORT:-80}/"


def test_a_reference_is_that_of_the_mode_and_of_later_sources():
    env = Environment({"URL": "x/${HOST}", "HOST": "a", "DEV_HOST": "b"}, {"HOST": "c"})
    assert env["URL"] == "x/c"
    env = Environment({"URL": "x/${HOST}", "HOST": "a", "DEV_HOST": "b"}, mode=Mode.DEV)
    assert env["URL"] == "x/b"


@pytest.mark.parametrize(
    ("variables", "names"), [({"A": "${A}"}, "A -> A"), ({"A": "${B}", "B": "${C}", "C": "${B}"}, "B -> C -> B")]
)
def test_a_circle_is_refused_with_its_names(variables, names):
    with pytest.raises(SettingCycleError, match=names):
        Environment(variables)["A"]


def test_references_that_lead_nowhere_are_refused():
    with pytest.raises(InvalidSettingError, match="A refers to B, which is not set"):
        Environment({"A": "${B}"})["A"]
    with pytest.raises(InvalidSettingError, match="write"):
        Environment({"A": "${B"})["A"]
    with pytest.raises(InvalidSettingError, match="longer than"):
        Environment({"A0": "x" * 1000, **{f"A{n}": f"${{A{n - 1}}}" * 9 for n in range(1, 20)}})["A19"]
    with pytest.raises(InvalidSettingError, match="more than 100"):
        Environment({"A0": "x", **{f"A{n}": f"${{A{n - 1}}}" for n in range(1, 5000)}})["A4999"]


def test_a_mapping_of_variables():
    env = Environment({"A": 1, "B": True, "C": None, "D": [1, 2], "E": 1.5})
    assert dict(env) == {"A": "1", "B": "true", "C": "", "D": "[1, 2]", "E": "1.5"}
    assert "A" in env
    assert "Z" not in env
    assert (len(env), list(env), env.get("Z"), env.get("Z", 7)) == (5, ["A", "B", "C", "D", "E"], None, 7)
    with pytest.raises(MissingSettingError, match="Z is not set; looked in a mapping"):
        env["Z"]
    with pytest.raises(KeyError):
        env["Z"]


def test_an_environment_is_a_source_and_a_parent():
    parent = Environment({"A": "1", "B": "${A}2"}, schema={"A": int})
    child = Environment({"A": "5"}, parent=parent)
    assert (child["A"], child["B"], len(child)) == (5, "52", 2)
    assert child.explain("B").source == "a mapping"
    child.delete("A")
    assert child["A"] == 1
    assert Environment(parent, {"C": "3"})["B"] == "12"


def test_files_of_other_formats(tmp_path):
    tree = {"db": {"host": "h", "port": 1, "ssl": True}, "names": ["a"], "none": None}
    (tmp_path / "a.json").write_text(json.dumps(tree))
    (tmp_path / "a.toml").write_text('names = ["a"]\n[db]\nhost = "h"\nport = 1\nssl = true\n')
    (tmp_path / "a.ini").write_text("[db]\nhost = h\nport = 1\nssl = true\npercent = 50%\n")
    expected = {"DB_HOST": "h", "DB_PORT": "1", "DB_SSL": "true", "NAMES": '["a"]'}
    assert dict(Environment.from_json(tmp_path / "a.json")) == {**expected, "NONE": ""}
    assert dict(Environment.from_dict(tree)) == {**expected, "NONE": ""}
    assert dict(Environment.from_config(tmp_path / "a.toml")) == expected
    assert Environment.from_config(tmp_path / "a.ini")["DB_PERCENT"] == "50%"
    assert Environment.from_json(tmp_path / "a.json", schema={"DB_PORT": int})["DB_PORT"] == 1


@pytest.mark.parametrize("name", ["absent.json", "absent.toml", "bad.json", "bad.toml", "bad.ini", "list.json"])
def test_files_that_cannot_be_read_are_refused_by_name(tmp_path, name):
    for bad in ("bad.json", "bad.toml", "bad.ini"):
        (tmp_path / bad).write_text("hidden value")
    (tmp_path / "list.json").write_text("[1]")
    make = Environment.from_json if name.endswith("json") else Environment.from_config
    with pytest.raises(InvalidSettingError, match=name) as caught:
        make(tmp_path / name)
    assert "hidden" not in str(caught.value)


def test_two_settings_of_one_name_are_refused():
    with pytest.raises(InvalidSettingError, match="both be called DB_HOST"):
        Environment.from_dict({"db": {"host": "a"}, "db_host": "b"})


def test_set_and_delete():
    env = Environment({"A": "1", "B": "2"})
    env.set({"A": 3, "C": "4"})
    assert dict(env) == {"A": "3", "B": "2", "C": "4"}
    assert env.delete("A") is True
    assert env.delete("A") is False
    assert "A" not in env
    with pytest.raises(InvalidSettingError):
        env.set({"D": "1", "E": object()})
    assert "D" not in env


def test_the_system_follows_where_asked_and_comes_back(monkeypatch):
    monkeypatch.setenv("SATCHEL_A", "before")
    monkeypatch.delenv("SATCHEL_B", raising=False)
    env = Environment()
    start = env.snapshot()
    env.set({"SATCHEL_A": "1", "SATCHEL_B": "2"}, system_env=True)
    assert (os.environ["SATCHEL_A"], os.environ["SATCHEL_B"]) == ("1", "2")
    middle = env.snapshot()
    env.delete("SATCHEL_B")
    assert "SATCHEL_B" not in os.environ
    env.rollback(middle)
    assert os.environ["SATCHEL_B"] == "2"
    env.rollback(start)
    assert os.environ["SATCHEL_A"] == "before"
    assert "SATCHEL_B" not in os.environ
    assert dict(env) == {}


def test_a_snapshot_holds_everything():
    env = Environment({"A": "1", "DEV_A": "2"}, mode=Mode.DEV)
    kept = env.snapshot()
    env.set({"A": "3"})
    env.mark_as_mode_var("A", Mode.PROD)
    assert "A" not in env
    env.rollback(kept)
    assert (env["A"], env.mode, env.mode_mappings, env.snapshots) == ("2", Mode.DEV, {}, (kept,))
    with pytest.raises(ConfigurationError, match="not one of this environment"):
        Environment().rollback(kept)


NAMES = st.from_regex(r"[A-Z][A-Z0-9_.]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@given(before=st.dictionaries(NAMES, TEXTS), later=st.dictionaries(NAMES, TEXTS), mode=st.sampled_from([None, *Mode]))
def test_what_is_written_is_read_back_equal(tmp_path_factory, before, later, mode):
    path = tmp_path_factory.mktemp("written") / ".env"
    env = Environment(before, later, mode=mode, interpolate=False)
    env.write_env(path)
    assert Environment(path, mode=mode).variables == env.variables
    more = Environment({"MORE": "$1 'x' \\ \r\n"}, interpolate=False)
    more.write_env(path, append=True)
    assert Environment(path, mode=mode).variables == {**env.variables, **more.variables}


def test_a_file_with_secrets_is_the_owners_alone_and_stays_whole(path):
    Environment({"API_KEY": "x"}).write_env(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(InvalidSettingError, match="nothing was written"):
        Environment({"A B": "1", "C": "2"}).write_env(path)
    assert Environment(path)["API_KEY"] == "x"
    Environment({"C": "2"}).write_env(path, append=True)
    assert dict(Environment(path)) == {"API_KEY": "x", "C": "2"}
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == [".env"]


async def test_to_a_collection_and_back():
    async with MemoryStore() as store:
        collection = store.collection("settings")
        env = Environment({"A": "5$$", "B": "${A}"}, {"API_KEY": "secret"})
        await env.to_collection(collection)
        again = await Environment.from_collection(collection, schema={"N": int})
        assert again.variables == env.variables
        await collection.put("N", 7)
        assert (await Environment.from_collection(collection, schema={"N": int}))["N"] == 7
        await collection.put("N", {"a": 1})
        with pytest.raises(InvalidSettingError, match="N must be"):
            await Environment.from_collection(collection)


def test_errors_are_one_family():
    assert all(issubclass(kind, SettingError) for kind in (InvalidSettingError, MissingSettingError, SettingCycleError))


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("json", "[" * 100_000),
        ("json", '{"a":' * 100_000),
        ("json", '{"a":' * 500 + "1" + "}" * 500),
        ("toml", "a = " + "[" * 100_000),
        ("toml", ".".join(["a"] * 3000) + " = 1"),
        ("toml", "[" + ".".join(["a"] * 500) + "]\nb = 1"),
        ("toml", "a = " + "9" * 5000),
    ],
    ids=["array", "object", "names", "toml-array", "toml-key", "toml-table", "digits"],
)
def test_a_file_that_nests_or_counts_too_far_is_refused(tmp_path, suffix, text):
    path = tmp_path / f"settings.{suffix}"
    path.write_text(text)
    read = Environment.from_json if suffix == "json" else Environment.from_config
    with pytest.raises(InvalidSettingError):
        read(path)


def test_a_mapping_that_holds_itself_is_refused():
    tree = {}
    tree["again"] = tree
    with pytest.raises(InvalidSettingError, match="more than 100 levels"):
        Environment.from_dict(tree)
    endless = []
    endless.append(endless)
    with pytest.raises(InvalidSettingError, match="A must be a text"):
        Environment({"A": endless})


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("schema", lambda: Environment({}, schema=7)),
        ("schema", lambda: Environment({}, schema="PORT")),
        ("secrets", lambda: Environment({}, secrets=None)),
        ("variables", lambda: Environment({}).set(None)),
        ("tree", lambda: Environment.from_dict(None)),
        ("tree", lambda: Environment.from_dict(["A"])),
    ],
)
def test_arguments_of_another_kind_are_refused_by_name(name, call):
    with pytest.raises(ConfigurationError, match=f"^{name} must be"):
        call()


@pytest.mark.parametrize("place", ["missing/file.env", "directory"])
def test_a_file_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "directory").mkdir()
    with pytest.raises(InvalidSettingError, match=f"{place} cannot be written: "):
        Environment({"A": "1"}).write_env(tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]
