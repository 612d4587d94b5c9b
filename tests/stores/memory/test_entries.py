"""Which records of a memory store have expired, which go first, and that only those go."""

import pytest

from satchel.backend.base import ABSENT
from satchel.backend.record import Record
from satchel.clock import NEVER
from satchel.stores.memory.entries import NO_VERSION_YET, Deadlines, Entries

VERSION = "f" * 32
LATE = 1e9


def record(deadline=NEVER, *, at=0.0, version=VERSION, size=1):
    return Record(b"x" * size, 0, version, at, deadline)


def filled(max_entries=None, max_bytes=None, **deadlines):
    entries = Entries(max_entries, max_bytes)
    for key, deadline in deadlines.items():
        entries.set("c", key, record(deadline))
    return entries


def due(deadlines, now=LATE):
    found = []
    while (ref := deadlines.pop_due(now)) is not None:
        found.append(ref)
    return found


class TestDeadlines:
    def test_the_earliest_comes_first_and_none_before_its_time(self):
        current = {("c", "b"): 2.0, ("c", "a"): 1.0, ("c", "d"): 3.0}
        deadlines = Deadlines(current.__getitem__)
        assert deadlines.first == NEVER
        assert deadlines.pop_due(LATE) is None
        for ref, deadline in current.items():
            deadlines.add(deadline, ref)
        assert deadlines.first == 1.0
        assert due(deadlines, 0.9) == []
        assert due(deadlines, 2.0) == [("c", "a"), ("c", "b")]
        assert deadlines.first == 3.0
        assert due(deadlines) == [("c", "d")]
        assert deadlines.first == NEVER

    def test_renewed_ones_are_forgotten_before_they_fill_the_memory(self):
        current = {}
        deadlines = Deadlines(current.__getitem__)
        for number in range(10_000):
            current["c", "k"] = float(number)
            deadlines.add(float(number), ("c", "k"))
        assert len(due(deadlines)) <= 2000

    def test_none_that_counts_is_forgotten(self):
        deadlines = Deadlines(lambda ref: float(ref[1]))
        refs = [("c", str(number)) for number in range(5000)]
        for ref in refs:
            deadlines.add(float(ref[1]), ref)
        assert due(deadlines) == refs

    def test_many_that_count_are_not_looked_through_each_time(self):
        looked = 0

        def current(ref):
            nonlocal looked
            looked += 1
            return 1.0

        deadlines = Deadlines(current)
        for number in range(9000):
            deadlines.add(1.0, ("c", str(number)))
        assert 0 < looked < 2 * 9000

    def test_first_is_known_when_all_were_out_of_date(self):
        deadlines = Deadlines(lambda _: NEVER)
        for number in range(2002):
            deadlines.add(float(number), ("c", "k"))
        assert deadlines.first == 1601.0  # those that were added meanwhile are checked another time
        assert len(due(deadlines)) == 401
        assert deadlines.first == NEVER

    def test_names_are_looked_through_a_few_at_a_time(self):
        """All at once, a hundred thousand would hold the event loop for a tenth of a second."""
        looked, most = [], 0
        deadlines = Deadlines(lambda ref: looked.append(ref) or float(ref[1]))
        for number in range(20_000):
            deadlines.add(float(number), ("c", str(number)))
            most = max(most, len(looked))
            looked.clear()
        assert 0 < most < 10
        assert len(due(deadlines)) == 20_000

    def test_one_that_comes_due_while_names_are_looked_through_is_not_forgotten(self):
        current = {}
        deadlines = Deadlines(current.__getitem__)
        found = []
        for number in range(9000):
            current["c", str(number)] = float(number)
            deadlines.add(float(number), ("c", str(number)))
            if number % 3 == 0:
                found.append(deadlines.pop_due(LATE))
        assert sorted(found + due(deadlines)) == sorted(current)

    def test_a_deadline_given_again_and_again_is_there_once(self):
        deadlines = Deadlines(lambda _: 1.0)
        for number in range(10_000):
            deadlines.add(1.0, ("c", str(number % 100)))
        assert len(due(deadlines)) <= 2000


class TestExpiry:
    def test_a_record_lives_until_its_deadline_and_not_at_it(self):
        entries = filled(a=10.0, b=NEVER)
        assert entries.live("c", "a", 9.9) == record(10.0)
        assert entries.live("c", "a", 10.0) is None
        assert entries.live("c", "b", LATE) == record()
        assert entries.live("c", "none", 0.0) is None
        assert entries.live("none", "a", 0.0) is None

    def test_a_collection_lives_as_long_as_one_of_its_records(self):
        entries = filled(a=10.0, b=20.0)
        assert [entries.any_live("c", now) for now in (9.9, 10.0, 19.9, 20.0)] == [True, True, True, False]
        assert not entries.any_live("none", 0.0)

    def test_an_expired_record_is_absent_to_a_conditional_write(self):
        entries = filled(a=10.0)
        ref = ("c", "a")
        assert [entries.holds(ref, ABSENT, now) for now in (9.9, 10.0)] == [False, True]
        assert [entries.holds(ref, VERSION, now) for now in (9.9, 10.0)] == [True, False]
        assert not entries.holds(ref, "another", 0.0)
        assert entries.holds(("c", "none"), ABSENT, 0.0)
        assert not entries.holds(("c", "none"), VERSION, 0.0)

    def test_a_version_is_made_once(self):
        entries = Entries(None, None)
        entries.set("c", "k", record(version=NO_VERSION_YET))
        made = entries.named("c", "k").version
        assert len(made) == 32
        assert entries.named("c", "k").version == made
        assert entries.holds(("c", "k"), made, 0.0)


