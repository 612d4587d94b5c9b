import asyncio
import json
import subprocess
import sys
import tracemalloc
from uuid import uuid4

import pytest

from satchel import (
    Capability,
    ConfigurationError,
    DiskStore,
    InvalidKeyError,
    MemoryStore,
    StoreUnavailableError,
    UnsupportedOperationError,
    check_stores,
    copy_store,
    open_store,
)
from satchel.testing import FakeClock, FlakyStore
from satchel.wrappers import CompressionWrapper, PrefixKeysWrapper, ReadOnlyWrapper, StatisticsWrapper
from tests.project.checkout import ROOT
from tests.servers import server_url

VALUES = {
    "none": None,
    "true": True,
    "one": 1,
    "half": 0.5,
    "text": "é",
    "list": [1, [2.0]],
    "bytes": b"\0\xff",
    "0": 0,
}


async def filled(store, count=0, collection="c"):
    await store.put_many(collection, VALUES)
    await store.put_many(collection, {f"n{number}": {"number": number} for number in range(count)})
    return store


async def everything(store):
    return {
        name: await store.get_many(name, [key async for key in store.keys(name)]) async for name in store.collections()
    }


async def differences(*args, **kwargs):
    found = [difference async for difference in check_stores(*args, **kwargs)]
    return sorted((difference.kind, difference.collection, difference.key) for difference in found)


TARGETS = {
    "memory": lambda _place, _name: "memory://",
    "disk": lambda place, _name: f"disk://{place}/target",
    "filetree": lambda place, _name: f"file://{place}/target",
    "redis": lambda _place, name: f"{server_url('redis')}?prefix={name}",
    "postgresql": lambda _place, name: f"{server_url('postgresql')}?table_name=t{name}",
    "mongodb": lambda _place, name: f"{server_url('mongodb')}?coll_name={name}",
    "nats": lambda _place, name: f"{server_url('nats')}/{name}",
}
EMBEDDED = ("memory", "disk", "filetree")


@pytest.fixture(
    params=[pytest.param(name, marks=() if name in EMBEDDED else pytest.mark.server(name)) for name in TARGETS]
)
async def target(request, tmp_path):
    async with open_store(TARGETS[request.param](tmp_path, uuid4().hex)) as store:
        yield store
        await store.destroy()


@pytest.mark.long
@pytest.mark.parametrize("overwrite", ["never", "newer", "always"])
async def test_everything_arrives_as_it_is(target, overwrite):
    async with MemoryStore() as source:
        await filled(source, 1200)
        await source.put("c", "brief", 1, ttl=100)
        await source.put("d/é", "../x", [1], ttl=3600.5)
        report = await copy_store(source, target, overwrite=overwrite, verify=True)
        assert (report.copied, report.skipped, report.failed, report.failures) == (1210, 0, 0, ())
        assert report.bytes > 1200 * 10
        assert await everything(target) == await everything(source)
        assert await differences(source, target) == []
        for name, key in (("c", "brief"), ("d/é", "../x")):
            one, other = await source.get_entry(name, key), await target.get_entry(name, key)
            assert abs((one.expires_at - other.expires_at).total_seconds()) < 0.01
        again = await copy_store(source, target)
        assert (again.copied, again.skipped) == (0, 1210)


async def test_what_is_there_stays_or_is_replaced():
    async def copied(overwrite, dry_run):
        clock = FakeClock()
        async with MemoryStore(clock=clock) as source, MemoryStore(clock=clock) as target:
            await source.put("c", "old", "source")
            clock.advance(1)
            await target.put_many("c", {"old": "target", "new": "target"})
            clock.advance(1)
            await source.put("c", "new", "source", ttl=50)
            report = await copy_store(source, target, overwrite=overwrite, dry_run=dry_run)
            return (report.copied, report.skipped), await target.get_many("c", ["old", "new"])

    kept = {"old": "target", "new": "target"}
    for overwrite, counts, values in (
        ("never", (0, 2), kept),
        ("newer", (1, 1), {"old": "target", "new": "source"}),
        ("always", (2, 0), {"old": "source", "new": "source"}),
    ):
        assert await copied(overwrite, dry_run=False) == (counts, values)
        assert await copied(overwrite, dry_run=True) == (counts, kept)


