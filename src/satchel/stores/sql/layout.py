"""The table of a `SQLStore`: its columns, how each database declares them, and its rows as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, TableClause, column, inspect, table, types
from sqlalchemy.engine import Dialect

from ...backend.record import Record
from ...clock import NEVER
from ...errors import ConfigurationError, IntegrityError
from ...names import Ref
from .._sqllike import rows

Row = dict[str, Any]

_NAME, _BYTES, _SHORT, _LONG, _REAL = "name", "bytes", "short", "long", "real"
COLUMNS = {
    "collection": _NAME,
    "key": _NAME,
    "codec": _SHORT,
    "version": _NAME,
    "updated_at": _REAL,
    "deadline": _REAL,
    "checksum": _LONG,
    "full_collection": _BYTES,
    "full_key": _BYTES,
    "payload": _BYTES,
}
"""Each column and what it holds."""
RECORD = [name for name in COLUMNS if name not in ("collection", "key")]
"""The columns of a record, without its place."""
_NULLABLE = ("deadline", "full_collection", "full_key")

_MYSQL = {_NAME: "VARBINARY(1032)", _BYTES: "LONGBLOB", _SHORT: "SMALLINT", _LONG: "BIGINT", _REAL: "DOUBLE"}
_TYPES = {
    "sqlite": {_NAME: "BLOB", _BYTES: "BLOB", _SHORT: "INTEGER", _LONG: "INTEGER", _REAL: "REAL"},
    "postgresql": {_NAME: "bytea", _BYTES: "bytea", _SHORT: "smallint", _LONG: "bigint", _REAL: "double precision"},
    "mysql": _MYSQL,
    "mariadb": _MYSQL,
}
"""Types of each database: binary ones, for which no collation takes two names for one."""
_CLASSES = {
    _NAME: types._Binary,
    _BYTES: types._Binary,
    _SHORT: types.Integer,
    _LONG: types.Integer,
    _REAL: types.Float,
}


class Table:
    """Name of a table, checked, with its statements of creation.

    Args:
        name: `table`, or `schema.table`.

    Raises:
        ConfigurationError: It is no such name.
    """

    def __init__(self, name: object) -> None:
        *schema, self.name = rows.table_parts(name)
        self.schema = schema[0] if schema else None
        self.full_name = ".".join([*schema, self.name])
        self.clause: TableClause = table(self.name, *map(column, COLUMNS), schema=self.schema)

    def creation(self, dialect: Dialect) -> list[str]:
        """Return the statements that create the table, and its index, where they are missing."""
        quote = dialect.identifier_preparer.quote
        kinds = _TYPES[dialect.name]
        columns = [
            f"{quote(name)} {kinds[kind]}{'' if name in _NULLABLE else ' NOT NULL'}" for name, kind in COLUMNS.items()
        ]
        columns.append(f"PRIMARY KEY ({quote('collection')}, {quote('key')})")
        index, deadline = quote(f"{self.name}_deadline"), f"({quote('deadline')})"
        place = "" if self.schema is None else f"{quote(self.schema)}."
        create = f"CREATE TABLE IF NOT EXISTS {place}{quote(self.name)}"
        if kinds is _MYSQL:  # it has no CREATE INDEX IF NOT EXISTS
            return [f"{create} ({', '.join([*columns, f'INDEX {index} {deadline}'])}) ENGINE=InnoDB"]
        # SQLite wants the schema before the index, PostgreSQL takes that of the table.
        of_index, of_table = (place, "") if dialect.name == "sqlite" else ("", place)
        some = f"WHERE {quote('deadline')} IS NOT NULL"
        on = f"{of_table}{quote(self.name)} {deadline}"
        return [f"{create} ({', '.join(columns)})", f"CREATE INDEX IF NOT EXISTS {of_index}{index} ON {on} {some}"]

    def search(self) -> tuple[str, tuple[str]]:
        """Return the statement by which SQLite tells whether the table is there, and its parameters."""
        place = "" if self.schema is None else f'"{self.schema}".'
        return f"SELECT 1 FROM {place}sqlite_master WHERE lower(name) = lower(?)", (self.name,)  # noqa: S608  # the schema was checked

    def check(self, connection: Connection) -> None:
        """Refuse a table that exists but is not as `creation` makes it. It may have more columns.

        Raises:
            ConfigurationError: A column is missing or has another type, or the primary key is another one.
        """
        inspector = inspect(connection)
        if not inspector.has_table(self.name, self.schema):
            return
        found = {each["name"]: each["type"] for each in inspector.get_columns(self.name, self.schema)}
        wrong = [name for name, kind in COLUMNS.items() if not isinstance(found.get(name), _CLASSES[kind])]
        key = inspector.get_pk_constraint(self.name, self.schema)["constrained_columns"]
        if key != ["collection", "key"]:
            wrong.append("the primary key (collection, key)")
        if wrong:
            raise ConfigurationError(
                f"the table {self.full_name} is not one of satchel's, or was changed: {', '.join(wrong)} "
                "missing or of another type; give another table_name"
            )


def row_of(ref: Ref, record: Record) -> Row:
    """Return an entry as a row. A deadline of never is NULL: MySQL has no infinity."""
    row = dict(zip(COLUMNS, rows.row_of(ref, record), strict=True))
    if record.deadline == NEVER:
        row["deadline"] = None
    return row


def record_of(row: Sequence[Any]) -> Record | IntegrityError:
    """Return the record in a row of the columns `RECORD`; without the last of them, the payload, it is empty."""
    codec, version, updated_at, deadline, checksum, full_collection, full_key, *payload = row
    values = (codec, version, updated_at, NEVER if deadline is None else deadline, checksum)
    whole = (*values, full_collection, full_key, *(payload or [b""]))
    if any(type(value) is not kind for value, kind in zip((*values, whole[-1]), _KINDS, strict=True)):
        return IntegrityError("a stored entry is damaged: a column has a value of another type")  # SQLite takes any
    return rows.record_of(whole)


_KINDS = (int, bytes, float, float, int, bytes)
"""Types of what a row holds, but for names, in the order of its columns."""
