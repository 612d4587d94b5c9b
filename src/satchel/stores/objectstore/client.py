"""Client of the object store: made from a URL, or the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from ..._shortage import shortage_of_descriptors
from ..._url_parts import check_characters, split_url
from ...backend.network import check_texts
from ...errors import ConfigurationError

KINDS: dict[str, Callable[..., Any]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}

_URL = re.compile(r"([a-z0-9]+)://([A-Za-z0-9$][A-Za-z0-9._-]*)(?:/([^?#]*))?")
_ENDPOINT = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")
_UNORDERED = "--x-s3"  # S3 Express: its listings come in no order, and cannot begin in the middle
_NO_END = timedelta(days=1)
_RESENDS = 3
_DESCRIPTORS = 4  # for the threads of a client


class Target:
    """Bucket that a URL names.

    Raises:
        ConfigurationError: It has another form.
    """

    def __init__(self, url: str) -> None:
        if isinstance(url, str):
            check_characters(url)
        match = _URL.fullmatch(url) if isinstance(url, str) else None
        if match is None or match[1] not in KINDS:
            raise ConfigurationError("url must be s3://bucket, gs://bucket or az://container, with /prefix if need be")
        self.scheme, self.bucket, self.prefix = match[1], match[2], (match[3] or "").strip("/")
        if self.bucket.endswith(_UNORDERED):
            raise ConfigurationError(f"{self} is a directory bucket, whose listings have no order; take another kind")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}"


def check_client(client: object) -> None:
    """Refuse what is no obstore store that keeps the conditions of writes.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(client, (S3Store, GCSStore, AzureStore, MemoryStore)):
        raise ConfigurationError(
            "client must be an S3Store, GCSStore, AzureStore or MemoryStore of obstore, which keep the conditions of "
            f"writes; got {type(client).__name__}"
        )
    if isinstance(client, S3Store) and str(client.config.get("bucket", "")).endswith(_UNORDERED):
        raise ConfigurationError("client is of a directory bucket, whose listings have no order; take another kind")


def check_options(target: Target | None, options: dict[str, Any]) -> None:
    """Refuse what the driver cannot use, or would leave aside.

    Raises:
        ConfigurationError: There is something.
    """
    if target is not None and target.scheme != "s3" and options:
        raise ConfigurationError(
            f"{min(options)} is an option of s3:// alone; for {target.scheme}:// give a client, or set the environment "
            "variables that obstore reads"
        )
    check_texts(**{name: value for name, value in options.items() if name != "virtual_hosted_style_request"})
    if ("access_key_id" in options) != ("secret_access_key" in options):
        raise ConfigurationError("access_key_id and secret_access_key are given both or not at all")
    if not _ENDPOINT.fullmatch(options.get("endpoint", "https://aws")):
        raise ConfigurationError("endpoint must be https://host or http://host, with a :port if need be")
    split_url(options.get("endpoint", ""))  # it refuses a port that is none


def connect(target: Target, options: dict[str, Any], timeout: float | None) -> tuple[Any, Any]:
    """Make two clients: one that sends again what failed, and one for writes, which does not.

    A conditional write that was carried out and is sent again is refused by what it wrote itself. A plain one that was
    sent again and acknowledged could land once more, over a later one, when the service comes to the first at last.

    Args:
        target: The bucket.
        options: Those of the driver's that were given.
        timeout: Seconds for one request; None for no limit.

    Raises:
        ConfigurationError: The driver refuses the options.
    """
    length = _NO_END if timeout is None else timedelta(seconds=timeout)
    http = {"timeout": length}
    if str(options.get("endpoint", "")).startswith("http://"):
        http["allow_http"] = True  # type: ignore[assignment]  # a dict of whatever the driver takes
    again = {
        "max_retries": _RESENDS,
        "retry_timeout": length,
        "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=1)},
    }
    try:
        first, second = (
            KINDS[target.scheme](target.bucket, client_options=http, retry_config=retries, **options)
            for retries in (again, {"max_retries": 0})
        )
    except (BaseError, ValueError, OSError) as error:
        kind = type(error).__name__  # what it says may show an option, and so must not be the context of another error
    else:
        return first, second
    raise shortage_of_descriptors(_DESCRIPTORS) or ConfigurationError(
        f"obstore makes no client for {target} of these options ({kind}): check them, and for gs:// and az:// the "
        "environment variables that it reads"
    )