async def test_a_choice_of_keys_and_collections():
    async with MemoryStore() as source:
        await source.put_many("a", dict.fromkeys(["eu/1", "eu/x/2", "us/1", "eu/secret"], 1))
        await source.put("b", "eu/1", 1)

        async def chosen(**options):
            async with MemoryStore() as target:
                await copy_store(source, target, **options)
                assert await differences(source, target, **options) == []
                return {name: sorted(values) for name, values in (await everything(target)).items()}

        assert await chosen(collections=["b"]) == {"b": ["eu/1"]}
        assert await chosen(collections=["a"], prefix="eu/", exclude="eu/s") == {"a": ["eu/1", "eu/x/2"]}
        assert await chosen(glob="*/1") == {"a": ["eu/1", "us/1"], "b": ["eu/1"]}
        assert await chosen(collections=["a"], glob="eu/**") == {"a": ["eu/1", "eu/secret", "eu/x/2"]}
        assert await chosen(collections=["missing"]) == {}


async def test_one_failed_key_stops_nothing():
    async with MemoryStore() as source, MemoryStore() as inner, PrefixKeysWrapper(inner, prefix="p" * 2000) as target:
        await filled(source, 600)
        await source.put("c", "k" * 3000, 1)
        for overwrite in ("always", "never"):
            report = await copy_store(source, target, overwrite=overwrite)
            assert (report.copied + report.skipped, report.failed) == (608, 1)
            (failure,) = report.failures
            assert failure.collection, failure.key == ("c", "k" * 3000)
            assert isinstance(failure.error, InvalidKeyError)


async def test_an_entry_that_cannot_be_read_is_one_failure(tmp_path):
    async with open_store(f"file://{tmp_path}") as source, MemoryStore() as target:
        await filled(source)
        (tmp_path / "c" / "one.json").write_text("{")
        report = await copy_store(source, target)
        assert (report.copied, [failure.key for failure in report.failures]) == (7, ["one"])
        assert await differences(source, target) == [("unreadable", "c", "one")]


@pytest.mark.parametrize("which", ["source", "target"])
async def test_a_store_that_goes_away_ends_the_copy_and_the_next_goes_on(which, tmp_path):
    async with FlakyStore() as source, FlakyStore() as target:
        await filled(source, 500)
        failing = source if which == "source" else target

        def fail_from_now_on(report):
            if report.copied == 32:
                failing.fail_next(10_000)

        with pytest.raises(StoreUnavailableError):
            await copy_store(source, target, state=tmp_path / "state", on_progress=fail_from_now_on)
        failing._failures.clear()
        report = await copy_store(source, target, state=tmp_path / "state")
        assert (report.copied, report.skipped, report.failed) == (508 - 32, 32, 0)
        assert not (tmp_path / "state").exists()


async def test_failed_keys_alone_are_tried_again(tmp_path):
    async with MemoryStore() as source, PrefixKeysWrapper(MemoryStore(), prefix="p" * 4093) as target:
        await filled(source, 100)
        await source.put("d", "k", 1)
        expected = len([key for key in (await everything(source))["c"] if len(key) <= target.max_key_bytes]) + 1
        assert 1 < expected < 109
        for copied, skipped in ((expected, 0), (0, expected)):
            report = await copy_store(source, target, state=tmp_path / "state")
            assert (report.copied, report.failed) == (copied, 109 - expected)
            assert report.skipped in {skipped, skipped - 1}  # a collection that is done is not looked at again


@pytest.mark.long
@pytest.mark.parametrize("kind", ["disk", pytest.param("redis", marks=pytest.mark.server("redis"))])
async def test_a_killed_copy_is_finished_without_loss_or_doubling(kind, tmp_path):
    target_url = f"disk://{tmp_path}/target" if kind == "disk" else f"{server_url('redis')}?prefix={uuid4().hex}"
    source_url, state = f"disk://{tmp_path}/source", tmp_path / "state"
    async with open_store(source_url) as source:
        await filled(source, 20_000)
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.copying_worker", source_url, target_url, state, cwd=ROOT, stdout=subprocess.PIPE
    )
    copied = 0
    while copied < 3000:
        line = await worker.stdout.readline()
        assert line
        copied = int(line)
    worker.kill()
    await worker.wait()
    noted = sum(len(json.loads(line).get("keys", [])) for line in whole_lines(state))
    assert 3000 <= noted < 20_008
    async with open_store(source_url) as source, open_store(target_url) as target:
        gone = next(json.loads(line)["keys"][0] for line in whole_lines(state) if b"keys" in line)
        await target.delete("c", gone)  # the target is in use already: what was copied and removed does not come back
        report = await copy_store(source, target, state=state, overwrite="never")
        assert (report.copied + report.skipped, report.failed) == (20_008, 0)
        assert noted <= report.skipped <= noted + 500  # a batch may have been written that was not noted any more
        assert await differences(source, target) == [("missing", "c", gone)]
        await target.destroy()
    assert not state.exists()


