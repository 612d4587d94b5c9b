"""What SQLAlchemy and its drivers report, in satchel's errors.

Their own messages can hold values, and are not passed on.
"""

from __future__ import annotations

import ssl

from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoFreeConnectionError

from ..._shortage import shortage_of_descriptors
from ...errors import (
    ConfigurationError,
    IntegrityError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)

Answers = tuple[tuple[tuple[str, ...], type[SatchelError], str], ...]

_OTHER_TABLE = "the table {table} at {where} is not as satchel makes it; give another table_name"
_NO_DATABASE = "there is no such database at {where}: create it, or correct the name"
_REFUSED = "{where} refuses this user or its password: correct them, or create the user there"
_NOT_ALLOWED = (
    "the user may not do this with table {table} at {where}: GRANT SELECT, INSERT, UPDATE, DELETE on it, and for the "
    "first write CREATE, or create the table beforehand"
)
_READ_ONLY = "{where} is read-only: connect to the primary, or make it writable"
_FULL = "the disk of {where} is full: the write was not made; free some space"
_NO_CONNECTION = "{where} has no connection left: close some, or raise its limit"
_CUT = "{where} cut the statement off: the write was not made; try again"
_LOCKED = "a lock was not free at {where} within the limit that is set there: the write was not made; try again"
_UNDONE = "{where} undid the transaction for another one's sake: try again"
_ENDED = "{where} shuts down, starts, or ended the connection: try again later"
_UNREACHABLE = "{where} cannot be reached: check host and port, and that the server runs"
_TOO_LARGE = "the encoded value is larger than {where} takes"

_UNNAMED = "SQLITE_ERROR"
"""SQLite's code for a missing table as well as for a missing column, an unknown schema, and wrong syntax."""

# By a number of MySQL, the beginning of an SQLSTATE, or the name of a code of SQLite; the first that fits answers.
_MYSQL: Answers = (
    (("1049",), ConfigurationError, _NO_DATABASE),
    (("1045", "1698", "1044", "2059"), ConfigurationError, _REFUSED),
    (("1142", "1143", "1227", "1370"), StoreError, _NOT_ALLOWED),
    (("1054", "1364", "1366", "1406", "1048", "1264", "1467"), ConfigurationError, _OTHER_TABLE),
    (("1290", "1836", "1792"), StoreError, _READ_ONLY),
    (("1021", "1114"), StoreError, _FULL),
    (("1040", "1203", "1226"), StoreUnavailableError, _NO_CONNECTION),
    (("1205",), StoreTimeoutError, _LOCKED),
    (("1213",), StoreUnavailableError, _UNDONE),
    (("1317", "1969", "3024"), StoreTimeoutError, _CUT),
    (("1153", "1301"), ValueTooLargeError, _TOO_LARGE + " (its max_allowed_packet)"),
    (("2003",), StoreUnavailableError, _UNREACHABLE),
    (("1053", "1077", "1079", "1152", "1927", "2006", "2013", "2014"), StoreUnavailableError, _ENDED),
)
_POSTGRESQL: Answers = (
    (("3D000",), ConfigurationError, _NO_DATABASE),
    (("28",), ConfigurationError, _REFUSED),
    (("3F000",), ConfigurationError, "the schema of table {table} is not there: CREATE SCHEMA, or correct table_name"),
    (("42501",), StoreError, _NOT_ALLOWED),
    (("42703", "42804", "42P10", "42809", "42883", "23502", "23514"), ConfigurationError, _OTHER_TABLE),
    (
        ("26000", "42P05"),
        ConfigurationError,
        "a pooler mixes up prepared statements: use PostgreSQLStore, which finds that out",
    ),
    (("25006",), StoreError, _READ_ONLY),
    (("53100",), StoreError, _FULL),
    (("53300",), StoreUnavailableError, _NO_CONNECTION),
    (("57014",), StoreTimeoutError, _CUT),
    (("55P03",), StoreTimeoutError, _LOCKED),
    (("40",), StoreUnavailableError, _UNDONE),
    (("53", "57P", "08"), StoreUnavailableError, _ENDED),
    (("54000",), ValueTooLargeError, _TOO_LARGE),
)
_SQLITE: Answers = (
    (
        (_UNNAMED,),  # our statements fit the tables that we make
        ConfigurationError,
        (
            "the table {table} at {where} is not as satchel makes it, or its schema is not attached; give another "
            "table_name"
        ),
    ),
    (("SQLITE_CONSTRAINT", "SQLITE_MISMATCH"), ConfigurationError, _OTHER_TABLE),
    (("SQLITE_BUSY", "SQLITE_LOCKED"), StoreTimeoutError, _LOCKED),
    (("SQLITE_FULL",), StoreUnavailableError, _FULL),
    (
        ("SQLITE_IOERR_WRITE",),  # a quota, or a limit on the size of files: to SQLite, no full disk
        StoreUnavailableError,
        "{where} could not be written, as when a quota leaves no room: the write was not made; free some space",
    ),
    (("SQLITE_READONLY",), StoreError, "the file of {where} is read-only: make it writable"),
    (("SQLITE_CANTOPEN",), ConfigurationError, "the file of {where} cannot be opened: check its directory"),
    (("SQLITE_NOTADB",), ConfigurationError, "the file of {where} is no SQLite database: correct the path"),
    (("SQLITE_CORRUPT",), IntegrityError, "the file of {where} is damaged: restore it from a backup"),
    (("SQLITE_TOOBIG",), ValueTooLargeError, _TOO_LARGE),
)
_ANSWERS = {"mysql": _MYSQL, "mariadb": _MYSQL, "postgresql": _POSTGRESQL, "sqlite": _SQLITE}

