"""How a command ends: its exit code, and one line on standard error if something went wrong."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any

from ..errors import (
    ConfigurationError,
    InvalidKeyError,
    InvalidTTLError,
    KeyMissingError,
    ReadOnlyError,
    SatchelError,
    SerializationError,
    UnsupportedOperationError,
    ValueTooLargeError,
)

DONE, ABSENT, USAGE, STORE = 0, 1, 2, 3
INTERRUPTED, NOBODY_READS = 130, 141
"""Exit codes that shells report for a program ended by SIGINT or SIGPIPE."""

_USAGE = (
    ConfigurationError,
    InvalidKeyError,
    InvalidTTLError,
    ReadOnlyError,
    SerializationError,
    UnsupportedOperationError,
    ValueTooLargeError,
)


class UsageError(ConfigurationError):
    """The command line is wrong."""


def execute(work: Coroutine[Any, Any, int]) -> int:
    """Run a command, and return its exit code. No error is shown as a traceback."""
    import asyncio  # noqa: PLC0415  # `--help` does not need it

    try:
        code = asyncio.run(work)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return NOBODY_READS
    except SatchelError as error:
        say(one_line(error))
        return code_of(error)
    except OSError as error:
        return refuse_file(error)
    except Exception as error:
        say(f"internal error: {type(error).__name__}; please report it together with the command")
        return STORE
    return code


def code_of(error: SatchelError) -> int:
    """Return the exit code for an error."""
    if isinstance(error, KeyMissingError):
        return ABSENT
    return USAGE if isinstance(error, _USAGE) else STORE


def refuse_file(error: OSError) -> int:
    """Report what is wrong with a file or with standard output, and return the exit code."""
    say(f"{error.filename or 'the output'}: {error.strerror or type(error).__name__}")
    return USAGE


def one_line(error: BaseException) -> str:
    """Return the message of an error as one line."""
    return " ".join(str(error).split()) or type(error).__name__


def say(line: str) -> None:
    """Write one line to standard error."""
    try:
        sys.stderr.write(f"satchel: {line}\n")
        sys.stderr.flush()
    except OSError:
        return  # standard error is closed