def whole_lines(path):
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


async def test_a_torn_line_is_done_again(tmp_path):
    async with MemoryStore() as source, MemoryStore() as target:
        await filled(source)
        state = tmp_path / "state"
        with pytest.raises(ZeroDivisionError):
            await copy_store(source, target, state=state, on_progress=lambda report: 1 / 0)
        lines = whole_lines(state)
        state.write_bytes(lines[0] + lines[1][:-20])
        report = await copy_store(source, target, state=state)
        assert (report.copied, report.skipped) == (0, 8)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"hello", "line 1: this is not the state of a copy"),
        (b"[]\n", "line 1: this is not the state of a copy"),
        (b'{"satchel-copy":2}\n', "line 1: this is not the state of a copy"),
        (b'{"satchel-copy":1,"source":"redis://a"}\n', "another source"),
        (b"{header}hello\n", "line 2: this is not a line"),
        (b'{header}{"collection":"c","keys":[1]}\n', "line 2: this is not a line"),
        (b'{header}\xff\n{"collection":"c","keys":["a"]}\n', "line 2: this is not a line"),
    ],
)
async def test_a_file_that_is_no_state_is_refused_and_left(content, what, tmp_path):
    async with MemoryStore() as source, MemoryStore() as target:
        await filled(source)
        state = tmp_path / "state"
        with pytest.raises(ZeroDivisionError):
            await copy_store(source, target, state=state, on_progress=lambda report: 1 / 0)
        await target.destroy()
        content = content.replace(b"{header}", whole_lines(state)[0])
        state.write_bytes(content)
        with pytest.raises(ConfigurationError, match=what):
            await copy_store(source, target, state=state)
        assert state.read_bytes() == content
        assert await everything(target) == {}


async def test_a_state_that_cannot_be_written_is_refused_before_the_copy(tmp_path):
    async with MemoryStore() as source, MemoryStore() as target:
        await filled(source)
        for place in (tmp_path, tmp_path / "missing" / "state"):
            with pytest.raises(ConfigurationError, match="cannot be read and written"):
                await copy_store(source, target, state=place)
        assert await everything(target) == {}


async def test_a_copy_onto_itself_is_refused(tmp_path):
    async with MemoryStore() as store:
        await filled(store)
        with pytest.raises(ConfigurationError, match="same store"):
            await copy_store(store, store)
        for same in (ReadOnlyWrapper(store), CompressionWrapper(store)):
            with pytest.raises(ConfigurationError, match="same store"):
                await copy_store(same, store, overwrite="always")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    async with open_store(f"disk://{tmp_path}/real") as one, open_store(f"disk://{tmp_path}/link") as other:
        await filled(one)
        for dry_run in (True, False):
            with pytest.raises(ConfigurationError, match="same store"):
                await copy_store(one, other, overwrite="newer", dry_run=dry_run)


async def test_parts_of_one_store_can_be_copied_to_another_part():
    async with MemoryStore() as store:
        await filled(PrefixKeysWrapper(store, prefix="a"))
        source, target = PrefixKeysWrapper(store, prefix="a"), PrefixKeysWrapper(store, prefix="b")
        assert (await copy_store(source, target)).copied == 8
        assert await target.get("c", "text") == "é"


async def test_what_is_wrong_is_refused_before_anything_is_read():
    async with MemoryStore() as source, MemoryStore() as target:
        for options in (
            {"overwrite": "sometimes"},
            {"overwrite": None},
            {"collections": "users"},
            {"collections": [""]},
            {"prefix": 1},
            {"glob": ""},
            {"exclude": 5},
            {"verify": "no"},
            {"dry_run": 1},
            {"on_progress": 5},
            {"on_progress": asyncio.sleep},
        ):
            with pytest.raises((ConfigurationError, InvalidKeyError)):
                await copy_store(source, target, **options)
        for wrong in (None, MemoryStore, "memory://"):
            with pytest.raises(ConfigurationError):
                await copy_store(source, wrong)
            with pytest.raises(ConfigurationError):
                await copy_store(wrong, target)
            with pytest.raises(ConfigurationError):
                check_stores(wrong, target)
        with pytest.raises(ConfigurationError):
            check_stores(source, target, glob="")


