"""How names become Redis keys, patterns and slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import ConfigurationError
from satchel.stores._redislike.layout import Layout, slot_of
from satchel.testing.conformance.cases import LEGAL_NAMES

names = st.sampled_from(LEGAL_NAMES) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def test_keys_are_readable():
    layout = Layout("satchel")
    assert layout.key(("users", "ada@example.com:1")) == b"satchel:users:ada@example.com:1"
    assert layout.key(("a:b%c", "k")) == b"satchel:a%3ab%25c:k"
    assert Layout("shop:cache").key(("c", "k")) == b"shop%3acache:c:k"


@given(st.lists(st.tuples(names, names, names), min_size=2, max_size=2, unique=True))
def test_no_two_entries_of_any_stores_share_a_key(entries):
    first, second = (Layout(prefix).key((collection, key)) for prefix, collection, key in entries)
    assert first != second


@given(names, names, names)
def test_names_come_back(prefix, collection, key):
    layout = Layout(prefix)
    assert layout.ref(layout.key((collection, key))) == (collection, key)


@given(names, names, names)
def test_a_store_takes_no_key_of_another_prefix_for_its_own(prefix, collection, key):
    assert Layout("mine").ref(Layout("mine" + prefix).key((collection, key))) is None


@pytest.mark.parametrize(
    "key",
    [b"satchel", b"satchel:", b"satchel:c", b"satchel:c:", b"satchel::k", b"satchel:%3A:k", b"satchel:\xff:k",
     b"satchel:c:\xff", b"Satchel:c:k", b"satchelx:c:k"],
)  # fmt: skip
def test_keys_that_no_entry_has_are_left_out(key):
    assert Layout("satchel").ref(key) is None


def test_patterns_match_literally():
    layout = Layout("s*")
    assert layout.pattern() == rb"s\*:*"
    assert layout.pattern("[a]?", "x\\^") == rb"s\*:\[a\]\?:x\\\^*"


@pytest.mark.parametrize("prefix", ["", None, 5, "a\ud800"])
def test_a_wrong_prefix_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix"):
        Layout(prefix)


@pytest.mark.parametrize(
    ("key", "slot"),
    # As CLUSTER KEYSLOT gives them.
    [(b"123456789", 12739), (b"foo", 12182), (b"{foo}.x", 12182), (b"x{foo}{bar}", 12182), (b"{}foo", 9500)],
)
def test_slots_are_those_of_the_servers(key, slot):
    assert slot_of(key) == slot
