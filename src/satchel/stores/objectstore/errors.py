"""What obstore raises, in satchel's errors.

What it says is left out but for the server's code: it holds addresses and names. The original is the cause.
"""

from __future__ import annotations

import re

from obstore.exceptions import (
    BaseError,
    GenericError,
    InvalidPathError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)

from ..._shortage import shortage_of_descriptors
from ...errors import (
    ConfigurationError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)

# obstore's errors have the server's answer in their text alone. In other words one is unsure, and retryable.
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>|\(code: ([A-Za-z]{1,60})\)")
_STATUS = re.compile(r"status code: (\d{3})")
# The paths of entries have no spaces, so that no key can look like these.
_NO_CREDENTIALS = re.compile(
    r"Error performing [A-Z]+ http://[^/ ]+/(latest/(api/token|meta-data)|v2/credentials|computeMetadata)"
)
_LATE = re.compile(r"operation timed out|source: TimedOut")
_NOT_UNDERSTOOD = re.compile(r"source: (NotPartial|Header|Parse|InvalidListResponse|InvalidPutResponse)\b")

_DESCRIPTORS = 2  # for a connection, and looking up its host
_NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_UNKNOWN_CREDENTIALS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed", "InvalidSecurity"}
)
_ELSEWHERE = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "TemporaryRedirect"}
)
_GIVE_CREDENTIALS = (
    "give access_key_id and secret_access_key, or configure one of the sources in which obstore finds credentials"
)


def code_of(error: Exception) -> str:
    """Return the server's error code; the empty str if there is none."""
    match = _CODE.search(str(error))
    return (match[1] or match[2]) if match else ""


def is_missing_bucket(error: Exception) -> bool:
    """Return whether the bucket was not found, rather than an object."""
    return code_of(error) in _NO_BUCKET


def is_out_of_range(error: Exception) -> bool:
    """Return whether an object has none of the bytes asked for."""
    return _status_of(error) == 416 or "Invalid range" in str(error)


def is_throttled(error: Exception) -> bool:
    """Return whether the server temporarily refused a request, without doing anything."""
    return _status_of(error) in (429, 503)


def is_over(error: Exception) -> bool:
    """Return whether the server failed at a request and is done with it: it does not come to it later."""
    return is_throttled(error) or _status_of(error) == 500


def is_unsure(error: Exception) -> bool:
    """Return whether the request may still have been carried out."""
    return isinstance(error, GenericError) and not 300 <= _status_of(error) < 500


def translate(error: Exception, place: str, endpoint: object = None) -> SatchelError | None:
    """Return the satchel error for one of obstore's; None for those that are not.

    Args:
        error: The error raised.
        place: The name of the bucket in messages.
        endpoint: The address of its service, if it was given.
    """
    code, status = code_of(error), _status_of(error)
    if is_missing_bucket(error):
        return StoreError(f"there is no {place}: check its name, the endpoint and the region, or make it ({code})")
    if isinstance(error, UnknownConfigurationKeyError):
        return ConfigurationError(f"an option for {place} is not one that obstore knows; a newer obstore may")
    if not isinstance(error, (BaseError, FileNotFoundError, NotImplementedError)):
        return None
    if _NO_CREDENTIALS.search(str(error)):
        return StoreError(f"there are no credentials for {place}: {_GIVE_CREDENTIALS}")
    if code in _EXPIRED:
        return StoreError(f"the credentials for {place} have expired: get new ones ({code})")
    if code == "RequestTimeTooSkewed":
        return StoreError(f"{place} finds the time of the request wrong: set the clock of this host ({code})")
    if code in _UNKNOWN_CREDENTIALS or isinstance(error, UnauthenticatedError):
        return StoreError(f"{place} does not accept the credentials: {_GIVE_CREDENTIALS} ({code or status})")
    if isinstance(error, PermissionDeniedError) or code == "AccessDenied":
        return StoreError(
            f"the credentials do not permit this on {place}: allow reading, writing, listing and deleting objects "
            f"({code or status})"
        )
    if code in _ELSEWHERE or "Received redirect without LOCATION" in str(error):
        return StoreError(f"{place} is in another region: give the one it is in as region ({code or status})")
    if code == "EntityTooLarge":
        return ValueTooLargeError(f"the entry is larger than an object of {place} may be, when written at once")
    if isinstance(error, (InvalidPathError, NotSupportedError, NotImplementedError)):
        return StoreError(f"{place} does not take a request of this kind ({type(error).__name__})")
    return _failed(error, place, endpoint, code, status)


def _failed(error: Exception, place: str, endpoint: object, code: str, status: int) -> SatchelError:
    if status in (429, 503):
        return StoreUnavailableError(f"{place} refuses requests for now: try later, or more slowly ({code or status})")
    if status >= 500:
        return StoreUnavailableError(f"{place} failed ({code or status}); a write may or may not have happened")
    if status:
        return StoreError(f"{place} refused the request ({code or status})")
    if _NOT_UNDERSTOOD.search(str(error)):
        return StoreError(f"the server for {place} is not an object store: check the endpoint")
    if _LATE.search(str(error)):
        return StoreTimeoutError(f"{place} did not answer in time; a write may or may not have happened")
    if "builder error" in str(error):
        return ConfigurationError(
            f"the endpoint of {place} cannot be used: give it as https://host or https://host:port"
        )
    where = place if endpoint is None else f"{place} at {endpoint}"
    return shortage_of_descriptors(_DESCRIPTORS) or StoreUnavailableError(
        f"{where} cannot be reached: check the endpoint, the region and the network"
    )


def _status_of(error: Exception) -> int:
    match = _STATUS.search(str(error))
    return int(match[1]) if match else 0