async def test_what_a_store_lacks_is_named():
    class Unlisted(MemoryStore):
        _keys = None

    class Unconditional(MemoryStore):
        _put_if = None

    async with Unlisted() as unlisted, Unconditional() as unconditional, MemoryStore() as store:
        with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
            await copy_store(unlisted, store)
        with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
            check_stores(store, unlisted)
        assert Capability.CONDITIONAL not in unconditional.capabilities
        with pytest.raises(UnsupportedOperationError, match="CONDITIONAL"):
            await copy_store(store, unconditional)
        assert (await copy_store(await filled(store), unconditional, overwrite="always")).copied == 8


async def test_a_store_that_cannot_be_reached_is_an_error_before_the_copy(tmp_path):
    async with MemoryStore() as source, FlakyStore() as target:
        target.fail_next(operation="ping")
        with pytest.raises(StoreUnavailableError):
            await copy_store(await filled(source), target, state=tmp_path / "state")
        assert not (tmp_path / "state").exists()


async def test_a_check_names_every_difference():
    clock = FakeClock()
    async with MemoryStore(clock=clock) as first, MemoryStore(clock=clock) as second:
        await filled(first, 50)
        await copy_store(first, second)
        assert await differences(first, second) == []
        await first.put("c", "missing", 1)
        await second.put("c", "extra", 1)
        await second.put("only", "here", 1)
        await second.put("c", "one", 1.0)
        await second.put("c", "true", 1)
        await second.put("c", "list", [1, [2]])
        await second.put("c", "text", "é", ttl=100)
        await first.put("c", "n1", {"number": 1}, ttl=100)
        await second.put("c", "n1", {"number": 1}, ttl=102)
        await first.put("c", "n2", {"number": 2}, ttl=100)
        await second.put("c", "n2", {"number": 2}, ttl=100.9)
        assert await differences(first, second) == [
            ("deadline", "c", "n1"),
            ("deadline", "c", "text"),
            ("extra", "c", "extra"),
            ("extra", "only", "here"),
            ("missing", "c", "missing"),
            ("value", "c", "list"),
            ("value", "c", "one"),
            ("value", "c", "true"),
        ]


async def test_verifying_finds_what_did_not_arrive():
    class Lossy(StatisticsWrapper):
        async def put_if_absent(self, collection, key, value, *, ttl=None):
            return await super().put_if_absent(collection, key, 5 if key == "one" else value, ttl=ttl)

    async with MemoryStore() as source, Lossy(MemoryStore()) as target:
        report = await copy_store(await filled(source), target, verify=True)
        assert (report.copied, report.failed) == (7, 1)
        assert str(report.failures[0].error) == "key 'one' in collection 'c' did not arrive unchanged: value"


async def test_progress_grows_to_the_report():
    async with MemoryStore() as source, MemoryStore() as target:
        seen = []
        report = await copy_store(await filled(source, 1000), target, on_progress=seen.append)
        copied = [progress.copied for progress in seen]
        assert copied == sorted(copied)
        assert len(copied) > 2
        assert seen[-1] == report


@pytest.mark.long
async def test_memory_does_not_grow_with_the_store(tmp_path):
    async def peak(count):
        async with (
            DiskStore(tmp_path / f"{count}", cache_size=0) as source,
            DiskStore(tmp_path / f"{count}-copy", cache_size=0) as target,
        ):
            for start in range(0, count, 1000):
                await source.put_many("c", {f"{number:06}": "x" * 200 for number in range(start, start + 1000)})
            tracemalloc.start()
            try:
                assert (await copy_store(source, target, state=tmp_path / "state")).copied == count
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

    small, large = await peak(2_000), await peak(10_000)
    assert large < small * 1.5


async def test_large_values_are_read_few_at_a_time():
    sizes = []

    class Watched(StatisticsWrapper):
        async def get_entries(self, collection, keys):
            sizes.append(len(list(keys)))
            return await super().get_entries(collection, keys)

    async with MemoryStore() as inner, MemoryStore() as target:
        await inner.put_many("c", {f"{number}": bytes(1 << 20) for number in range(80)})
        await copy_store(Watched(inner), target, overwrite="always")
        assert max(sizes[1:]) <= 4