_NO_FILE = ("SQLITE_CANTOPEN", "SQLITE_IOERR")
_DESCRIPTORS = 4  # for the database, its journal and temporary files
_MISSING = ("1146", "42P01")
_THERE = ("1050", "42P07", "42710", "23505")
_UNDONE_CODES = ("1213", "1205", "40001", "40P01")


def code_of(error: BaseException) -> str:
    """Return what a database calls an error: MySQL's number, an SQLSTATE, or SQLite's name; "" for none."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, Exception) and cause.args and isinstance(cause.args[0], int):
        return str(cause.args[0])
    if state := getattr(cause, "sqlstate", None):
        return str(state)
    return str(getattr(cause, "sqlite_errorname", ""))


def is_missing_table(error: DBAPIError) -> bool | None:
    """Return whether the table is not there; None where the database has no code for that, and has to be asked."""
    code = code_of(error)
    return None if code == _UNNAMED else code in _MISSING


def is_existing_table(error: DBAPIError) -> bool:
    """Return whether another one has just created the table: PostgreSQL raises this in spite of IF NOT EXISTS."""
    return code_of(error) in _THERE


def is_undone(error: DBAPIError) -> bool:
    """Return whether the server carried out nothing of a transaction, so that it can be sent again."""
    return code_of(error) in _UNDONE_CODES


def translate(error: Exception, dialect: str, where: str, table: str) -> SatchelError | None:
    """Return the satchel error for one of SQLAlchemy's or a driver's; None for those that say nothing to a user.

    Args:
        error: The error raised.
        dialect: The name of the database's dialect.
        where: What the store calls itself.
        table: The name of its table.
    """
    code = code_of(error)
    if code.startswith(_NO_FILE) and (used_up := shortage_of_descriptors(_DESCRIPTORS)) is not None:
        return used_up
    for codes, kind, text in _ANSWERS[dialect]:
        if code and code.startswith(codes):
            return kind(text.format(where=where, table=table))
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ConfigurationError(f"the certificate of {where} is not trusted: give the one of its authority")
    if isinstance(error, NoFreeConnectionError):
        return StoreTimeoutError(f"the engine of {where} had no free connection in time: give it a larger pool")
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(cause, OSError) or not code:
            return StoreUnavailableError(f"the connection to {where} failed: try again")
        return StoreError(f"{where} reports {code}; its log has more")
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return StoreUnavailableError(_UNREACHABLE.format(where=where))
    if isinstance(error, (ArgumentError, ValueError)) and not isinstance(error, UnicodeError):
        return ConfigurationError(f"{where} has a URL or an engine that its driver cannot use: correct it")
    if isinstance(error, SQLAlchemyError):
        return StoreUnavailableError(f"the connection to {where} failed: try again")
    return None
