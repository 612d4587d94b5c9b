"""Blobs as a file system: what fsspec, pandas and pyarrow read and write through it."""

import contextlib
import subprocess
import sys

import fsspec
import pytest

from satchel import ConfigurationError, MemoryStore
from satchel.blobs import StoreBlobs
from satchel.errors import BlobChangedError
from satchel.integrations.fsspec import SatchelFileSystem


@pytest.fixture(autouse=True)
def registered():
    fsspec.register_implementation("satchel", SatchelFileSystem, clobber=True)


@pytest.fixture
def files():
    return SatchelFileSystem(blobs=StoreBlobs(MemoryStore()))


@pytest.fixture
def place(tmp_path):
    return {"blobs": f"file:{tmp_path}/data"}


def test_files_are_written_read_listed_and_removed(files):
    files.pipe({"a/1.txt": b"one", "a/b/2.txt": b"two", "top": b"top"})
    assert files.cat("a/1.txt") == b"one"
    assert files.cat_file("satchel://a/b/2.txt", start=1) == b"wo"
    assert files.ls("", detail=False) == ["a", "top"]
    assert [(item["name"], item["type"], item["size"]) for item in files.ls("a")] == [
        ("a/1.txt", "file", 3),
        ("a/b", "directory", 0),
    ]
    assert files.ls("top", detail=False) == ["top"]
    assert files.find("") == ["a/1.txt", "a/b/2.txt", "top"]
    assert files.find("a", withdirs=True) == ["a", "a/1.txt", "a/b", "a/b/2.txt"]
    assert files.find("a", detail=True)["a/1.txt"]["size"] == 3
    assert files.glob("a/**/*.txt") == ["a/1.txt", "a/b/2.txt"]
    assert (files.isdir("a"), files.isfile("a"), files.isfile("top"), files.exists("none")) == (
        True,
        False,
        True,
        False,
    )
    assert files.modified("top").tzinfo is not None
    files.cp("a", "copy", recursive=True)
    assert files.find("copy") == ["copy/1.txt", "copy/b/2.txt"]
    files.mv("top", "moved")
    assert files.cat("moved") == b"top"
    files.rm("a", recursive=True)
    assert files.find("a") == []
    files.rm_file("moved")
    for work in (files.info, files.ls, files.rm_file, files.cat_file):
        with pytest.raises(FileNotFoundError):
            work("moved")


def test_local_files_go_in_and_out(files, tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "a").write_bytes(b"a")
    (tmp_path / "in" / "sub" / "b").write_bytes(b"b")
    files.put(f"{tmp_path}/in/", "up", recursive=True)
    assert files.find("up") == ["up/a", "up/sub/b"]
    files.get("up/", f"{tmp_path}/out", recursive=True)
    assert (tmp_path / "out" / "sub" / "b").read_bytes() == b"b"


def test_what_a_block_writes_appears_at_its_end_and_not_when_it_raises(files):
    with files.open("k", "wb") as file:
        file.write(b"x" * 10_000_000)
        file.writelines([b"y", b"z"])
        assert file.tell() == 10_000_002
        assert not files.exists("k")
    assert files.size("k") == 10_000_002

    def half():
        with files.open("k", "wb") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert files.size("k") == 10_000_002
    abandoned = files.open("k", "wb")
    abandoned.write(b"half")
    del abandoned
    with files.open("k", "rb") as file:
        file.seek(-2, 2)
        assert file.read() == b"yz"
    with files.open("k", "r") as text:
        assert text.read(3) == "xxx"
    for mode in ("ab", "r+b"):
        with pytest.raises((NotImplementedError, ValueError)):
            files.open("k", mode)
    with pytest.raises(FileExistsError), files.open("k", "xb") as file:
        file.write(b"other")


def test_no_way_of_opening_takes_half_of_a_file_for_a_whole_one(files):
    def in_text():
        with files.open("k", "w", encoding="utf-16") as file:
            file.write("half")
            raise KeyError

    def by_fsspec():
        with fsspec.open("satchel://k", "w", blobs=files.blobs) as file:
            file.write("half")
            raise KeyError

    def by_a_context_manager():
        with contextlib.closing(files.open("k", "wb")) as file:
            file.write(b"half")
            raise KeyError

    for work in (in_text, by_fsspec, by_a_context_manager):
        with pytest.raises(KeyError):
            work()
        assert not files.exists("k"), work


