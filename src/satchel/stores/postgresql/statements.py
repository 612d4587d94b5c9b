"""The statements of a `PostgreSQLStore`, each one transaction of its own.

A batch goes in arrays of text, one for each column, bytes in hexadecimal: of other arrays asyncpg asks the server what
they are at each new connection, which takes long, behind a pooler a second. The table's name was checked and quoted;
nothing else is put into the text of a statement.
"""

# ruff: noqa: S608  # said above

from __future__ import annotations

from .layout import COLUMNS

PAGE = 500
"""The most names in a page of a listing."""
SWEEP = 1000
"""The most rows that one statement reclaims."""

_RECORD = [name for name in COLUMNS if name not in ("collection", "key")]
_SET = ", ".join(f"{name} = excluded.{name}" for name in _RECORD)
_SET_FROM_ITEM = ", ".join(f"{name} = item.{name}" for name in _RECORD)
_SAME = "entry.collection = item.collection AND entry.key = item.key"
# A version is 8 bytes of the process and 8 bytes that count. What a process wrote later stays, when something that it
# was told had failed arrives late. A put whose caller still waits is told, and sent again with a later version.
_NOT_OVERTAKEN = """
    substr(entry.version, 1, 8) <> substr(excluded.version, 1, 8) OR entry.version <= excluded.version
"""

PROBE = """
    SELECT pg_backend_pid(),
        EXISTS (SELECT FROM pg_prepared_statements
            WHERE statement = current_query() AND starts_with(name, '__asyncpg')),
        (SELECT array_agg(attname || ' ' || format_type(atttypid, NULL)) FROM pg_attribute
            WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped),
        $2::bytea, $3::text, $4::text[], $5::smallint, $6::bigint, $7::double precision
"""
"""Statement that returns the server's process, whether it is prepared, the columns of a table, and its arguments."""

TERMINATE = """
    SELECT pg_terminate_backend(pid, $3::bigint)
    FROM pg_stat_activity, unnest($1::text[], $2::text[]) AS cut_off (found_by, age)
    WHERE usename = session_user AND pid <> pg_backend_pid() AND (
        (pid::text = found_by AND backend_start <= clock_timestamp() - make_interval(secs => age::double precision))
        OR (substr(query, 3, 16) = found_by AND state = 'active')
    )
"""
"""Statement that ends processes of the server, and waits some milliseconds for their end.

They are those with a given number that existed at a given time, since a number comes back after a restart, and those
at work on a statement with a mark in front.
"""


_REF = {"collection": "bytea", "key": "bytea"}


def _items(columns: dict[str, str]) -> str:
    """Return what gives a batch as a table `item` with these columns and its positions."""
    forms = [
        f"decode({name}, 'hex') AS {name}" if kind == "bytea" else f"{name}::{kind}" for name, kind in columns.items()
    ]
    arrays = ", ".join(f"${at}::text[]" for at in range(1, len(columns) + 1))
    return (
        f"(SELECT {', '.join(forms)}, position FROM unnest({arrays}) "
        f"WITH ORDINALITY AS packed ({', '.join(columns)}, position)) AS item"
    )


