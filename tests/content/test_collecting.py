"""Pins, roots and the collection of what nothing refers to."""

import pytest

from satchel import (
    Capability,
    ConfigurationError,
    DigestError,
    IntegrityError,
    InvalidTTLError,
    KeyMissingError,
    MemoryStore,
    StoreError,
    UnsupportedOperationError,
)
from satchel.content import CollectionReport, ContentStore, digest
from satchel.content.records import JSON, pack_leaf
from satchel.testing import FakeClock
from satchel.testing.conformance.suite import listed
from tests.scripted import BatchStore

AGE = 3600


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock=clock)


@pytest.fixture
def content(store, clock):
    return ContentStore(store, clock=clock)


async def record(content, key, *roots, collection="calls"):
    await content.register_roots(collection)
    await content.store.put(collection, key, {"format": 1, "roots": [str(root) for root in roots]})


async def test_what_nothing_refers_to_goes_when_it_is_old(content, clock):
    saved = await content.save([[1], [2]])
    assert await content.gc() == CollectionReport(examined=3)
    clock.advance(AGE)
    assert (await content.gc()).removed == 0
    clock.advance(1)
    kept = await content.save([[2]])
    report = await content.gc()
    assert (report.examined, report.old, report.kept, report.missing, report.removed) == (4, 2, 0, 0, 2)
    assert report.bytes > 0
    assert not await content.contains(saved)
    assert await content.load(kept) == [[2]]


async def test_a_pin_keeps_a_value_with_its_parts_until_it_is_removed(content, clock):
    saved = await content.save({"a": [1, 2]})
    await content.pin(saved)
    await content.pin(saved, digest([1, 2]))
    clock.advance(2 * AGE)
    assert (await content.gc()).removed == 0
    assert await content.unpin(saved, digest("x")) == 1
    assert (await content.gc()).removed == 1
    assert await content.load(digest([1, 2])) == [1, 2]
    assert await content.unpin(digest([1, 2])) == 1
    assert (await content.gc()).removed == 1


async def test_a_pin_of_what_is_not_whole_is_refused_and_leaves_no_pin(content, store):
    whole, torn = await content.save([1]), await content.save([2])
    await content.evict(digest(2))
    with pytest.raises(KeyMissingError, match=digest(2)):
        await content.pin(whole, torn)
    assert await listed(store.keys("content/pins")) == []
    await content.pin(whole)
    with pytest.raises(KeyMissingError):
        await content.pin(whole, torn)
    assert await listed(store.keys("content/pins")) == [whole]


async def test_a_pin_of_what_is_damaged_is_refused_and_leaves_no_pin(content, store):
    await store.put("content", digest(1), b"SCV1")
    with pytest.raises(IntegrityError):
        await content.pin(digest(1))
    assert await listed(store.keys("content/pins")) == []


async def test_a_pin_that_is_refused_does_not_take_another_one_along(store, clock, monkeypatch):
    one, other = (ContentStore(store, clock=clock) for _ in range(2))

    async def find_nothing_while_the_other_pins(digests, *, always):
        await other.save([1])
        await other.pin(*digests)
        raise KeyMissingError

    monkeypatch.setattr(one._freshener, "freshen_stored", find_nothing_while_the_other_pins)
    with pytest.raises(KeyMissingError):
        await one.pin(digest([1]))
    assert await listed(store.keys("content/pins")) == [digest([1])]


async def test_records_of_registered_collections_keep_what_they_refer_to(content, store, clock):
    first, second, third = [await content.save([name]) for name in "abc"]
    await record(content, "k", first)
    await record(content, "k", second, collection="others")
    clock.advance(2 * AGE)
    assert (await content.gc(roots=[third])).removed == 0
    other_process = ContentStore(store, clock=clock)
    assert (await other_process.gc()).removed == 2
    assert await content.load(second) == ["b"]
    await store.delete("calls", "k")
    assert (await other_process.gc()).removed == 2
    assert not await content.contains(first)


@pytest.mark.parametrize(
    "value",
    [{"roots": []}, {"format": 2, "roots": []}, {"format": 1}, {"format": 1, "roots": ["hush"]}, "hush", None],
)
async def test_a_record_that_cannot_be_read_ends_a_collection_before_anything_is_removed(content, store, clock, value):
    await content.save([1])
    await record(content, "k")
    await store.put("calls", "k", value)
    clock.advance(2 * AGE)
    with pytest.raises(IntegrityError) as refused:
        await content.gc()
    assert "hush" not in str(refused.value)
    assert await store.count("content") == 2


async def test_a_record_that_cannot_be_read_is_named(content, store):
    await content.register_roots("calls")
    for damaged in ("text", {"format": 1}, {"format": 2, "roots": []}):
        await store.put("calls", "the key", damaged)
        with pytest.raises(IntegrityError, match="the record under 'the key' in 'calls'"):
            await content.gc()


async def test_a_damaged_node_ends_a_collection_and_is_named(content, store, clock):
    saved = await content.save([1])
    await content.pin(saved)
    await store.put("content", saved, b"rubbish")
    clock.advance(2 * AGE)
    with pytest.raises(IntegrityError, match=f"{saved}.*evict"):
        await content.gc()
    assert await store.count("content") == 2
    await content.evict(saved)
    report = await content.gc()
    assert (report.removed, report.missing) == (1, 1)


async def test_a_damaged_entry_that_nothing_refers_to_is_removed(content, store, clock):
    await store.put("content", await content.save(1), b"rubbish")
    clock.advance(2 * AGE)
    assert (await content.gc()).removed == 1


