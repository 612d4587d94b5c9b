"""The database of a `DiskStore`: its file, its tables, and the migration of older ones.

Names in the database begin with `satchel_`, so that it can also hold other tables. A value of up to `INLINE` bytes is
stored beside its entry's header, a larger one in a separate table, so that a touch rewrites only the header.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError, IntegrityError, StoreError

FILE_NAME = "satchel.sqlite3"
INLINE = 512  # with names of usual length, a row then fits in its page: otherwise a touch would rewrite all of it
BUSY_SECONDS = 10.0

_APPLICATION_ID = 0x73617463  # "satc"
_OLDEST_SQLITE = (3, 35, 0)
_WAL_SIZE_LIMIT = 64 * 1024 * 1024
_VERSION = 1
_MAKING = threading.Lock()  # one thread must not open a file while another one of this process is about to close it

_META = "CREATE TABLE satchel_meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID"

ENTRIES = (
    """
    CREATE TABLE satchel_entries (
        collection TEXT NOT NULL,
        key TEXT NOT NULL,
        deadline REAL,
        deadline_checksum INTEGER NOT NULL,
        codec INTEGER NOT NULL,
        version BLOB NOT NULL,
        updated_at REAL NOT NULL,
        checksum INTEGER NOT NULL,
        used INTEGER NOT NULL,
        size INTEGER NOT NULL,
        large INTEGER,
        payload BLOB,
        PRIMARY KEY (collection, key)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE satchel_payloads (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
    "CREATE INDEX satchel_expiring ON satchel_entries (deadline) WHERE deadline IS NOT NULL",
    """
    CREATE TRIGGER satchel_replaced AFTER UPDATE OF large ON satchel_entries WHEN old.large IS NOT NULL
    BEGIN DELETE FROM satchel_payloads WHERE id = old.large; END
    """,
    """
    CREATE TRIGGER satchel_deleted AFTER DELETE ON satchel_entries WHEN old.large IS NOT NULL
    BEGIN DELETE FROM satchel_payloads WHERE id = old.large; END
    """,
)
"""The statements for the tables that `destroy` drops and creates again."""

BOUND = (
    "CREATE INDEX satchel_recency ON satchel_entries (used)",
    """
    CREATE TRIGGER satchel_added AFTER INSERT ON satchel_entries
    BEGIN UPDATE satchel_meta SET value = value + new.size WHERE name = 'bytes'; END
    """,
    """
    CREATE TRIGGER satchel_resized AFTER UPDATE OF size ON satchel_entries WHEN new.size <> old.size
    BEGIN UPDATE satchel_meta SET value = value + new.size - old.size WHERE name = 'bytes'; END
    """,
    """
    CREATE TRIGGER satchel_removed AFTER DELETE ON satchel_entries
    BEGIN UPDATE satchel_meta SET value = value - old.size WHERE name = 'bytes'; END
    """,
    """
    INSERT INTO satchel_meta SELECT 'bytes', coalesce(sum(size), 0) FROM satchel_entries WHERE true
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
    """,
)
"""The statements for a database opened with a `max_size`, which from then on counts its bytes for all processes."""

UPGRADES: dict[int, tuple[str, ...]] = {}
"""The statements that migrate each older version to the next one."""


def connect(directory: Path, durability: str) -> sqlite3.Connection:
    """Open the database in a directory, creating both if needed.

    Raises:
        ConfigurationError: The file belongs to another program or a later release.
        IntegrityError: The file is damaged.
    """
    _make_private(directory)
    database = open_file(str(directory / FILE_NAME))
    try:
        refuse_foreign(database, directory / FILE_NAME)
        _switch_to_wal(database)
        database.execute(f"PRAGMA synchronous = {'FULL' if durability == 'full' else 'NORMAL'}")
        database.execute(f"PRAGMA journal_size_limit = {_WAL_SIZE_LIMIT}")
        database.execute("PRAGMA secure_delete = OFF")
    except BaseException:
        database.close()
        raise
    return database


class _SQLiteConnection(sqlite3.Connection):
    """Connection that closes its cursors first: one whose statement failed would keep the files open."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def cursor(self, *arguments: Any) -> Any:
        cursor = super().cursor(*arguments)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        for cursor in list(self._cursors):
            cursor.close()
        self._cursors.clear()  # closing twice is fine, but not for a cursor
        super().close()


def open_file(name: str) -> sqlite3.Connection:
    """Open a database by its path or `file:` URI, without reading it."""
    database = sqlite3.connect(
        name,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=_SQLiteConnection,
        uri=name.startswith("file:"),
    )
    database.text_factory = bytes
    return database


def refuse_foreign(database: sqlite3.Connection, file: Path) -> None:
    """Raise `ConfigurationError` if the database in a file belongs to another program."""
    # In this order: otherwise a database that another process creates in between would seem to be foreign.
    used = database.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
    application = database.execute("PRAGMA application_id").fetchone()[0]
    if application != _APPLICATION_ID and (used or application):
        raise ConfigurationError(f"{file} belongs to another program; give DiskStore a directory of its own")


def prepare(database: sqlite3.Connection, *, bound: bool, mine: bool, read_only: bool) -> None:
    """Create or migrate the tables, in one atomic step among all processes that try at the same time."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise ConfigurationError(f"DiskStore needs SQLite 3.35 or later, but this Python has {sqlite3.sqlite_version}")
    if database.in_transaction or getattr(database, "autocommit", -1) is False:
        raise ConfigurationError("connection must not have a transaction open, nor be opened with autocommit=False")
    cursor = database.cursor()
    cursor.row_factory = None
    if cursor.execute("SELECT CAST('a' AS BLOB)").fetchone()[0] != b"a":
        raise ConfigurationError("connection must be to a database in UTF-8, SQLite's default")
    wanted = {b"satchel_meta", b"satchel_recency"} if bound and not read_only else {b"satchel_meta"}
    if wanted <= _names(cursor) and _version(cursor) == _VERSION:
        return
    if read_only:
        raise StoreError("the database does not have the tables of this release; open it once with write access")
    cursor.execute("BEGIN IMMEDIATE")
    try:
        if b"satchel_meta" not in _names(cursor):
            _create(cursor, mine=mine)
        for version in range(_version(cursor), _VERSION):
            _run(cursor, UPGRADES[version])
            cursor.execute("UPDATE satchel_meta SET value = ? WHERE name = 'version'", (version + 1,))
        if bound and b"satchel_recency" not in _names(cursor):
            _run(cursor, BOUND)
        cursor.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            cursor.execute("ROLLBACK")
        raise


def empty(cursor: sqlite3.Cursor) -> None:
    """Drop and create the tables of entries in the caller's transaction, in the same time for any size."""
    bound = b"satchel_recency" in _names(cursor)
    cursor.execute("DROP TABLE satchel_entries")
    cursor.execute("DROP TABLE satchel_payloads")
    _run(cursor, ENTRIES)
    if bound:
        _run(cursor, BOUND)


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite would make it readable for all; its other files get the mode of this one. An existing file is not touched:
    # closing it would drop the locks that SQLite holds for other connections of this process.
    with _MAKING, suppress(FileExistsError):
        os.close(os.open(directory / FILE_NAME, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _switch_to_wal(database: sqlite3.Connection) -> None:
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            # While another process is creating the database, this fails at once, whatever the busy timeout.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.005)
        else:
            if mode != b"wal":
                raise StoreError("the file system does not support SQLite's write-ahead log; use a local directory")
            return


def _create(cursor: sqlite3.Cursor, *, mine: bool) -> None:
    if mine:
        cursor.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    _run(cursor, (_META, *ENTRIES))
    cursor.execute("INSERT INTO satchel_meta VALUES ('version', ?)", (_VERSION,))


def _names(cursor: sqlite3.Cursor) -> set[bytes]:
    """Return the names in the database, as bytes whatever the connection's `text_factory`."""
    return {name for (name,) in cursor.execute("SELECT CAST(name AS BLOB) FROM sqlite_master").fetchall()}


def _version(cursor: sqlite3.Cursor) -> int:
    row = cursor.execute("SELECT value FROM satchel_meta WHERE name = 'version'").fetchone()
    if row is None or not isinstance(row[0], int) or row[0] < 1:
        raise IntegrityError("the database has no version number; restore it from a backup")
    if row[0] > _VERSION:
        raise ConfigurationError(
            f"the database has version {row[0]}, but this release supports up to {_VERSION}; install a later satchel"
        )
    version: int = row[0]
    return version


def _run(cursor: sqlite3.Cursor, statements: tuple[str, ...]) -> None:
    for statement in statements:
        cursor.execute(statement)
