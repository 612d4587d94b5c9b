"""Which keys match: by prefix, pattern and depth."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import InvalidKeyError
from satchel.matching import KeyFilter, match


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("a", ["a"], ["b", "aa", "a/a", "a\n"]),
        ("*", ["a", "a.b", "\n", "é"], ["a/b", "a/", "/"]),
        ("**", ["a", "a/b", "/", "a\n/b"], []),
        ("users/*", ["users/ada", "users/"], ["users", "users/ada/mail", "xusers/ada"]),
        ("users/**", ["users/ada", "users/ada/mail", "users/"], ["users", "user/ada"]),
        ("**/mail", ["mail", "ada/mail", "a/b/mail", "/mail"], ["xmail", "a/xmail", "mail/x"]),
        ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/xz", "a/z/z2"]),
        ("a**z", ["az", "a/z", "a/b/z"], ["a", "ba/z"]),
        ("a**/z", ["a/z", "ab/c/z"], ["az"]),
        ("*.jpg", ["x.jpg", ".jpg", "a.jpg.jpg"], ["x.jpgx", "xjpg", "a/x.jpg"]),
        ("**.jpg", ["x.jpg", "a/x.jpg"], ["x_jpg"]),
        ("a*b*c", ["abc", "axbxbxc", "abcc"], ["abcd", "ab/c"]),
        ("*b/*c**d", ["b/cd", "aab/xcc/yd"], ["b/d", "b/x/cd"]),
        ("[ab]?", ["[ab]?"], ["a", "ax", "b?"]),
        ("a.b", ["a.b"], ["axb"]),
        ("(a+)+$", ["(a+)+$"], ["aaa"]),
    ],
)
def test_glob(glob: str, matching: list[str], others: list[str]) -> None:
    assert [key for key in matching + others if match(key, glob=glob)] == matching


def test_prefix_excluded_prefix_and_depth() -> None:
    keys = ["a", "a/b", "a/b/c", "ab", "b/c"]
    assert [key for key in keys if match(key, prefix="a")] == ["a", "a/b", "a/b/c", "ab"]
    assert [key for key in keys if match(key, prefix="a", exclude_prefix="a/")] == ["a", "ab"]
    assert [key for key in keys if match(key, depth=1)] == ["a", "ab"]
    assert [key for key in keys if match(key, prefix="a/", depth=1)] == ["a/b"]
    assert [key for key in keys if match(key, prefix="a/", depth=2)] == ["a/b", "a/b/c"]
    assert [key for key in keys if match(key, glob="*/*", exclude_prefix="b")] == ["a/b"]


def test_filter_narrows_the_listing() -> None:
    assert KeyFilter(glob="users/a*").prefix == "users/a"
    assert KeyFilter(prefix="users/", glob="u*").prefix == "users/"
    assert KeyFilter(glob="x*", prefix="users/").matches_nothing
    assert not KeyFilter(glob="users/*/x", prefix="users/ada").matches_nothing
    assert KeyFilter(prefix="a").is_prefix
    assert not KeyFilter(prefix="a", depth=1).is_prefix


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"glob": ""}, "glob must not be empty"),
        ({"glob": "a***b"}, "more than two stars"),
        ({"glob": b"a"}, "glob must be a str or None, got bytes"),
        ({"exclude_prefix": ""}, "exclude_prefix must not be empty"),
        ({"depth": 0}, "depth must be None or an int of at least 1, got 0"),
        ({"depth": True}, "depth must be None or an int"),
        ({"depth": 1.0}, "depth must be None or an int"),
    ],
)
def test_bad_choices_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match("a", **options)  # type: ignore[arg-type]  # the fault that is tested


@pytest.mark.parametrize("options", [{"prefix": 7}, {"prefix": "\ud800"}, {"exclude_prefix": 7}])
def test_bad_prefixes_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidKeyError, match="prefix"):
        match("a", **options)  # type: ignore[arg-type]  # the fault that is tested


@given(st.text("ab/*", min_size=1, max_size=9).filter(lambda glob: "***" not in glob), st.text("ab/", max_size=9))
def test_glob_is_what_the_definition_says(glob: str, key: str) -> None:
    assert match(key, glob=glob) is _defined(glob, key)


def test_a_hostile_pattern_ends() -> None:
    long = "a" * 4000
    for star in ("*", "**", "**/"):
        assert not match(long, glob=f"{star}a" * 50 + star + "b")
        assert not match("a/" * 2000, glob=f"{star}a" * 50 + star + "b")


def _defined(glob: str, key: str) -> bool:
    """Match by trying everything."""

    @cache
    def tried(place: int, at: int) -> bool:
        if place == len(glob):
            return at == len(key)
        if glob.startswith("**", place):
            starts_level = place == 0 or glob[place - 1] == "/"
            if starts_level and glob.startswith("/", place + 2):
                ends = [end for end in range(at, len(key) + 1) if end == at or key[end - 1] == "/"]
                return any(tried(place + 3, end) for end in ends)
            return any(tried(place + 2, end) for end in range(at, len(key) + 1))
        if glob[place] == "*":
            level = key.find("/", at)
            return any(tried(place + 1, end) for end in range(at, (len(key) if level < 0 else level) + 1))
        return key.startswith(glob[place], at) and tried(place + 1, at + 1)

    return tried(0, 0)