async def test_a_dry_run_removes_nothing(content, store, clock):
    await content.save([1, 2])
    clock.advance(2 * AGE)
    dry = await content.gc(dry_run=True)
    assert (dry.removed, await store.count("content")) == (3, 3)
    assert await content.gc() == dry
    assert await store.count("content") == 0


async def test_a_collection_shows_its_progress(content, clock):
    await content.save(list(range(700)))
    clock.advance(2 * AGE)
    reports = []
    last = await content.gc(on_progress=reports.append)
    assert len(reports) > 10
    assert reports[-1] == last
    assert [report.examined for report in reports] == sorted(report.examined for report in reports)


async def test_saving_again_makes_old_parts_new(content, store, clock):
    saved = await content.save([[1], [2]])
    clock.advance(AGE / 2)
    before = {key: (await store.get_entry("content", key)).version for key in await listed(store.keys("content"))}
    await content.save([[1], [2]])
    assert [(await store.get_entry("content", key)).version for key in before] == list(before.values())
    clock.advance(1)
    await content.save([[1], [2]])
    for key, version in before.items():
        assert (await store.get_entry("content", key)).version != version
    clock.advance(AGE)
    assert (await content.gc()).removed == 0
    assert await content.contains(saved)


async def test_a_save_of_several_values_is_written_again_after_a_late_record(content, store, clock):
    saving = content.saving()
    one, two = await saving.save([1]), await saving.save({"a": 2})
    await record(content, "k", one, two)
    clock.advance(AGE / 4)
    before = await store.get_entry("content", one)
    await saving.finish()
    assert (await store.get_entry("content", one)).version == before.version
    clock.advance(1)
    await content.evict(digest(1))
    await saving.finish()
    assert (await store.get_entry("content", one)).version != before.version
    assert await content.load(one) == [1]


async def test_a_clock_that_was_turned_back_counts_as_a_late_record(content, store, clock):
    saving = content.saving()
    one = await saving.save([1])
    before = await store.get_entry("content", one)
    clock.advance(-AGE)
    await saving.finish()
    assert (await store.get_entry("content", one)).version != before.version


async def test_a_digest_in_a_save_keeps_the_whole_tree_under_it(content, store, clock):
    saved = await content.save([[1], [2]])
    clock.advance(AGE - 1)
    saving = content.saving()
    await saving.save(saved)
    await record(content, "k", saved)
    await saving.finish(rewrite=True)
    clock.advance(2)
    assert (await content.gc()).old == 0


async def test_all_agree_on_the_age(content, store, clock):
    await content.save(1)
    other = ContentStore(store, older_than=60, clock=clock)
    for call in (other.save(1), other.gc(), other.pin(digest(1)), other.saving().save(1)):
        with pytest.raises(ConfigurationError, match=r"older_than=3600\.0.*got older_than=60"):
            await call
    assert await other.load(digest(1)) == 1
    with pytest.raises(ConfigurationError, match="at least that of the ContentStore, 3600 s"):
        await content.gc(older_than=3599)
    clock.advance(AGE + 1)
    assert (await content.gc(older_than=7200)).old == 0
    assert (await content.gc()).old == 1


async def test_wrong_arguments_of_a_collection_are_refused_before_any_io():
    content = ContentStore(BatchStore())

    async def report(so_far):
        pass

    for options, error in [
        ({"older_than": 0}, InvalidTTLError),
        ({"older_than": "1"}, InvalidTTLError),
        ({"dry_run": 1}, ConfigurationError),
        ({"on_progress": 1}, ConfigurationError),
        ({"on_progress": report}, ConfigurationError),
        ({"roots": digest(1)}, ConfigurationError),
        ({"roots": ["abcd"]}, DigestError),
    ]:
        with pytest.raises(error):
            await content.gc(**options)
    assert content.store.server.calls == []


class Unlisted(MemoryStore):
    @property
    def capabilities(self):
        return super().capabilities & ~Capability.ENUMERATE_KEYS


async def test_a_store_that_lists_nothing_saves_and_loads_and_refuses_the_rest():
    content = ContentStore(Unlisted())
    saved = await content.save([1])
    assert await content.load(saved) == [1]
    for call in (content.gc(), content.expand(saved[:4]), content.shrink(saved), content.count_reuses()):
        with pytest.raises(UnsupportedOperationError, match="ENUMERATE_KEYS"):
            await call


async def test_a_key_that_is_no_digest_is_told(content, store, clock):
    await store.put("content", "notes", pack_leaf(JSON, b"1"))
    with pytest.raises(IntegrityError, match="not a digest"):
        await content.gc()


async def test_a_failed_removal_waits_for_those_that_run(clock):
    server = BatchStore(clock=clock)
    content = ContentStore(server, clock=clock)
    saved = [await content.save(number) for number in range(3)]
    clock.advance(2 * AGE)
    server.server.faults[saved[1]] = ConnectionResetError()
    with pytest.raises(StoreError):
        await content.gc()
    server.server.faults.clear()
    assert (await content.gc()).examined <= 3
    assert server.server.data.keys() == {("content/settings", "collection")}


async def test_a_pin_of_no_digest_is_told(content, store, clock):
    await content.save("old")
    clock.advance(AGE + 1)
    await store.put("content/pins", "x", {"format": 1})
    with pytest.raises(IntegrityError, match="a pin has a key that is not a digest"):
        await content.gc()
    assert await content.load(digest("old")) == "old"


@pytest.mark.parametrize("age", [[], "x", None, True])
async def test_an_age_that_is_none_is_told(content, store, age):
    await store.put("content/settings", "collection", {"format": 1, "older_than": age})
    with pytest.raises(IntegrityError, match="older_than"):
        await content.save(1)
