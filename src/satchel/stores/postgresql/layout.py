"""The table of a `PostgreSQLStore`: its name and its columns."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConfigurationError
from .._sqllike.rows import table_parts

COLUMNS = {
    "collection": "bytea",
    "key": "bytea",
    "codec": "smallint",
    "version": "bytea",
    "updated_at": "double precision",
    "deadline": "double precision",
    "checksum": "bigint",
    "full_collection": "bytea",
    "full_key": "bytea",
    "payload": "bytea",
}
"""Each column and its type; the two `full` ones alone may be NULL."""


class Table:
    """Name of a table, checked, and quoted so that it stands in a statement as exactly this.

    Args:
        name: `table`, or `schema.table`.

    Raises:
        ConfigurationError: It is no such name.
    """

    def __init__(self, name: object) -> None:
        parts = table_parts(name)
        self.quoted = ".".join(f'"{part}"' for part in parts)
        self.index = f'"{parts[-1]}_deadline"'
        self.function = ".".join(f'"{part}"' for part in [*parts[:-1], f"{parts[-1]}_notify"])

    def check(self, found: Sequence[str] | None) -> None:
        """Refuse a table that is there with other columns; more columns than ours may be there.

        Args:
            found: Its columns, each with its type behind a space; None when there is no table.
        """
        lacking = {f"{name} {kind}" for name, kind in COLUMNS.items()}.difference(found or ())
        if found is not None and lacking:
            raise ConfigurationError(
                f"the table {self.quoted} is not one of satchel's, or was changed: "
                f"it lacks {', '.join(sorted(lacking))}; give another table_name"
            )

    @property
    def creation(self) -> str:
        """The statements that create it, to be sent as one: then they are one transaction."""
        nullable = ("full_collection", "full_key")
        columns = [f"{name} {kind}{'' if name in nullable else ' NOT NULL'}" for name, kind in COLUMNS.items()]
        return (
            f"CREATE TABLE IF NOT EXISTS {self.quoted} ({', '.join(columns)}, PRIMARY KEY (collection, key));"
            f"CREATE INDEX IF NOT EXISTS {self.index} ON {self.quoted} (deadline) WHERE deadline < 'infinity'"
        )
