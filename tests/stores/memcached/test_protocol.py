"""Replies are put together from pieces of any size, and what only looks like the end of one is none."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.stores.memcached import MemcachedStore
from satchel.stores.memcached.protocol import Lines, RefusedError, Settings, Values
from tests.proxy import FaultyProxy
from tests.stores.memcached.wire import shared_port

LIKE_A_REPLY = [b"", b"END\r\n", b"\r\nEND\r\n", b"VALUE k 0 1 1\r\n", b"ERROR\r\n", b"\r\n", b"x"]
values = st.dictionaries(
    st.binary(min_size=1, max_size=4).map(bytes.hex).map(str.encode),
    st.lists(st.sampled_from(LIKE_A_REPLY), max_size=6).map(b"".join),
    max_size=5,
)


def pieces(text, cuts):
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges) if end > start]


@given(values, st.lists(st.integers(0, 10_000), max_size=20))
def test_values_come_whole_whatever_is_in_them(stored, cuts):
    text = b"".join(
        b"VALUE %b 0 %d %d\r\n%b\r\n" % (key, len(value), token, value)
        for token, (key, value) in enumerate(stored.items())
    )
    reply = Values()
    whole = [reply.feed(piece) for piece in pieces(text + b"END\r\n", cuts)]
    assert whole == [False] * (len(whole) - 1) + [True]
    assert reply.found == {key: (value, token) for token, (key, value) in enumerate(stored.items())}


@given(st.lists(st.sampled_from([b"STORED", b"NOT_FOUND", b"SERVER_ERROR out of memory"]), min_size=1), st.data())
def test_lines_come_whole(lines, data):
    reply = Lines(len(lines))
    cuts = data.draw(st.lists(st.integers(0, 10_000), max_size=20))
    whole = [reply.feed(piece) for piece in pieces(b"".join(line + b"\r\n" for line in lines), cuts)]
    assert whole == [False] * (len(whole) - 1) + [True]
    assert reply.lines == lines


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_settings_come_whole(cuts):
    reply = Settings()
    text = b"STAT maxbytes 67108864\r\nSTAT domain_socket NULL\r\nSTAT inter \r\nSTAT item_size_max 1048576\r\nEND\r\n"
    whole = [reply.feed(piece) for piece in pieces(text, cuts)]
    assert whole == [False] * (len(whole) - 1) + [True]
    assert reply.found[b"item_size_max"] == b"1048576"
    assert len(reply.found) == 4


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Values, b"ERROR\r\n"),
        (Values, b"VALUE k 0 1 1\r\nabEND\r\n"),
        (Values, b"VALUE k 0 1\r\na\r\nEND\r\n"),
        (Values, b"END\r\nEND\r\n"),
        (Values, b"x" * 5000),
        (Settings, b"CLIENT_ERROR\r\n"),
        (Settings, b"END\r\nSTAT a b\r\n"),
        (lambda: Lines(1), b"STORED\r\nSTORED\r\n"),
        (lambda: Lines(1), b"STORED\r\nS"),
        (lambda: Lines(2), b"x" * 5000),
    ],
)
def test_what_is_no_reply_is_refused(make, text):
    with pytest.raises(RefusedError) as refusal:
        make().feed(text)
    assert "x" * 10 not in repr(refusal.value)


@pytest.mark.server("memcached")
async def test_a_value_that_looks_like_the_end_of_a_reply_comes_back_whole() -> None:
    """A driver that takes whatever ends in END for a whole reply gives back something else in most of these reads."""
    value = b"END\r\n" * 180_000
    async with FaultyProxy(shared_port()) as proxy, MemcachedStore(port=proxy.port, prefix="end") as store:
        await store.put("a", "k", value)
        for _ in range(10):
            assert await store.get("a", "k") == value
            assert await store.get("a", "absent") is None
