"""Digests of JSON that came before, and records of parts, each made once."""

import pytest

from satchel import IntegrityError, MemoryStore
from satchel.content import ContentStore, digest, leaves, loading
from satchel.content.records import JSON, RAW, pack_leaf
from satchel.content.walk import Walk


@pytest.fixture
def content():
    return ContentStore(MemoryStore())


@pytest.fixture
def digested(monkeypatch):
    """Return the small values whose digests are made from their parts."""
    seen, make, make_again = [], leaves.digest_of, Walk.digest

    def noted(value):
        seen.append(value)
        return make(value)

    def noted_by_walk(walk, value):
        seen.append(value)
        return make_again(walk, value)

    monkeypatch.setattr(leaves, "digest_of", noted)
    monkeypatch.setattr(Walk, "digest", noted_by_walk)
    return seen


def rows(count=20):
    return [{"id": number, "tags": ["a"]} for number in range(count)]


async def test_rows_that_were_saved_are_not_digested_again(content, digested):
    await content.save(rows())
    digested.clear()
    changed = [*rows()[:-1], {"id": -1}]
    assert await content.save(changed) == digest(changed)
    assert digested == [{"id": -1}]


async def test_rows_that_were_saved_or_loaded_are_not_digested_by_a_load(content, digested):
    saved = await content.save(rows())
    digested.clear()
    assert await content.load(saved) == rows()
    other = ContentStore(content.store)
    await other.load(saved)
    assert digested == rows()
    digested.clear()
    assert await other.load(saved) == rows()
    assert digested == []


async def test_a_value_that_changes_while_it_is_saved_gives_no_other_one_its_digest(content, monkeypatch):
    value, find = {"amount": 1}, leaves._KnownDigests.get

    def changing(known, body):
        value["amount"] = 2
        return find(known, body)

    with monkeypatch.context() as patch:
        patch.setattr(leaves._KnownDigests, "get", changing)
        await content.save([value])
    assert await content.save([{"amount": 1}]) == digest([{"amount": 1}])
    assert await content.load(digest([{"amount": 1}])) == [{"amount": 1}]


async def test_bytes_in_the_place_of_the_json_that_they_spell_are_damage():
    content = ContentStore(MemoryStore(), depth=0)
    saved = await content.save({"a": 1})
    assert await content.store.get("content", saved) == pack_leaf(JSON, b'{"a":1}')
    await content.store.put("content", saved, pack_leaf(RAW, b'{"a":1}'))
    with pytest.raises(IntegrityError, match="another digest"):
        await content.load(saved)


async def test_known_digests_take_little_memory(monkeypatch):
    monkeypatch.setattr(leaves, "_MOST_KNOWN", 10_000)
    content = ContentStore(MemoryStore())
    many = [*rows(300), "long " * 1000]
    assert await content.load(await content.save(many)) == many
    known = content._leaves._known._digests
    assert 0 < sum(len(body) + leaves._KNOWN_OVERHEAD for body in known) <= 10_000
    assert max(map(len, known)) < 100


async def test_a_load_unpacks_each_record_once(content, monkeypatch):
    saved = await content.save(rows())
    unpacked, unpack = [], loading.unpack

    def noted(frame):
        unpacked.append(frame)
        return unpack(frame)

    monkeypatch.setattr(loading, "unpack", noted)
    assert await content.load(saved) == rows()
    assert len(unpacked) == 21
