"""The statements of a `SQLStore`: SQLAlchemy expressions, which differ between databases in the inserting alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, TableClause, bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite

from .layout import RECORD

PAGE = 500
"""The most names in a page of a listing."""
SWEEP = 1000
"""The most rows that one transaction removes."""

BEGIN = {
    "sqlite": ["BEGIN IMMEDIATE"],
    "postgresql": ["BEGIN ISOLATION LEVEL READ COMMITTED"],
    "mysql": ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"],
    "mariadb": ["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"],
}
"""What begins a transaction. Read committed: otherwise MySQL locks the gaps between rows too, and two that insert into
one gap wait for each other."""


class Statements:
    """Statements for one table.

    The place of an entry is given as `at_collection` and `at_key`, and several keys of a collection as `keys`.

    Args:
        table: The table.
        dialect: The name of the database's dialect.
    """

    def __init__(self, table: TableClause, dialect: str) -> None:
        of = table.c
        here = of.collection == bindparam("at_collection")
        at = here & (of.key == bindparam("at_key"))
        among = here & of.key.in_(bindparam("keys", expanding=True))
        live = of.deadline.is_(None) | (of.deadline > bindparam("now"))
        record = [of[name] for name in RECORD]
        head = record[:-1]  # all but the payload
        self.read_one, self.read_head_of_one = (select(*columns).where(at) for columns in (record, head))
        self.read, self.read_heads = (select(of.key, *columns).where(among) for columns in (record, head))
        self.put, self.add = _inserting(table, dialect)
        # In order, so that two processes that lock rows do not wait for each other.
        self.lock = select(of.key, of.version, of.deadline).where(among).order_by(of.key).with_for_update()
        self.remove = delete(table).where(among)
        self.delete_one = delete(table).where(at & live)
        has_version = (of.version == bindparam("expected")) & live
        self.delete_one_if = delete(table).where(at & has_version)
        self.replace_one_if = update(table).where(at & has_version)
        self.touch_one = update(table).where(at & live)
        self.touch = update(table).where(at)
        within = here & (of.key >= bindparam("start")) & (of.key < bindparam("end")) & live
        self.keys = select(of.key, of.full_key).where(within).order_by(of.key).limit(PAGE)
        self.count = select(func.count()).select_from(table).where(within)
        self.full_collection = select(of.full_collection).where(here).limit(1)
        self.collections = _collections(table)
        self.any = select(of.codec).where(live).limit(1)
        self.any_in = select(of.codec).where(here & live).limit(1)
        some = select(of.collection, of.key).limit(SWEEP)
        self.some = some.with_for_update()
        self.some_in = some.where(here).with_for_update()
        # What another process puts meanwhile is locked, and so skipped, or no longer due.
        due = some.where(of.deadline <= bindparam("now")).order_by(of.deadline)
        self.due = due.with_for_update(skip_locked=True)
        self.first_deadline = select(func.min(of.deadline))


def _inserting(table: TableClause, dialect: str) -> tuple[Any, Any]:
    """Return the statement that inserts or replaces a row, and the one that inserts it unless there is one."""
    if dialect in {"mysql", "mariadb"}:
        into = mysql.insert(table)
        new = {name: into.inserted[name] for name in RECORD}
        # The second one locks the row that is there, and changes nothing.
        return into.on_duplicate_key_update(new), into.on_duplicate_key_update(version=table.c.version)
    insert: Any = sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)
    key = ["collection", "key"]
    new = {name: insert.excluded[name] for name in RECORD}
    return insert.on_conflict_do_update(index_elements=key, set_=new), insert.on_conflict_do_nothing(index_elements=key)


def _collections(table: TableClause) -> Select[Any]:
    """Return the statement that finds each collection by one look-up in the primary key."""

    def following(after: Any, place: TableClause) -> Any:
        live = place.c.deadline.is_(None) | (place.c.deadline > bindparam("now"))
        names = select(place.c.collection).where((place.c.collection > after) & live)
        return names.order_by(place.c.collection).limit(1).scalar_subquery()

    first = select(following(bindparam("after"), table).label("name"), literal_column("1").label("number"))
    found = first.cte("found", recursive=True)
    more = select(following(found.c.name, table), found.c.number + literal_column("1"))
    found = found.union_all(more.where(found.c.name.is_not(None) & (found.c.number < literal_column(str(PAGE)))))
    return select(found.c.name).where(found.c.name.is_not(None))