class TestSweep:
    def test_only_what_has_expired_goes_the_earliest_first_and_no_more_than_asked(self):
        entries = filled(a=3.0, b=1.0, d=2.0, e=NEVER, f=9.0)
        assert entries.sweep(3.0, 2) == 2
        assert set(entries.of("c")) == {"a", "e", "f"}
        assert entries.sweep(3.0, 0) == 0
        assert entries.sweep(3.0, 5) == 1
        assert entries.sweep(3.0, 5) == 0
        assert set(entries.of("c")) == {"e", "f"}

    def test_a_renewed_record_stays_and_does_not_count(self):
        entries = filled(a=1.0, b=1.0, d=2.0)
        entries.set("c", "a", record(10.0))
        entries.remove("c", "b")
        assert entries.sweep(5.0, 1) == 1
        assert set(entries.of("c")) == {"a"}
        assert entries.sweep(10.0, 1) == 1
        assert entries.collections == {}

    @pytest.mark.parametrize(("now", "left"), [(0.9, {"a", "new"}), (1.0, {"new"})])
    def test_a_write_takes_along_what_has_expired(self, now, left):
        entries = filled(a=1.0)
        assert entries.set("c", "new", record(at=now)) is True
        assert set(entries.of("c")) == left

    def test_a_write_takes_along_a_few_hundred_at_most(self):
        entries = filled(**{f"k{number}": 1.0 for number in range(700)})
        entries.set("c", "new", record(at=2.0))
        assert len(entries.of("c")) == 201

    @pytest.mark.parametrize("bounds", [{"max_entries": 2}, {"max_bytes": 2}])
    def test_the_earliest_to_expire_makes_room_and_then_the_longest_unused(self, bounds):
        entries = filled(**bounds, a=NEVER, b=5.0)
        entries.set("c", "d", record(at=5.0))
        assert list(entries.of("c")) == ["a", "d"]
        entries.mark_used("c", "a")
        entries.set("c", "e", record(at=5.0))
        assert set(entries.of("c")) == {"a", "e"}

    @pytest.mark.parametrize("bounds", [{"max_entries": 2}, {"max_bytes": 2}])
    def test_what_has_not_expired_makes_no_room_before_its_turn(self, bounds):
        entries = filled(**bounds, a=NEVER, b=5.0)
        entries.set("c", "d", record(at=4.9))
        assert set(entries.of("c")) == {"b", "d"}

    def test_bytes_of_what_went_are_free_again(self):
        entries = Entries(None, 10)
        entries.set("c", "a", record(size=4))
        entries.set("c", "a", record(size=6))
        entries.set("c", "b", record(1.0, size=4))
        entries.set("c", "d", record(at=1.0, size=4))
        assert list(entries.of("c")) == ["a", "d"]
        entries.remove("c", "a")
        entries.set("c", "e", record(size=6))
        assert list(entries.of("c")) == ["d", "e"]

    @pytest.mark.parametrize("bounds", [{"max_entries": 2}, {"max_bytes": 2}])
    def test_what_is_put_again_was_used_last(self, bounds):
        entries = filled(**bounds, a=NEVER, b=NEVER)
        assert entries.set("c", "a", record()) is True
        entries.set("c", "d", record())
        assert set(entries.of("c")) == {"a", "d"}


class TestChanges:
    @pytest.mark.parametrize("bounds", [{}, {"max_entries": 2}])
    def test_each_is_reported_with_its_names(self, bounds):
        class Feed:
            changed = staticmethod(lambda collection, key: seen.append((collection, key)))

        seen = []
        entries = filled(**bounds, a=1.0)
        entries.report_to(Feed())
        assert entries.set("c", "b", record(at=1.0)) is True
        assert sorted(seen) == [("c", "a"), ("c", "b")]

    def test_a_listing_goes_on_while_names_come(self):
        entries = filled(**{f"k{number}": NEVER for number in range(1500)})
        listing = entries.listings.pages(entries.of("c"))
        names = next(listing)
        entries.set("c", "new", record())
        names += [name for page in listing for name in page]
        assert len(names) == len(set(names))
        assert {f"k{number}" for number in range(1500)} <= set(names)

    def test_a_listing_of_collections_goes_on_while_they_come(self):
        entries = Entries(None, None)
        for number in range(1500):
            entries.set(f"c{number}", "k", record())
        listing = entries.listings.pages(entries.collections)
        names = next(listing)
        entries.set("new", "k", record())
        names += [name for page in listing for name in page]
        assert {f"c{number}" for number in range(1500)} <= set(names)
