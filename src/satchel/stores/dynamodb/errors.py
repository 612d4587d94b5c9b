"""What DynamoDB and its driver raise, in satchel's errors.

What they say is left out: it can hold names of accounts, credentials or values. The original is the cause.
"""

from __future__ import annotations

from botocore import exceptions as driver  # type: ignore[import-untyped]  # it has no types
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]  # it has no types

from ...errors import (
    ConfigurationError,
    SatchelError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
    ValueTooLargeError,
)

THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottledException",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TransactionInProgressException",
        "TransactionConflictException",
    }
)
"""Codes of requests that DynamoDB refused for now: nothing was done."""

CONDITION_FAILED = "ConditionalCheckFailedException"
_FAILING = frozenset({"InternalServerError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
_UNKNOWN_CREDENTIALS = frozenset(
    {
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_NOT_PERMITTED = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized", "OptInRequired"})
_SOURCES = (
    driver.CredentialRetrievalError,
    driver.MetadataRetrievalError,
    driver.NoAuthTokenError,
    driver.SSOError,
    driver.TokenRetrievalError,
)
_GIVE_CREDENTIALS = (
    "give aws_access_key_id and aws_secret_access_key, or configure one of the usual AWS sources of credentials"
)


def code_of(error: driver.ClientError) -> str:
    """Return DynamoDB's code for an error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def was_sent_before(response: dict[str, object]) -> bool:
    """Return whether the driver had sent this request before, by itself."""
    about = response.get("ResponseMetadata")
    return isinstance(about, dict) and bool(about.get("RetryAttempts"))


def translate(error: Exception, table: str, where: str) -> SatchelError | None:
    """Return the satchel error for one of the driver's; None for those that say nothing to a user.

    Args:
        error: The error raised.
        table: The name of the table.
        where: The region and, if one was given, the endpoint.
    """
    if isinstance(error, driver.ClientError):
        return _answered(error, table, where)
    if isinstance(error, driver.NoCredentialsError):
        return StoreError(f"there are no AWS credentials for table {table}: {_GIVE_CREDENTIALS}")
    if isinstance(error, driver.PartialCredentialsError):
        return ConfigurationError("aws_access_key_id and aws_secret_access_key are given both or not at all")
    if isinstance(error, _SOURCES):
        return StoreError(
            f"the AWS credentials for table {table} cannot be got ({type(error).__name__}): log in again, or check "
            "the role and the profile of this process"
        )
    return _not_reached(error, table, where)


def _not_reached(error: Exception, table: str, where: str) -> SatchelError | None:
    if isinstance(error, driver.NoRegionError):
        return ConfigurationError(f"the region of table {table} is not known: give region_name, or set AWS_REGION")
    if isinstance(error, (driver.InvalidRegionError, driver.ProfileNotFound, driver.ConfigParseError)):
        return ConfigurationError(
            f"the AWS settings for table {table} cannot be used ({type(error).__name__}): check region_name, "
            "AWS_PROFILE and the AWS configuration files"
        )
    if isinstance(error, (driver.ConnectTimeoutError, driver.ReadTimeoutError)):
        return StoreTimeoutError(f"DynamoDB in {where} did not answer in time")
    if isinstance(error, driver.SSLError):
        return StoreError(f"DynamoDB in {where} cannot be trusted: its TLS certificate was refused")
    if isinstance(error, driver.EndpointConnectionError):
        return StoreUnavailableError(
            f"DynamoDB in {where} cannot be reached: check region_name, endpoint_url and the network"
        )
    if type(error) is driver.HTTPClientError:  # not one of the many below it: the driver itself failed
        return StoreError(
            f"the driver could not send a request to DynamoDB in {where}; a client that was given to the store must "
            "stay open as long as the store"
        )
    if isinstance(error, driver.HTTPClientError):
        return StoreUnavailableError(f"the connection to DynamoDB in {where} broke ({type(error).__name__})")
    if isinstance(error, ResponseParserError):
        return StoreError(f"the server in {where} is not DynamoDB: check endpoint_url")
    return None


def _answered(error: driver.ClientError, table: str, where: str) -> SatchelError | None:
    code = code_of(error)
    if code in THROTTLED:
        return StoreUnavailableError(f"DynamoDB throttles requests to table {table}: try later, or raise its capacity")
    if code in _FAILING or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return StoreUnavailableError(f"DynamoDB in {where} failed ({code}); a write may or may not have happened")
    if code in _EXPIRED:
        return StoreError(f"the AWS credentials for table {table} have expired: get new ones ({code})")
    # The code does not say which of two reasons it is. In other words the advice is that of the third.
    if code == "InvalidSignatureException" and "expired" in str(error).lower():
        return StoreError(f"DynamoDB in {where} finds the signature too old: set the clock of this host ({code})")
    if code in _UNKNOWN_CREDENTIALS and "valid region" in str(error):
        return StoreError(
            f"the server in {where} belongs to another region: check region_name and endpoint_url ({code})"
        )
    if code in _UNKNOWN_CREDENTIALS:
        return StoreError(f"DynamoDB in {where} does not accept the AWS credentials: {_GIVE_CREDENTIALS} ({code})")
    if code in _NOT_PERMITTED:
        return StoreError(
            f"the AWS credentials do not permit dynamodb:{error.operation_name} on table {table}: "
            "allow it in a policy of the user or role"
        )
    if code == "ResourceNotFoundException":
        return StoreError(
            f"there is no table {table} in {where}: check table_name and region_name, or let create_table=True make it"
        )
    if code == "ValidationException":
        return _refused(error, table)
    return StoreError(f"DynamoDB in {where} refused {error.operation_name} on table {table} ({code})")


def _refused(error: driver.ClientError, table: str) -> SatchelError:
    # There is one code for all of these. The store checks the size itself, before it sends anything.
    said = str(error).lower()
    if "item size" in said:
        return ValueTooLargeError("the entry is larger than a DynamoDB item may be, 400 KB with names")
    if "key" in said:
        return StoreError(
            f"table {table} has another key than a store needs: collection (HASH, S) and key (RANGE, S); "
            "name another table, or let create_table=True make one"
        )
    return StoreError(f"DynamoDB refused {error.operation_name} on table {table} as not valid")
