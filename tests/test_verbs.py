"""The table of verbs, and what each wrapper makes of each row."""

import inspect

import pytest

from satchel import BaseStore, Capability, SyncStore, wrappers
from satchel.protocol import AsyncKeyValue, SupportsEverything
from satchel.testing.conformance import suite
from satchel.testing.machine import StoreMachine
from satchel.verbs import (
    BATCHES,
    BATCHES_OF_READS,
    CHANGES,
    CONDITIONAL_WRITES,
    CORE,
    LISTINGS,
    METHODS,
    NEEDED,
    OF_ENTRIES,
    PUTS_OF_ONE,
    VERBS,
)
from satchel.wrappers import BaseWrapper, RoutingStore, events, logging, on_error, statistics
from satchel.wrappers.base import Seams
from satchel.wrappers.tiered import store as tiered

WITHOUT_A_RULE = {
    "exists": "in that of get",
    "count": "in that of keys",
    "ping": "it has nothing to compare",
    "watch": "it has nothing to compare",
}


def kinds(names):
    return " ".join(sorted(kind.__name__ for kind in names))


def first(name, default, /, **classes):
    """Return the class whose set has a name."""
    return next((said for said, names in classes.items() if name in names), default)


def tiered_class(name):
    sets = {"read": tiered._READS, "put": tiered._PUTS, "change": tiered._CHANGES, "whole": tiered._WITHOUT_KEYS}
    found = [said for said, names in sets.items() if name in names]
    assert len(found) < 2, f"TieredStore classifies {name} as {found}"
    return first(name, "listing" if name in LISTINGS else "own" if name in vars(tiered.TieredStore) else None, **sets)


CLASSES = {
    "call": lambda name: first(name, "as it is", batch=BATCHES, listing=LISTINGS),
    "RetryWrapper": lambda name: first(name, "whole", reads=BATCHES_OF_READS, writes=BATCHES, doubt=CONDITIONAL_WRITES),
    "StatisticsWrapper": lambda name: first(
        name, "calls", value={"get"}, puts=PUTS_OF_ONE, batch=BATCHES, lookup=statistics._LOOKUPS
    ),
    "LoggingWrapper": lambda name: first(name, "ok", lookup=logging._LOOKUPS, conflict=CONDITIONAL_WRITES),
    "EventsWrapper": lambda name: kinds(events.MAY_EMIT.get(name, ())),
    "OnErrorWrapper": lambda name: first(name, "raises", write=on_error._WRITES, answer=on_error._ANSWERS),
    "ReadOnlyWrapper": lambda name: "refuses" if name in CORE & CHANGES else "lacks" if name in CHANGES else "reads",
    "FallbackWrapper": lambda name: "write" if name in CHANGES else "read",
    "RoutingStore": lambda name: "forwarded" if getattr(RoutingStore, name) is not getattr(BaseWrapper, name) else "",
    "TieredStore": tiered_class,
}
EXPECTED = {
    "get": "as it is, whole, value, lookup, Expired Retrieved, answer, reads, read, forwarded, own",
    "get_entry": "as it is, whole, lookup, lookup, Expired Retrieved, answer, reads, read, forwarded, read",
    "exists": "as it is, whole, lookup, lookup, Expired, answer, reads, read, forwarded, read",
    "put": "as it is, whole, puts, ok, Expired Stored, write, refuses, write, forwarded, put",
    "delete": "as it is, whole, calls, lookup, Deleted Expired, write, refuses, write, forwarded, change",
    "get_many": "batch, reads, batch, ok, Expired Retrieved, answer, reads, read, forwarded, read",
    "get_entries": "batch, reads, batch, ok, Expired Retrieved, answer, reads, read, forwarded, read",
    "put_many": "batch, writes, batch, ok, Expired Stored, write, refuses, write, forwarded, put",
    "delete_many": "batch, writes, batch, ok, Deleted Expired, write, refuses, write, forwarded, change",
    "ping": "as it is, whole, calls, ok, , raises, reads, read, , whole",
    "put_if_absent": "as it is, doubt, puts, conflict, Expired Stored, raises, lacks, write, forwarded, change",
    "compare_and_put": "as it is, doubt, puts, conflict, Expired Stored, raises, lacks, write, forwarded, change",
    "compare_and_delete": "as it is, doubt, calls, conflict, Deleted Expired, raises, lacks, write, forwarded, change",
    "touch": "as it is, whole, calls, lookup, Expired, raises, lacks, write, forwarded, change",
    "keys": "listing, whole, calls, ok, , raises, reads, read, forwarded, listing",
    "count": "as it is, whole, calls, ok, , raises, reads, read, forwarded, whole",
    "collections": "listing, whole, calls, ok, , raises, reads, read, forwarded, listing",
    "destroy_collection": "as it is, whole, calls, ok, Cleared Expired, raises, lacks, write, forwarded, whole",
    "destroy": "as it is, whole, calls, ok, Cleared Expired, raises, lacks, write, forwarded, whole",
    "cull": "as it is, whole, calls, ok, , raises, lacks, write, forwarded, whole",
    "watch": "as it is, whole, calls, ok, , raises, reads, read, forwarded, own",
}
"""What each wrapper makes of each verb, in the order of `CLASSES`."""


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_each_wrapper_knows_what_it_makes_of_each_verb(verb):
    assert verb.name in EXPECTED, f"say here what each wrapper makes of {verb.name}"
    made = dict(zip(CLASSES, EXPECTED[verb.name].split(", "), strict=True))
    assert {wrapper: classify(verb.name) for wrapper, classify in CLASSES.items()} == made