def test_a_file_that_is_written_while_an_error_is_handled_is_stored(files):
    try:
        raise KeyError
    except KeyError:
        with fsspec.open("satchel://report", "w", blobs=files.blobs) as file:
            file.write("what went wrong")
    file = files.open("by hand", "wb")
    file.write(b"1")
    try:
        raise KeyError
    except KeyError:
        file.close()
    assert files.cat("report") == b"what went wrong"
    assert files.cat("by hand") == b"1"
    with files.open("text", "w", encoding="utf-16", newline="") as text:
        text.write("a\n")
    assert files.cat("text").decode("utf-16") == "a\n"


def test_a_transaction_writes_all_or_nothing(files):
    with files.transaction:
        with files.open("a", "wb") as file:
            file.write(b"1")
        assert not files.exists("a")
    assert files.cat("a") == b"1"

    def half():
        with files.transaction:
            with files.open("b", "wb") as file:
                file.write(b"1")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert not files.exists("b")


def test_a_reader_notices_that_a_blob_was_replaced(files):
    files.pipe_file("k", b"x" * 20_000_000)
    with files.open("k", "rb", block_size=1_000_000) as file:
        file.read(10)
        files.pipe_file("k", b"y" * 20_000_000)
        file.seek(15_000_000)
        with pytest.raises(BlobChangedError):
            file.read(10)


@pytest.mark.long
def test_pandas_reads_and_writes(place):
    import pandas as pd  # noqa: PLC0415  # it takes a second

    frame = pd.DataFrame({"name": ["Ada", "Grace"], "year": [1815, 1906]})
    frame.to_csv("satchel://people/all.csv", index=False, storage_options=place)
    assert pd.read_csv("satchel://people/all.csv", storage_options=place).equals(frame)
    frame.to_parquet("satchel://people/all.parquet", storage_options=place)
    assert pd.read_parquet("satchel://people/all.parquet", storage_options=place).equals(frame)


@pytest.mark.long
def test_pyarrow_reads_and_writes(files):
    import pyarrow as pa  # noqa: PLC0415  # it takes a second
    from pyarrow import parquet  # noqa: PLC0415  # the same

    table = pa.table({"n": list(range(100_000)), "part": [n % 3 for n in range(100_000)]})
    parquet.write_table(table, "one.parquet", filesystem=files)
    assert parquet.read_table("one.parquet", filesystem=files, columns=["n"]).num_rows == 100_000
    parquet.write_to_dataset(table, "parts", partition_cols=["part"], filesystem=files)
    assert sorted(files.ls("parts", detail=False)) == ["parts/part=0", "parts/part=1", "parts/part=2"]
    found = parquet.read_table("parts", filesystem=files, filters=[("part", "=", 1)])
    assert found.num_rows == 33_333


async def test_it_is_used_on_an_event_loop_of_the_callers():
    files = SatchelFileSystem("memory:", asynchronous=True)
    await files._pipe_file("k", b"1")
    assert await files._cat_file("k") == b"1"
    assert [item["name"] for item in await files._ls("")] == ["k"]


@pytest.mark.parametrize("blobs", [None, MemoryStore(), "nonsense"])
def test_what_is_neither_blobs_nor_their_url_is_refused(blobs):
    with pytest.raises(ConfigurationError):
        SatchelFileSystem(blobs)


@pytest.mark.long
def test_a_process_that_used_a_store_by_its_url_ends_in_silence(tmp_path):
    program = f"""
import fsspec
from satchel.integrations.fsspec import SatchelFileSystem
fsspec.register_implementation("satchel", SatchelFileSystem)
with fsspec.open("satchel://k", "wb", blobs="disk:{tmp_path}/data") as file:
    file.write(b"1")
with fsspec.open("satchel://k", "rb", blobs="disk:{tmp_path}/data") as file:
    assert file.read() == b"1"
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
