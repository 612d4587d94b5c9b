"""Names: which are legal, and their escaped forms, which never meet."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from satchel import InvalidKeyError
from satchel.names import (
    FOLDED_SAFE,
    MAX_NAME_BYTES,
    SAFE,
    Escaping,
    check_after,
    check_items,
    check_limit,
    check_name,
    check_names,
    check_prefix,
    check_ref,
)

WINDOWS = frozenset({"con", "prn", "aux", "nul", "com1", "lpt1"})
ESCAPINGS = {
    "plain": Escaping(),
    "short": Escaping(max_bytes=80),
    "folded": Escaping(FOLDED_SAFE, reserved=WINDOWS),
    "unicode": Escaping(keep_unicode=True, reserved=WINDOWS),
    "unicode, short": Escaping(keep_unicode=True, max_bytes=80),
    "no dot": Escaping(SAFE - {"."}, max_bytes=80),
    "with slash and space": Escaping(SAFE | {"/", " "}),
}
EVERY = pytest.mark.parametrize("escaping", ESCAPINGS.values(), ids=ESCAPINGS)

tricky = st.sampled_from([*"./%-aAb0 \0\n:*_~é漢😀\u0301\u200d", "con", "%2e", "%-", "a" * 60, "é" * 40])
names = st.lists(tricky, min_size=1, max_size=12).map("".join) | st.text(min_size=1, max_size=120)
NASTY = [
    "../x",
    "..",
    ".",
    "...",
    "/",
    "a.",
    "a..",
    ".a",
    "con",
    "CON",
    "Con.txt",
    "con.",
    "nul.x.y",
    "%",
    "%2e",
    "a\n",
    "\0",
]
NASTY += [
    "~",
    "a b",
    " ",
    "é",
    "e\u0301",
    "😀",
    "x" * 300,
    "X" * 300,
    "%" * 200,
    "é" * 2048,
    "." * 300,
    "con." + "x" * 300,
]


@EVERY
@pytest.mark.parametrize("name", NASTY)
def test_nasty_names_come_back_or_are_hashed(escaping, name):
    check_form(escaping, name)


@EVERY
@given(name=names)
def test_names_come_back_or_are_hashed(escaping, name):
    check_form(escaping, name)


def check_form(escaping, name):
    escaped = escaping.escape(name)
    assert 0 < len(escaped.encode()) <= escaping.max_bytes
    assert "\0" not in escaped
    assert "/" not in escaped or "/" in escaping.safe
    assert escaped[0] != "."
    assert escaped[-1] != "."
    assert escaped.partition(".")[0].lower() not in escaping.reserved
    if not escaping.keep_unicode:
        assert set(escaped) <= escaping.safe | {"%"}
    if "%-" in escaped:
        assert len(escaped.encode()) > escaping.max_bytes - 8  # as much of the beginning as there is room for
        assert re.search("%-[0-9a-f]{64}$", escaped)
        assert not re.search("%.?%-", escaped)  # no escape is cut in two
        assert escaping.unescape(escaped) is None
    else:
        assert escaping.unescape(escaped) == name


@EVERY
@given(one=names, other=names)
def test_two_names_never_meet(escaping, one, other):
    assume(one != other)
    assert escaping.escape(one) != escaping.escape(other)


@EVERY
@given(start=names, ends=st.lists(st.characters(exclude_categories=["Cs"]), min_size=2, max_size=2, unique=True))
def test_names_that_differ_past_the_limit_do_not_meet(escaping, start, ends):
    one, other = [start * 12 + end for end in ends]
    assert escaping.escape(one) != escaping.escape(other)


@given(one=names, other=names)
def test_folded_forms_stay_apart_where_case_is_folded(one, other):
    assume(one != other)
    escape = ESCAPINGS["folded"].escape
    assert escape(one).casefold() != escape(other).casefold()
    assert escape(one).casefold() == escape(one)


@given(one=names)
def test_case_variants_stay_apart_where_case_is_folded(one):
    escape = ESCAPINGS["folded"].escape
    variants = {one, one.upper(), one.lower(), one.swapcase()}
    assert len({escape(variant).casefold() for variant in variants}) == len(variants)


@EVERY
@given(text=st.text(alphabet="%-.abcAB0129/é", max_size=12))
def test_foreign_forms_are_not_read_as_names(escaping, text):
    name = escaping.unescape(text)
    assert name is None or escaping.escape(name) == text


@pytest.mark.parametrize("text", ["", "%", "%2", "%2E", "%zz", "%61", "a/b", ".", "a.", "%-", "\udcff", "%ff", "%c3"])
def test_what_escape_does_not_write_is_not_unescaped(text):
    assert Escaping().unescape(text) is None


@pytest.mark.parametrize(
    ("name", "escaped"),
    [("a/b c", "a%2fb%20c"), ("..", "%2e%2e"), ("%", "%25"), ("a.", "a%2e"), ("é", "%c3%a9"), ("😀", "%f0%9f%98%80")],
)
def test_the_escaping_stays_what_it_is(name, escaped):
    assert Escaping().escape(name) == escaped


def test_the_hashed_form_stays_what_it_is():
    hashed = Escaping(max_bytes=80).escape("/" * 100)
    assert hashed.startswith("%2f%2f%2f%2f%-")
    assert len(hashed) == 12 + 66


def test_the_hashed_form_keeps_every_whole_escape_that_there_is_room_for():
    assert Escaping(max_bytes=81).escape("/" * 100).startswith("%2f%2f%2f%2f%2f%-")


@pytest.mark.parametrize("name", ["x" * 80, "é" * 40])
def test_a_form_of_just_the_limit_is_not_hashed(name):
    assert Escaping(max_bytes=80, keep_unicode=True).escape(name) == name


def test_an_escaping_needs_no_more_than_digits_and_a_hyphen():
    assert Escaping(frozenset("-0123456789abcdef")).escape("a-z") == "a-%7a"


def test_what_stays_of_unicode_is_fixed_for_ever():
    escape = Escaping(keep_unicode=True).escape
    assert escape("é漢→") == "é漢→"
    assert escape("\u200d\u00a0\u2028") == "%e2%80%8d%c2%a0%e2%80%a8"  # invisible
    assert escape("\N{LATIN CAPITAL LETTER SHARP S}") == "%e1%ba%9e"  # came with Unicode 5.1
    assert escape("\U0001fae9") == "%f0%9f%ab%a9"  # came with Unicode 16, which few Pythons know


@pytest.mark.parametrize(
    "settings", [{"max_bytes": 79}, {"safe": SAFE | {"%"}}, {"safe": SAFE - {"-"}}, {"safe": SAFE - {"a"}}]
)
def test_an_escaping_that_cannot_be_injective_is_refused(settings):
    with pytest.raises(ValueError, match="an escaping needs"):
        Escaping(**settings)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "must not be empty"),
        (None, "must be a str, got NoneType"),
        (7, "must be a str, got int"),
        (b"k", "must be a str, got bytes"),
        ("a\ud800", "lone surrogate at index 1"),
        ("k" * 4097, "has 4097 bytes in UTF-8, the limit here is 4096"),
        ("é" * 2049, "has 4098 bytes"),
    ],
)
@pytest.mark.parametrize("what", ["key", "collection"])
def test_an_illegal_name_is_refused(name, complaint, what):
    with pytest.raises(InvalidKeyError, match=f"^{what} .*{complaint}"):
        check_name(name, what)


@pytest.mark.parametrize("name", ["k", "k" * MAX_NAME_BYTES, "é" * 2048, "\0", "../..", "\n", "😀"])
def test_a_legal_name_is_returned(name):
    assert check_name(name) is name


def test_a_subclass_of_str_becomes_a_plain_one():
    class Name(str):
        __slots__ = ()

        def __str__(self):
            return "something else"

    name = check_name(Name("k"))
    assert type(name) is str
    assert name == "k"


def test_a_batch_of_names_holds_each_once_in_order():
    assert check_names(iter(["b", "a", "b"])) == ["b", "a"]
    for bare in ("abc", b"abc"):
        with pytest.raises(InvalidKeyError, match="one bare string"):
            check_names(bare)
    with pytest.raises(InvalidKeyError, match="iterable of str, got int"):
        check_names(7)
    with pytest.raises(InvalidKeyError, match="got int"):
        check_names([1])


def test_items_are_a_mapping():
    assert check_items({"a": 1}) == [("a", 1)]
    for wrong in ([("a", 1)], "a", None):
        with pytest.raises(InvalidKeyError, match="must be a mapping"):
            check_items(wrong)


def test_a_prefix_may_be_empty():
    assert check_prefix("") == ""
    assert check_prefix("a") == "a"
    for wrong in (None, b"", 7, "\ud800"):
        with pytest.raises(InvalidKeyError, match="prefix"):
            check_prefix(wrong)


SHORT = "'" + "k" * 40 + "'..."


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_name(""), "key must not be empty"),
        (lambda: check_name("k" * 4097), f"key has 4097 bytes in UTF-8, the limit here is 4096: {SHORT}"),
        (lambda: check_ref("", "k"), "collection must not be empty"),
        (lambda: check_ref("c", ""), "key must not be empty"),
        (lambda: check_ref(7, "k"), "collection must be a str, got int"),
        (lambda: check_ref("c", 7), "key must be a str, got int"),
        (lambda: check_ref("k" * 4097, "k"), f"collection has 4097 bytes in UTF-8, the limit here is 4096: {SHORT}"),
        (lambda: check_ref("c", "k" * 51, 50), f"key has 51 bytes in UTF-8, the limit here is 50: {SHORT}"),
        (lambda: check_ref("c", "é", 1), "key has 2 bytes in UTF-8, the limit here is 1: 'é'..."),
        (lambda: check_ref("\ud800", "k"), "collection has a lone surrogate at index 0, which is not valid text"),
        (lambda: check_prefix(7), "prefix must be a str, got int"),
        (lambda: check_after(7), "after must be a str, got int"),
        (lambda: check_names("k"), "keys must be an iterable of str, got one bare string; write [key]"),
        (lambda: check_names([7]), "key must be a str, got int"),
        (lambda: check_names(["kk"], 1), "key has 2 bytes in UTF-8, the limit here is 1: 'kk'..."),
        (lambda: check_items([]), "items must be a mapping of key to value, got list"),
        (lambda: check_items({7: 1}), "key must be a str, got int"),
        (lambda: check_items({"kk": 1}, 1), "key has 2 bytes in UTF-8, the limit here is 1: 'kk'..."),
    ],
)
def test_a_refusal_says_what_is_wrong_with_which_name(check, message):
    with pytest.raises(InvalidKeyError) as caught:
        check()
    assert str(caught.value) == message


def test_an_escaping_that_is_refused_says_what_it_needs():
    with pytest.raises(ValueError, match=r"^an escaping needs .* but not % among the safe$"):
        Escaping(max_bytes=79)


@pytest.mark.parametrize("name", ["k", "k" * 80, "é" * 40])
def test_a_legal_ref_is_returned(name):
    assert check_ref(name, name, 80) == (name, name)


def test_a_ref_of_subclasses_of_str_becomes_one_of_plain_ones():
    class Name(str):
        __slots__ = ()

    for ref in [(Name("c"), "k"), ("c", Name("k")), (Name("c"), Name("k"))]:
        assert [type(name) for name in check_ref(*ref)] == [str, str]


def test_the_limit_of_a_listing_is_a_number_or_none():
    assert [check_limit(limit) for limit in (None, 0, 1)] == [None, 0, 1]
    for wrong in (-1, True, 1.0, "1"):
        with pytest.raises(ValueError, match=f"^limit must be None or an int of at least 0, got {wrong!r}$"):
            check_limit(wrong)


def test_a_listing_begins_after_any_name_or_the_empty_one():
    assert [check_after(after) for after in (None, "", "a")] == [None, "", "a"]