NAMES_OF_ENTRIES = {"key", "keys", "items"}
OTHER_ARGUMENTS = {"collection", "default", "value", "version", "ttl"}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb.name in OF_ENTRIES], ids=lambda verb: verb.name)
def test_a_verb_about_entries_names_them_by_one_argument_that_wrappers_know(verb):
    assert set(verb.arguments) <= NAMES_OF_ENTRIES | OTHER_ARGUMENTS, (
        f"an argument of {verb.name} is new. If it names an entry, write the verb in RoutingStore, TieredStore and "
        "SingleFlightWrapper, and its events in EventsWrapper, which look at key, keys and items alone"
    )
    assert len(NAMES_OF_ENTRIES & set(verb.arguments)) == 1


VALUES = "get get_entry put get_many get_entries put_many put_if_absent compare_and_put"
NAMES = f"{VALUES} exists delete delete_many compare_and_delete touch keys count destroy_collection watch"
WAYS = {
    "CircuitBreakerWrapper": ("steps", "", ""),
    "CompressionWrapper": ("", "", VALUES),
    "DefaultValueWrapper": ("", "get get_many", ""),
    "EncryptionWrapper": ("", "", VALUES),
    "EventsWrapper": ("calls", "", ""),
    "FallbackWrapper": ("steps", "", ""),
    "LimitSizeWrapper": ("", "put put_many", "put_if_absent compare_and_put"),
    "LoggingWrapper": ("calls", "", ""),
    "NearCacheWrapper": ("steps", "get watch", ""),
    "OnErrorWrapper": ("steps", "", ""),
    "PrefixCollectionsWrapper": ("", "", f"{NAMES} collections destroy"),
    "PrefixKeysWrapper": ("", "", f"{NAMES} collections destroy"),
    "ReadOnlyWrapper": ("", "", ""),
    "RetryWrapper": ("steps", "", ""),
    "RoutingStore": ("", f"{NAMES} collections destroy cull", ""),
    "SanitizationWrapper": ("", "", f"{NAMES} collections"),
    "SerializingWrapper": ("steps", "", ""),
    "SigningWrapper": ("", "", VALUES),
    "SingleCollectionWrapper": ("", "collections destroy", NAMES),
    "SingleFlightWrapper": ("", "delete delete_many compare_and_delete destroy_collection destroy", ""),
    "StatisticsWrapper": ("calls", "keys collections", ""),
    "TTLWrapper": ("", "get get_entry get_many get_entries", "put put_many put_if_absent compare_and_put touch"),
    "TieredStore": ("steps", "get watch", ""),
    "TimeoutWrapper": ("steps", "", ""),
}
"""Whether calls go through a wrapper's `_around`, or steps of listings too; the verbs that its class writes; and those
that go through its other seams. All other verbs are the inner store's own methods."""


def test_each_wrapper_is_known():
    kinds = [getattr(wrappers, name) for name in wrappers.__all__]
    found = {kind.__name__ for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseWrapper)}
    found -= {"BaseWrapper", "CompositeStore"}
    assert found == WAYS.keys(), f"rows of WAYS missing or superfluous: {sorted(found ^ WAYS.keys())}"


@pytest.mark.parametrize("name", WAYS)
def test_verbs_go_through_a_wrapper_as_the_table_says(name):
    kind = getattr(wrappers, name)

    def overrides(*seams):
        return any(getattr(kind, seam) is not getattr(Seams, seam) for seam in seams)

    around, written, seams = WAYS[name]
    own = {verb.name for verb in VERBS if getattr(kind, verb.name) is not getattr(BaseWrapper, verb.name)}
    through_seams = {verb.name for verb in VERBS if overrides(*verb.seams)} - own
    wrong = own ^ set(written.split())
    assert not wrong, f"in the row of verbs that the class writes, missing or superfluous: {sorted(wrong)}"
    wrong = through_seams ^ set(seams.split())
    assert not wrong, f"in the row of verbs that go through seams, missing or superfluous: {sorted(wrong)}"
    assert around == ("" if not overrides("_around") else "steps" if kind._around_steps else "calls")


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_verb_takes_the_arguments_of_its_row(verb):
    for owner in (SupportsEverything, BaseStore, BaseWrapper, SyncStore):
        assert hasattr(owner, verb.name), f"write {verb.name} in {owner.__name__}"
        assert tuple(inspect.signature(getattr(owner, verb.name)).parameters)[1:] == verb.arguments


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_seam_of_a_verb_is_one_of_the_wrappers(verb):
    assert [seam for seam in verb.seams if not hasattr(BaseWrapper, seam)] == []
    assert "_around" not in verb.seams


def test_a_verb_of_the_core_is_one_of_the_protocol():
    assert {name for name in vars(AsyncKeyValue) if not name.startswith("_")} == CORE | {
        "capabilities",
        "max_key_bytes",
        "max_value_bytes",
        "aclose",
    }


def test_the_suite_calls_each_verb_that_a_store_may_lack():
    assert suite._CALLS.keys() == NEEDED.keys()


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_random_operations_have_each_verb(verb):
    assert hasattr(StoreMachine, verb.name) or verb.name in WITHOUT_A_RULE, f"add a rule {verb.name} to StoreMachine"


def test_each_capability_has_its_verbs():
    assert METHODS.keys() == set(Capability)
