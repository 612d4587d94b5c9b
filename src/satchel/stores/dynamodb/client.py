"""The aiobotocore client of a store: one of its own, made without blocking the event loop, or one that was given."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Self

from aiobotocore.client import AioBaseClient  # type: ignore[import-untyped]  # it has no types
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]  # it has no types
from aiobotocore.session import get_session  # type: ignore[import-untyped]  # it has no types

from ..._shortage import shortage_of_descriptors
from ..._threads import in_thread
from ..._url_parts import split_url
from ...backend.lifecycle import close_at_end_of_loop
from ...backend.network import check_texts
from ...errors import ConfigurationError, safe_repr

_TABLE_NAME = re.compile(r"[a-zA-Z0-9_.-]{3,255}|arn:[a-z0-9-]+:dynamodb:[a-z0-9-]+:[0-9]+:table/[a-zA-Z0-9_.-]{3,255}")
_SETTINGS = AioConfig(
    # The driver would also send again what may have been done already: a conditional write then sees its own first
    # sending, and says that it lost. The store itself sends again what was certainly not done.
    retries={"total_max_attempts": 1, "mode": "standard"},
    parameter_validation=False,  # what is sent has been checked before
    user_agent="satchel",  # the driver's own is put together anew for each request, a tenth of its time
    max_pool_connections=64,
)
_DESCRIPTORS = 4  # for an event loop: its selector, and the two ends of its wake-up pipe


def check_table_options(table_name: object, create_table: object, consistent_reads: object) -> None:
    """Refuse options about the table that cannot work."""
    if not isinstance(table_name, str) or not _TABLE_NAME.fullmatch(table_name):
        raise ConfigurationError(
            "table_name must be 3 to 255 of the characters a-z A-Z 0-9 _ . - or the ARN of a table; "
            f"got {safe_repr(table_name)}"
        )
    if not isinstance(create_table, (bool, Mapping)):
        raise ConfigurationError(
            f"create_table must be a bool, or a mapping of arguments of CreateTable; got {type(create_table).__name__}"
        )
    if not isinstance(consistent_reads, bool):
        raise ConfigurationError(f"consistent_reads must be a bool, got {type(consistent_reads).__name__}")


def check_client_options(client: object, making: Mapping[str, str | None]) -> None:
    """Refuse a client that cannot be used, and arguments with which none can be made.

    Args:
        client: The client that was given; None for one of the store's own.
        making: The arguments to make that with.
    """
    if client is not None and not (
        isinstance(client, AioBaseClient) and client.meta.service_model.service_name == "dynamodb"
    ):
        raise ConfigurationError(
            "client must be an aiobotocore client for DynamoDB, entered: async with "
            f'get_session().create_client("dynamodb") as client; got {type(client).__name__}'
        )
    check_texts(**making)
    endpoint = making["endpoint_url"]
    if endpoint is not None and not re.match(r"https?://[^/?#@\s]+(/[^?#@\s]*)?$", endpoint):
        raise ConfigurationError("endpoint_url must begin with http:// or https:// and a host, and have no user in it")
    split_url(endpoint or "")  # it refuses a port that is none
    if (making["aws_access_key_id"] is None) != (making["aws_secret_access_key"] is None):
        raise ConfigurationError("aws_access_key_id and aws_secret_access_key are given both or not at all")
    if making["aws_session_token"] is not None and making["aws_access_key_id"] is None:
        raise ConfigurationError("aws_session_token belongs to aws_access_key_id and aws_secret_access_key")


class OwnClient:
    """Client that the store made.

    It is closed by `close`, and at the orderly end of its event loop.
    """

    def __init__(self, client: Any, guard: AsyncGenerator[None]) -> None:
        self.client = client
        self._guard = guard

    @classmethod
    async def make(cls, **arguments: Any) -> Self:
        """Make a client: aiobotocore reads large files for it, and perhaps asks for credentials.

        Args:
            **arguments: Those of `create_client`.
        """
        session = await in_thread(_new_session)
        stack = AsyncExitStack()
        create = partial(session.create_client, "dynamodb", config=_SETTINGS, **arguments)
        client = await in_thread(_entered, stack, create)
        guard = close_at_end_of_loop(stack.aclose)
        await anext(guard)
        return cls(client, guard)

    async def close(self) -> None:
        """Close the client and its connections."""
        await self._guard.aclose()


def _entered(stack: AsyncExitStack, create: Callable[[], Any]) -> Any:
    """Enter a client that is created on an event loop of this thread's own.

    It awaits nothing of that loop that would outlive it: connections are made later.
    """
    # asyncio would print a traceback for the loop that it could create only in part.
    if (used_up := shortage_of_descriptors(_DESCRIPTORS)) is not None:
        raise used_up
    return asyncio.run(stack.enter_async_context(create()))


_models: list[Any] = []


def _new_session() -> Any:
    """Return a session that shares the files about AWS's services, 50 ms of reading, with the others."""
    session = get_session()
    if not _models:
        _models.append(session.get_component("data_loader"))
    session.register_component("data_loader", _models[0])
    return session
