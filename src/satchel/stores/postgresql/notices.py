"""Changes of the table that the server reports: triggers that notify, and a connection that listens.

A trigger of a statement sends one notification for each row that was changed, with the stored forms of its collection
and key; of a statement that changed more than `MOST_ROWS`, one for each collection; of `TRUNCATE`, an empty one. The
server gives notifications to listeners when the transaction has been committed.
"""

# ruff: noqa: S608  # the names of the table were checked and quoted

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it has no types

from ...backend.watching import Feed
from ...errors import StoreUnavailableError
from .._sqllike.rows import MAX_STORED_NAME
from .layout import Table

PING_EVERY = 5.0
"""Seconds between signs of life."""
MOST_ROWS = 500
"""The most changed rows of a statement that are reported one by one."""

_CHANNEL = "'satchel_' || md5(TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME)"
_TRIGGERS = {
    "satchel_notify_insert": "INSERT ON {table} REFERENCING NEW TABLE AS changed",
    "satchel_notify_update": "UPDATE ON {table} REFERENCING NEW TABLE AS changed",
    "satchel_notify_delete": "DELETE ON {table} REFERENCING OLD TABLE AS changed",
    "satchel_notify_truncate": "TRUNCATE ON {table}",
}

HAS_TRIGGERS = f"""
    SELECT count(*) = {len(_TRIGGERS)} FROM pg_trigger
    WHERE tgrelid = to_regclass($1::text) AND tgname = ANY ($2::text[]) AND tgenabled IN ('O', 'A')
"""
FIND_CHANNEL = """
    SELECT 'satchel_' || md5(nspname || '.' || relname)
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = to_regclass($1::text)
"""


def creation(table: Table) -> str:
    """Return the statements that create the table if it is missing, the function, and the triggers, one transaction."""
    triggers = "".join(
        f"CREATE OR REPLACE TRIGGER {name} AFTER {event.format(table=table.quoted)} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table.function}();"
        for name, event in _TRIGGERS.items()
    )
    return f"""
        SELECT pg_advisory_xact_lock(hashtext('satchel notices'));
        {table.creation};
        CREATE OR REPLACE FUNCTION {table.function}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'TRUNCATE' THEN
                PERFORM pg_notify({_CHANNEL}, '');
            ELSIF (SELECT count(*) FROM (SELECT FROM changed LIMIT {MOST_ROWS} + 1) AS first) > {MOST_ROWS} THEN
                PERFORM pg_notify({_CHANNEL}, encode(collection, 'hex'))
                FROM (SELECT DISTINCT collection FROM changed) AS collections;
            ELSE
                PERFORM pg_notify({_CHANNEL}, encode(collection, 'hex') || ' ' || encode(key, 'hex')) FROM changed;
            END IF;
            RETURN NULL;
        END $$;
        {triggers}
    """


def report(feed: Feed, payload: str) -> None:
    """Report a notification to a feed; of a name that is stored hashed, everything that may have it."""
    names = [bytes.fromhex(part) for part in payload.split()]
    if not names or len(names[0]) > MAX_STORED_NAME:
        feed.lost()
    elif len(names) == 1 or len(names[1]) > MAX_STORED_NAME:
        feed.lost(names[0].decode())
    else:
        feed.changed(names[0].decode(), names[1].decode())


async def listen(connection: Any, table: Table, feed: Feed, limit: float | None) -> None:
    """Report the changes of a table, for which triggers are made if there are none, until the connection ends.

    The connection is asked for a sign of life every few seconds: one that is cut without a word would stay silent.

    Args:
        connection: An asyncpg connection that nothing else uses.
        table: The table.
        feed: What is reported to.
        limit: Seconds that a request may take; None for no limit.

    Raises:
        StoreUnavailableError: The connection has ended, or the triggers have gone.
    """
    ended = asyncio.Event()

    def end(*_: object) -> None:
        ended.set()

    def hear(_connection: object, _process: int, _channel: str, payload: str) -> None:
        report(feed, payload)

    async def has_triggers() -> bool:
        there: bool = await connection.fetchval(HAS_TRIGGERS, table.quoted, list(_TRIGGERS), timeout=limit)
        return there

    while not await has_triggers():
        # A writer may create the table at the same time, and only one is told that it did.
        with suppress(asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
            await connection.execute(creation(table), timeout=limit)
    channel = await connection.fetchval(FIND_CHANNEL, table.quoted, timeout=limit)
    connection.add_termination_listener(end)
    await connection.add_listener(channel, hear)
    try:
        feed.ready()
        while not ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_EVERY):
                    await ended.wait()
                    break
            if not await has_triggers():
                raise StoreUnavailableError(f"the triggers of table {table.quoted} were removed")
        raise StoreUnavailableError("the connection that heard of changes was closed")
    except asyncio.CancelledError:
        async with asyncio.timeout(limit):
            await connection.remove_listener(channel, hear)
        raise
    finally:
        connection.remove_termination_listener(end)
