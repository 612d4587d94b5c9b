"""Errors of satchel and of py-key-value, each as the other's. No message holds a value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from key_value.aio import errors as theirs

from ... import errors as ours


class TooLargeError(theirs.ValueTooLargeError):
    """py-key-value's error for large values, with satchel's message.

    Its class takes two sizes, which not every backend knows.
    """

    def __init__(self, message: str) -> None:
        theirs.KeyValueOperationError.__init__(self, message)


class NoTTLError(theirs.InvalidTTLError, TypeError):
    """py-key-value's error for a ttl that is not a number.

    Its `put` raises one of the two base classes, `put_many` the other.
    """


_AS_THEIRS: tuple[tuple[type[ours.SatchelError], type[theirs.BaseKeyValueError]], ...] = (
    (ours.InvalidKeyError, theirs.InvalidKeyError),
    (ours.SerializationError, theirs.SerializationError),
    (ours.ValueTooLargeError, TooLargeError),
    (ours.DecryptionError, theirs.DecryptionError),
    (ours.IntegrityError, theirs.DeserializationError),
    (ours.StoreUnavailableError, theirs.StoreConnectionError),
    (ours.StoreTimeoutError, theirs.StoreConnectionError),
    (ours.ConfigurationError, theirs.StoreSetupError),
    (ours.QueueFullError, theirs.KeyValueStoreError),
    (ours.StoreError, theirs.KeyValueStoreError),
)

_AS_OURS: tuple[tuple[type[theirs.BaseKeyValueError], type[ours.SatchelError], str], ...] = (
    (theirs.ReadOnlyError, ours.ReadOnlyError, "is read-only"),
    (theirs.InvalidKeyError, ours.InvalidKeyError, "does not take this key or collection"),
    (theirs.ValueTooLargeError, ours.ValueTooLargeError, "does not take a value as large as this"),
    (theirs.EntryTooLargeError, ours.ValueTooLargeError, "does not take a value as large as this"),
    (theirs.DecryptionError, ours.DecryptionError, "cannot decrypt what is stored"),
    (theirs.DeserializationError, ours.IntegrityError, "cannot read what is stored"),
    (theirs.SerializationError, ours.SerializationError, "cannot write this value"),
    (theirs.StoreConnectionError, ours.StoreUnavailableError, "cannot be reached"),
)


@contextmanager
def raising_theirs(operation: str, collection: str | None = None, key: str | None = None) -> Iterator[None]:
    """Turn the errors of satchel that a block raises into those of py-key-value."""
    try:
        yield
    except ours.UnsupportedOperationError:
        raise  # py-key-value has no such error: what is not there has no method
    except ours.ReadOnlyError as error:
        raise theirs.ReadOnlyError(operation, collection, key) from error
    except ours.SatchelError as error:
        first = next(iter(error.failed.values())) if isinstance(error, ours.BatchError) else error
        for mine, their in _AS_THEIRS:
            if isinstance(first, mine):
                raise their(str(error)) from error
        raise


def as_ours(error: Exception, store: str) -> ours.SatchelError | None:
    """Return the error of satchel for one that a store of py-key-value raised; None for the base's own choice."""
    for their, mine, what in _AS_OURS:
        if isinstance(error, their):
            return mine(f"{store} {what} ({type(error).__name__})")
    return None
