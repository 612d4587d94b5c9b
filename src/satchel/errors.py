"""The errors that satchel raises, in one tree.

```text
SatchelError
├─ ConfigurationError
│  └─ MissingExtraError             (also ImportError)
├─ InvalidKeyError, InvalidTTLError (also ValueError)   raised before any I/O
├─ SerializationError, ValueTooLargeError, ModelMismatchError
├─ DigestError                      (also ValueError)   raised by satchel.content
├─ KeyMissingError                  (also KeyError)     only from require()
│  └─ BlobMissingError
├─ IntegrityError
│  └─ DecryptionError
├─ UnsupportedOperationError, ReadOnlyError
├─ LockLostError, QueueFullError, ResultUnknownError
├─ SessionGoneError, SessionLockedError
├─ SettingError                     raised by satchel.environment
│  ├─ MissingSettingError           (also KeyError)
│  └─ ModeError, SettingCycleError, InvalidSettingError
├─ BlobExistsError, BlobChangedError, UploadLostError
└─ StoreError                       .store .operation .collection .key .retryable
   ├─ StoreUnavailableError         (retryable)
   │  └─ CircuitOpenError
   ├─ StoreTimeoutError             (also TimeoutError)
   ├─ StoreClosedError
   ├─ ConflictError                 (retryable)
   └─ BatchError                    .failed = {key: error}
```

No message, attribute or `repr` of an error holds a value or a secret. The driver's own error is chained as `__cause__`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    pass


class SatchelError(Exception):
    """Base class of every error that satchel raises on purpose."""

    def again(self) -> Self:
        """Copy this error, with the original as the cause.

        One failure can end many waiting calls. Each needs an error of its own: raising one exception object in many
        tasks grows its traceback without bound.
        """
        twin = copy.copy(self)
        twin.__dict__.pop("__notes__", None)  # or a note added to one would be added to all
        twin.__cause__ = self.__cause__ or self
        return twin

    def __reduce__(self) -> tuple[object, ...]:
        # Errors are made with keywords, which the default would lose. Built-in bases keep state of their own.
        plain: Any = super().__reduce__()
        return (_rebuild, (type(self), self.args), *plain[2:])


def _rebuild(kind: type[SatchelError], args: tuple[object, ...]) -> SatchelError:
    error = kind.__new__(kind, *args)
    super(SatchelError, error).__init__(*args)
    return error


class ConfigurationError(SatchelError):
    """A store, a wrapper, a URL or an option was set up wrongly."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional driver is not installed; the message has the command that installs it."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # ImportError would show a message of its own, without what was added


class InvalidKeyError(SatchelError, ValueError):
    """A key or a collection name is not one that any store accepts."""


class InvalidTTLError(SatchelError, ValueError):
    """A time to live is not a finite, positive number of seconds or `timedelta` within 100 years."""


class SerializationError(SatchelError):
    """A value would not come back unchanged; the message gives the path of the fault (`$.tags[2]`)."""


class ValueTooLargeError(SatchelError):
    """An encoded value is larger than the store can hold; the message names the limit in bytes."""


class ModelMismatchError(SatchelError):
    """A value does not fit the model of its collection; the message names collection, key and field."""


