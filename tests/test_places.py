"""Which directory a store means, whatever comes between making it and using it."""

import asyncio
from pathlib import Path

import pytest

from satchel import ConfigurationError, open_store
from satchel.stores.disk import DiskStore
from satchel.stores.filetree import FileTreeStore
from satchel.stores.sql import SQLStore


@pytest.mark.parametrize("kind", [DiskStore, FileTreeStore])
@pytest.mark.parametrize("given", ["~/.app/data", Path("~/.app/data"), "relative"])
def test_a_place_is_settled_when_the_store_is_made(
    kind: type[DiskStore | FileTreeStore], given: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = kind(given)
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    asyncio.run(store.put("c", "k", 1))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / ("relative" if given == "relative" else ".app/data")).is_dir()
    assert "~" not in repr(store)


@pytest.mark.parametrize("kind", [DiskStore, FileTreeStore])
def test_a_directory_named_like_a_home_can_be_given(
    kind: type[DiskStore | FileTreeStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert repr(str(tmp_path / "~")) in repr(kind("./~"))


@pytest.mark.parametrize("scheme", ["disk", "file"])
def test_a_home_in_a_url_is_the_users(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(tmp_path / "x") in repr(open_store(f"{scheme}:~/x"))


@pytest.mark.parametrize("kind", [DiskStore, FileTreeStore])
def test_the_home_of_an_unknown_user_is_refused(kind: type[DiskStore | FileTreeStore]) -> None:
    with pytest.raises(ConfigurationError, match="directory begins with a user's home that is not known"):
        kind("~nobody-of-this-name/data")


@pytest.mark.parametrize("given", ["~/data.sqlite3", "data.sqlite3"])
def test_a_file_of_sqlite_is_settled_when_the_store_is_made(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = SQLStore(url=f"sqlite+aiosqlite:///{given}")
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    asyncio.run(store.put("c", "k", 1))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "data.sqlite3").is_file()
