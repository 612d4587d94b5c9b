"""Every reader of JSON, TOML or MessagePack reports data that is not UTF-8, or that nests or counts too far."""

import httpx
import pytest

from satchel import ConfigurationError, FileTreeStore, IntegrityError, MemoryStore, copy_store, open_store
from satchel.caching.frames import unframed
from satchel.cli.entries import _meant
from satchel.cli.outcome import UsageError
from satchel.environment import Environment, InvalidSettingError
from satchel.integrations import hishel
from satchel.integrations.langgraph import checkpoints
from satchel.stores.http.errors import refusal_in

DEEP = b"[" * 100_000
INPUTS = pytest.mark.parametrize(
    "data", [DEEP, b'{"a":' * 100_000, b'"\xff"', b'{"a": "\xff"}', b"9" * 5000], ids=range(5)
)


@INPUTS
async def test_a_value_on_the_command_line(data):
    with pytest.raises(UsageError, match="not JSON"):
        _meant(data, "json")


@INPUTS
@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_settings_file_of_a_store(tmp_path, suffix, data):
    path = tmp_path / f"satchel.{suffix}"
    path.write_bytes(b"a = " + data if suffix == "toml" else data)
    with pytest.raises(ConfigurationError):
        open_store(path)


def test_a_setting_with_a_type():
    with pytest.raises(InvalidSettingError):
        Environment({"A": DEEP.decode()}, schema={"A": list[int]})["A"]


@INPUTS
async def test_the_layout_of_a_tree(tmp_path, data):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k", 1)
    (recorded,) = tmp_path.rglob("format.json")
    recorded.write_bytes(data)
    with pytest.raises(IntegrityError, match="restore it"):
        async with FileTreeStore(tmp_path) as store:
            await store.get("c", "k")


@INPUTS
async def test_the_state_of_a_copy(tmp_path, data):
    path = tmp_path / "state"
    path.write_bytes(data + b"\n")
    with pytest.raises(ConfigurationError, match="is not the state of a copy"):
        await copy_store(MemoryStore(), MemoryStore(), state=path)


def test_the_tags_of_a_cached_value():
    tags = b'{"a":"\xff"}'
    assert unframed(b"\x01" + len(tags).to_bytes(4, "big") + tags) is None


@INPUTS
def test_the_refusal_of_a_server(data):
    assert refusal_in(httpx.Response(502, content=data)).message == "the server answered with status 502"


@pytest.mark.parametrize("wire", [b"\x91" * 100_000, b"\xa1\xff", 1], ids=["deep", "text", "type"])
def test_the_entries_of_integrations(wire):
    with pytest.raises(IntegrityError):
        checkpoints._decode(wire, str)
    with pytest.raises(IntegrityError):
        hishel._decode(wire)


async def test_a_file_with_an_empty_name_breaks_no_listing(tmp_path):
    async with FileTreeStore(tmp_path) as store:
        await store.put("c", "k" * 300, 1)
        await store.put("c", "other", 2)
    (file,) = tmp_path.rglob("*%-*.json")
    file.write_bytes(file.read_bytes().replace(b'"' + b"k" * 300 + b'"', b'""'))
    async with FileTreeStore(tmp_path) as store:
        assert [key async for key in store.keys("c")] == ["other"]
