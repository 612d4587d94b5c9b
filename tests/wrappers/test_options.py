"""Every option of every wrapper that a URL can name, given what it may not be: always a `ConfigurationError`."""

import inspect
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from satchel import MemoryStore
from satchel.errors import ConfigurationError, SatchelError
from satchel.url.registry import WRAPPERS, find_wrapper
from satchel.wrappers.base import BaseWrapper
from tests.wrappers.doubles import Yielding

HUGE = 10**5000
"""Beyond what Python writes as text."""
VALUES = {
    "None": None, "True": True, "False": False, "nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"),
    "0": 0, "-1": -1, "1": 1, "0.0": 0.0, "-0.5": -0.5, "1.5": 1.5, "tiny": 5e-324, "1e308": 1e308, "10**30": 10**30,
    "huge": HUGE, "-huge": -HUGE, "empty": "", "x": "x", "surrogate": "\ud800", "long": "k" * 5000,
    "b''": b"", "b'x'": b"x",
    "[]": [], "[x]": ["x"], "[key]": [b"k" * 32], "[[]]": [[]], "{}": {}, "{1: 2}": {1: 2}, "set": {1}, "complex": 1j,
    "decimal": Decimal(1), "fraction": Fraction(1, 2), "0 s": timedelta(0), "-1 s": timedelta(seconds=-1),
    "10 s": timedelta(seconds=10), "longest": timedelta.max, "object": object(), "class": int, "function": lambda: 1.0,
    "store": MemoryStore(),
}  # fmt: skip
NEEDED = {
    "default_value": {"value": 0},
    "encryption": {"key": b"k" * 32},
    "limit_size": {"max_bytes": 100},
    "on_error": {"policy": "strict"},
    "prefix_collections": {"prefix": "p"},
    "prefix_keys": {"prefix": "p"},
    "sanitization": {"key_strategy": "escape"},
    "signing": {"key": b"k" * 32},
    "single_collection": {"collection": "c"},
    "timeout": {"seconds": 1},
}
BOOLS = {"True", "False"}
COUNTS = {"1", "10**30", "huge"}
SEEDS = {"None", "0", "-1", "1", "10**30", "huge", "-huge"}
SECONDS = {"1", "1.5", "tiny"}
TTLS = {"None", "10 s", *SECONDS}
NAMES = {"x"}
KEYS = {"empty", "[]", "{}", "[key]"}
FUNCTIONS = {"class", "function"}
PLAIN = {"None", "0", "-1", "1", "0.0", "-0.5", "1.5", "tiny", "1e308", "empty", "x", "long", "b''", "b'x'"}
ACCEPTED = {
    "circuit_breaker": {
        "failures": {"1"}, "window": SECONDS, "share": {"1", "tiny"}, "reset_after": SECONDS, "probes": COUNTS,
        "clock": FUNCTIONS,
    },
    "compression": {"algorithm": set(), "level": {"None", "0", "-1", "1"}, "threshold": COUNTS, "max_size": COUNTS},
    "default_value": {"value": PLAIN | BOOLS | {"[]", "[x]", "[[]]", "{}"}},
    "encryption": {"key": set(), "other_keys": KEYS},
    "events": {"strict": BOOLS, "max_deadlines": COUNTS | {"0"}, "clock": FUNCTIONS},
    "limit_size": {"max_bytes": COUNTS, "policy": set(), "codec": {"None"}},
    "logging": {
        "logger": {"empty", "x", "surrogate", "long"}, "level": {"0", "1"},
        "keys": BOOLS,
    },
    "near": {"max_bytes": COUNTS | {"None"}, "hot_ttl": TTLS, "clock": FUNCTIONS},
    "on_error": {"policy": set(), "max_queued": COUNTS, "codec": {"None"}, "clock": FUNCTIONS},
    "opentelemetry": {
        "max_collections": COUNTS | {"0"}, "tracer_provider": {"None"}, "meter_provider": {"None"},
    },
    "prefix_collections": {"prefix": NAMES},
    "prefix_keys": {"prefix": NAMES},
    "read_only": {},
    "retry": {
        "attempts": {"1"}, "first_pause": SECONDS, "max_pause": {"1", "1.5"}, "deadline": SECONDS | {"None"},
        "sleep": FUNCTIONS, "seed": SEEDS,
    },
    "sanitization": {
        "preset": {"None"}, "key_strategy": set(), "collection_strategy": {"None"}, "max_bytes": {"None"},
        "characters": {"None"},
    },
    "serializing": {"per_key": BOOLS},
    "signing": {"key": set(), "other_keys": KEYS},
    "single_collection": {"collection": NAMES},
    "single_flight": {"seed": SEEDS},
    "statistics": {"max_collections": COUNTS | {"0"}},
    "timeout": {"seconds": SECONDS},
    "ttl": {
        "default": TTLS, "minimum": TTLS, "maximum": TTLS, "jitter": {"0", "0.0", "tiny"}, "seed": SEEDS,
        "sliding": {"False"},
    },
}  # fmt: skip
"""What of `VALUES` each option may be; everything else is refused."""


def test_every_wrapper_and_every_option_has_a_row():
    differing = sorted(ACCEPTED.keys() ^ WRAPPERS.keys())
    assert not differing, f"rows of ACCEPTED missing or superfluous: {differing}"
    for name, options in ACCEPTED.items():
        kind = find_wrapper(name, BaseWrapper)
        assert "__init__" in vars(kind), (
            f"{kind.__name__} has the constructor of {kind.__base__.__name__}: write its own, with the options that a "
            "URL may name"
        )
        assert options.keys() == inspect.signature(kind).parameters.keys() - {"inner"}, f"in the row {name}"


@pytest.mark.parametrize(("name", "option"), [(name, option) for name, row in ACCEPTED.items() for option in row])
async def test_an_option_is_accepted_and_works_or_is_refused(name, option):
    accepted = set()
    for label, value in VALUES.items():
        try:
            store = find_wrapper(name, BaseWrapper)(Yielding(MemoryStore()), **{**NEEDED.get(name, {}), option: value})
        except ConfigurationError:
            continue
        accepted.add(label)
        with suppress(SatchelError):  # such as a value that is too large, or a moment that has been too long
            await store.put("c", "k", "value")
            await store.get("c", "k")
    assert accepted == ACCEPTED[name][option]