class Statements:
    """Statements for one table.

    Args:
        table: Its name, quoted.
    """

    def __init__(self, table: str) -> None:
        record = ", ".join(f"entry.{name}" for name in _RECORD)
        head = ", ".join("''::bytea" if name == "payload" else f"entry.{name}" for name in _RECORD)
        self.read_one, self.read_head_of_one = (
            f"SELECT {columns} FROM {table} AS entry WHERE collection = $1 AND key = $2" for columns in (record, head)
        )
        # LATERAL: one look-up in the index for each item, whatever the statistics make the planner believe.
        self.read, self.read_heads = (
            f"""
                SELECT {columns}, item.position
                FROM {_items(_REF)},
                    LATERAL (SELECT * FROM {table} AS found WHERE found.collection = item.collection
                        AND found.key = item.key OFFSET 0) AS entry
            """
            for columns in (record, head)
        )
        insert = f"INSERT INTO {table} AS entry ({', '.join(COLUMNS)})"
        conflict = f"ON CONFLICT (collection, key) DO UPDATE SET {_SET} WHERE"
        unless_late = f"{conflict} {_NOT_OVERTAKEN} RETURNING entry.version"
        values = ", ".join(f"${at}" for at in range(1, len(COLUMNS) + 1))
        self.put_one = f"{insert} VALUES ({values}) {unless_late}"
        self.put = f"{insert} SELECT {', '.join(COLUMNS)} FROM {_items(COLUMNS)} WHERE true {unless_late}"
        self.put_if = f"""
            WITH item AS (SELECT * FROM {_items(COLUMNS | {"expected": "bytea"})}),
            added AS (
                {insert} SELECT {", ".join(COLUMNS)} FROM item WHERE expected IS NULL
                {conflict} entry.deadline <= $12 RETURNING entry.collection, entry.key
            ),
            replaced AS (
                UPDATE {table} AS entry SET {_SET_FROM_ITEM} FROM item
                WHERE {_SAME} AND entry.version = item.expected AND entry.deadline > $12
                RETURNING entry.collection, entry.key
            )
            SELECT * FROM added UNION ALL SELECT * FROM replaced
        """
        self.delete = f"""
            DELETE FROM {table} AS entry USING {_items(_REF)} WHERE {_SAME}
            RETURNING entry.collection, entry.key, entry.deadline > $3
        """
        self.delete_if = f"""
            DELETE FROM {table} AS entry
            USING {_items(_REF | {"expected": "bytea"})}
            WHERE {_SAME} AND entry.version = item.expected AND entry.deadline > $4
            RETURNING entry.collection, entry.key
        """
        self.touch = f"""
            UPDATE {table} AS entry SET deadline = item.deadline
            FROM {_items(_REF | {"deadline": "double precision"})}
            WHERE {_SAME} AND entry.deadline > $4 RETURNING entry.collection, entry.key
        """
        # Compared as pairs, so that the planner expects many, and goes along the index instead of sorting all.
        self.keys = f"""
            SELECT key, full_key FROM {table}
            WHERE (collection, key) >= ($1::bytea, $2::bytea) AND (collection, key) < ($1, $3::bytea) AND deadline > $4
            ORDER BY collection, key LIMIT {PAGE}
        """
        self.count = f"""
            SELECT count(*) FROM {table}
            WHERE (collection, key) >= ($1::bytea, $2::bytea) AND (collection, key) < ($1, $3::bytea) AND deadline > $4
        """
        after = f"SELECT collection, full_collection FROM {table} WHERE deadline > $2 AND collection >"
        self.collections = f"""
            WITH RECURSIVE found AS (
                ({after} $1::bytea ORDER BY collection LIMIT 1)
                UNION ALL
                SELECT following.* FROM found,
                    LATERAL ({after} found.collection ORDER BY collection LIMIT 1) AS following
            )
            SELECT * FROM found LIMIT {PAGE}
        """
        self.any = f"SELECT FROM {table} WHERE deadline > $1 LIMIT 1"
        self.any_in = f"SELECT FROM {table} WHERE collection = $1 AND deadline > $2 LIMIT 1"
        some = """
            WITH batch AS MATERIALIZED (SELECT ctid FROM {table}{where} LIMIT 10000),
                gone AS (DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM batch)))
            SELECT FROM batch LIMIT 1
        """
        self.empty = some.format(table=table, where="")
        self.empty_collection = some.format(table=table, where=" WHERE collection = $1")
        self.first_deadline = f"SELECT deadline FROM {table} WHERE deadline < 'infinity' ORDER BY deadline LIMIT 1"
        # What another process puts meanwhile is locked, and so skipped, or no longer due.
        self.cull = f"""
            DELETE FROM {table} WHERE deadline <= $1 AND ctid = ANY (ARRAY(
                SELECT ctid FROM {table} WHERE deadline < 'infinity' AND deadline <= $1 ORDER BY deadline LIMIT {SWEEP}
                FOR UPDATE SKIP LOCKED
            )) RETURNING 1
        """