class DigestError(SatchelError, ValueError):
    """A value has no digest, or a text is not one; the message gives the path of the fault (`$.items[3].lock`).

    Attributes:
        reason: What is wrong, and what to do.
        path: Where in the value that is: `$` is the value itself. Empty where there is no value.
    """

    def __init__(self, reason: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path


class KeyMissingError(SatchelError, KeyError):
    """`require` found no entry."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would show the message in quotes


class BlobMissingError(KeyMissingError):
    """There is no blob under a key that was to be streamed, opened, copied or measured."""


class IntegrityError(SatchelError):
    """A stored entry is damaged, or was not written by satchel."""


class DecryptionError(IntegrityError):
    """An entry cannot be decrypted with the keys given."""


class UnsupportedOperationError(SatchelError):
    """A store does not support an operation; the message names both."""


class ReadOnlyError(SatchelError):
    """A read-only wrapper refused a write."""


class ResultUnknownError(SatchelError):
    """A function ran for an idempotency key, but its result could not be recorded."""


class LockLostError(SatchelError):
    """A lock's lease ran out while it was thought to be held."""


class SessionGoneError(SatchelError):
    """A session that was to be changed has expired, was ended or was revoked; nothing was written."""


class SessionLockedError(SatchelError):
    """A session is locked by another owner; it can neither be read nor changed until the lock is released or lapses."""


class SettingError(SatchelError):
    """A variable of an environment, or its mode, was asked for or given wrongly."""


class MissingSettingError(SettingError, KeyError):
    """A variable is not set; the message names it and where it was looked for."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError would show the message in quotes


class ModeError(SettingError):
    """A mode does not exist, or a stage has the name of one that does."""


class SettingCycleError(SettingError):
    """A variable refers to itself, through others or not; the message names them."""


class InvalidSettingError(SettingError):
    """A variable, or the file that it stands in, is not what it has to be; the message never shows a secret."""


class BlobExistsError(SatchelError):
    """A blob was to be put only if absent, and there is one; nothing was changed."""


class BlobChangedError(SatchelError):
    """A blob was replaced or removed: a conditional write was refused, or the rest of what was read is gone."""


class UploadLostError(SatchelError):
    """An upload stood still for so long that its beginning was removed; nothing was changed."""


class QueueFullError(SatchelError):
    """A bounded queue of writes is full."""


class StoreError(SatchelError):
    """A backend failed an operation; the driver's error is the cause.

    Attributes:
        store: The store's description of itself, without secrets.
        operation: The method that failed, such as `"put"`.
        collection: The collection of the call, if any.
        key: The key of the call, if any.
        retryable: Whether the same call may succeed a little later.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        store: str = "",
        operation: str = "",
        collection: str | None = None,
        key: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.store = store
        self.operation = operation
        self.collection = collection
        self.key = key
        if retryable is not None:
            self.retryable = retryable


class StoreUnavailableError(StoreError):
    """The backend could not be reached, or is temporarily unable to serve requests."""

    retryable = True


class CircuitOpenError(StoreUnavailableError):
    """A circuit breaker refused the call without asking the backend.

    Attributes:
        retry_after: Seconds until the breaker tries the backend again; 0 while a trial call is under way.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0, **about: Any) -> None:
        super().__init__(message, **about)
        self.retry_after = retry_after


class StoreTimeoutError(StoreError, TimeoutError):
    """The backend did not answer in time; a write may or may not have happened."""

    retryable = True


class StoreClosedError(StoreError):
    """The store has been closed."""


class ConflictError(StoreError):
    """An update was abandoned, because other writers were faster every time."""

    retryable = True


class BatchError(StoreError):
    """Part of a batch failed; the rest of it was carried out.

    Attributes:
        failed: The error of each key that failed.
    """

    def __init__(
        self,
        message: str,
        *,
        failed: Mapping[str, SatchelError],
        store: str = "",
        operation: str = "",
        collection: str | None = None,
    ) -> None:
        retryable = all(isinstance(error, StoreError) and error.retryable for error in failed.values())
        super().__init__(message, store=store, operation=operation, collection=collection, retryable=retryable)
        self.failed = dict(failed)


def batch_error(
    store: object, operation: str, collection: str, failed: Mapping[str, SatchelError], count: int | None = None
) -> BatchError:
    """Return the error of a batch of which some keys failed.

    Args:
        store: The store, as messages call it.
        operation: The verb.
        collection: The collection.
        failed: The error of each key that failed; one of them becomes the cause.
        count: Number of keys in the batch; None if unknown.
    """
    first = next(iter(failed.values()))
    of_all = "" if count is None else f" of {count}"
    error = BatchError(
        f"{operation}: {len(failed)}{of_all} keys failed, one with {type(first).__name__}: {first}",
        failed=failed,
        store=repr(store),
        operation=operation,
        collection=collection,
    )
    error.__cause__ = first
    return error


_LONGEST = 10**20
_VOWELS = frozenset("aeioAEIO")  # not u: a UUID, a User


def safe_repr(value: object) -> str:
    """Return an option's value for a message: a number as it is, and only the type of anything else.

    A text may be a secret that was given in the wrong place. Python refuses to write very long ints.
    """
    if isinstance(value, int) and not -_LONGEST < value < _LONGEST:
        return f"an int of {value.bit_length()} bits"
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    return "an empty str" if value == "" else with_article(type(value))


def with_article(kind: type | str) -> str:
    """Return the name of a type with `a` or `an` before it."""
    name = kind if isinstance(kind, str) else kind.__name__
    return f"an {name}" if name[:1] in _VOWELS else f"a {name}"


def missing_extra(who: str, extra: str, error: ModuleNotFoundError) -> MissingExtraError:
    """Return the error for a package that is not installed, with the command that installs it.

    Args:
        who: The feature that needs it.
        extra: The extra of satchel that installs it.
        error: The failure to import it.
    """
    return MissingExtraError(
        f'{who} needs {error.name}, which is not installed: pip install "satchel[{extra}]"', name=error.name
    )


def unknown(
    what: str, name: str, known: Iterable[str], likeness: float = 0.6, *, shown: bool = True
) -> ConfigurationError:
    """Return the error for an unknown name, with the known names and the likeliest match.

    Args:
        what: The kind of name.
        name: The unknown name.
        known: The known names.
        likeness: Minimum similarity of the suggested name, from 0 to 1.
        shown: Show the name. The text of an option is not shown: it may be a secret in the wrong place.
    """
    import difflib  # noqa: PLC0415  # only a mistake needs it

    names = sorted(known)
    close = difflib.get_close_matches(name, names, 1, likeness)
    meant = f"; did you mean {close[0]!r}?" if close else "."
    given = f" {name!r}" if shown else ""
    return ConfigurationError(f"unknown {what}{given}{meant} Known: {', '.join(names) or 'none'}")
