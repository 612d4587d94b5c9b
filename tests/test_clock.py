"""Times to live: what is accepted, and the deadline that it gives."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel import IntegrityError, InvalidTTLError
from satchel.clock import MAX_TTL, NEVER, Until, as_datetime, deadline_after, seconds

REFUSED = [
    0,
    0.0,
    -1,
    -0.5,
    math.nan,
    math.inf,
    -math.inf,
    1e12,
    MAX_TTL * 1.001,
    10**400,
    True,
    False,
    "5",
    b"5",
    None,
]
REFUSED += [timedelta(0), timedelta(seconds=-1), timedelta(days=50_000), Decimal(5), [5], 1j]


@pytest.mark.parametrize("ttl", REFUSED, ids=repr)
def test_a_wrong_ttl_is_refused(ttl):
    with pytest.raises(InvalidTTLError, match=r"^ttl must be"):
        seconds(ttl)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_ttl_that_is_too_long_to_be_written_is_refused_as_any(sign):
    with pytest.raises(InvalidTTLError, match=r"^ttl must be above 0 .* got an int of 16610 bits"):
        seconds(sign * 10**5000)


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [(5, 5.0), (0.2, 0.2), (1e-9, 1e-9), (timedelta(milliseconds=1500), 1.5), (timedelta(days=40), 3_456_000.0)],
)
def test_a_ttl_is_neither_cut_nor_rounded(ttl, expected):
    assert seconds(ttl) == expected


def test_subclasses_of_numbers_count():
    class Seconds(float):
        __slots__ = ()

    assert seconds(Seconds(2.5)) == 2.5
    assert seconds(MAX_TTL) == MAX_TTL


@given(st.floats(min_value=1e-3, max_value=MAX_TTL), st.floats(0, 4e9))
def test_the_deadline_is_now_and_the_ttl(ttl, now):
    assert deadline_after(ttl, now) == now + ttl
    assert deadline_after(None, now) == NEVER


def test_times_are_aware():
    assert as_datetime(0.25) == datetime(1970, 1, 1, 0, 0, 0, 250_000, UTC)


@given(st.floats(0, 4e9))
def test_until_gives_its_deadline_whenever_it_is_asked_to_the_microsecond_that_callers_see(moment):
    shown = as_datetime(moment)
    ttl = Until(5.0, shown.timestamp())
    assert as_datetime(deadline_after(ttl, 123.0)) == shown
    assert seconds(ttl) == 5.0
    assert deadline_after(5.0, 123.0) == 128.0


@pytest.mark.parametrize("moment", [math.nan, math.inf, -math.inf, 1e300, -1e300, 253402300800.0])
def test_a_moment_that_no_calendar_has_was_not_stored_by_satchel(moment):
    with pytest.raises(IntegrityError, match=r"^a stored time is none that a calendar has$"):
        as_datetime(moment)


@pytest.mark.parametrize(
    ("ttl", "message"),
    [
        ("5", "ttl must be seconds or a timedelta, got str"),
        (True, "ttl must be seconds or a timedelta, got bool"),
        (0, "ttl must be above 0 and at most 100 years (3155760000 s), got 0 s; use delete to remove an entry"),
        (
            timedelta(days=-1),
            "ttl must be above 0 and at most 100 years (3155760000 s), got -86400.0 s; use delete to remove an entry",
        ),
        (
            MAX_TTL + 1,
            (
                "ttl must be above 0 and at most 100 years (3155760000 s), got 3155760001.0 s; omit ttl to keep an "
                "entry forever"
            ),
        ),
    ],
)
def test_a_refusal_says_what_to_do(ttl, message):
    with pytest.raises(InvalidTTLError) as caught:
        seconds(ttl)
    assert str(caught.value) == message


def test_a_length_of_time_is_refused_by_its_name():
    with pytest.raises(
        InvalidTTLError, match=r"^lease must be above 0 and at most 100 years \(3155760000 s\), got 0 s$"
    ):
        seconds(0, "lease")
