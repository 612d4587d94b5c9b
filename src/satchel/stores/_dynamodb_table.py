"""The table of a `DynamoDBStore`: whether it is there and fits, and how it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # it has no types

from ..errors import ConfigurationError, StoreError
from ._dynamodb_errors import code_of

_KEY = [{"AttributeName": "collection", "KeyType": "HASH"}, {"AttributeName": "key", "KeyType": "RANGE"}]
_TYPES = [{"AttributeName": "collection", "AttributeType": "S"}, {"AttributeName": "key", "AttributeType": "S"}]
_EXPIRY = {"Enabled": True, "AttributeName": "ttl"}
_LONGEST_WAIT = 300.0
_MISSING = "MISSING"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

Ask = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
"""Awaits one request, and bounds it in time."""


class Table:
    """Is one table.

    Args:
        client: The driver's.
        name: The name of the table.
        ask: Awaits one request.
    """

    def __init__(self, client: Any, name: str, ask: Ask) -> None:
        self._client = client
        self._name = name
        self._ask = ask

    async def check(self) -> None:
        """Refuse a table with another key, and wait for one that is being made.

        Whoever may not describe the table may still use it, and learns of a missing one then.
        """
        try:
            async with asyncio.timeout(_LONGEST_WAIT):
                await self._wait()
        except ClientError as error:
            if code_of(error) != "AccessDeniedException":
                raise

    async def make(self, options: Mapping[str, Any]) -> None:
        """Make the table unless it is there, wait until it can be used, and let it expire entries.

        Any number of starters may do this at once.

        Args:
            options: Further arguments of CreateTable.
        """
        async with asyncio.timeout(_LONGEST_WAIT):
            while await self._wait(missing=_MISSING) == _MISSING:
                await self._create(options)
            await self._expire()

    async def _wait(self, missing: str | None = None) -> str:
        """Return the status of the table when that is none in between."""
        pause = _FIRST_PAUSE
        while True:
            status = await self._status(missing)
            if status not in ("CREATING", "DELETING"):
                return status
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _status(self, missing: str | None) -> str:
        try:
            table = (await self._ask(self._client.describe_table(TableName=self._name)))["Table"]
        except ClientError as error:
            if missing is None or code_of(error) != "ResourceNotFoundException":
                raise
            return missing
        types = {each["AttributeName"]: each["AttributeType"] for each in table.get("AttributeDefinitions", ())}
        key = [(each["AttributeName"], each["KeyType"]) for each in table.get("KeySchema", ())]
        if key != [tuple(each.values()) for each in _KEY] or {types["collection"], types["key"]} != {"S"}:
            shown = ", ".join(f"{name} ({kind}, {types.get(name)})" for name, kind in key)
            raise StoreError(
                f"table {self._name} has the key {shown or 'of nothing'}; a store needs the key collection (HASH, S), "
                "key (RANGE, S): name another table, or let create_table=True make one"
            )
        return str(table["TableStatus"])

    async def _create(self, options: Mapping[str, Any]) -> None:
        arguments = {"BillingMode": "PAY_PER_REQUEST", **options}
        try:
            await self._ask(
                self._client.create_table(
                    TableName=self._name, KeySchema=_KEY, AttributeDefinitions=_TYPES, **arguments
                )
            )
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":  # another starter was faster
                raise

    async def _expire(self) -> None:
        """Switch on DynamoDB's own expiry."""
        if await self._expires():
            return
        try:
            await self._ask(self._client.update_time_to_live(TableName=self._name, TimeToLiveSpecification=_EXPIRY))
        except ClientError:
            if not await self._expires():  # another starter was faster
                raise

    async def _expires(self) -> bool:
        answer = await self._ask(self._client.describe_time_to_live(TableName=self._name))
        expiry = answer.get("TimeToLiveDescription", {})
        on = expiry.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        if on and expiry.get("AttributeName") != _EXPIRY["AttributeName"]:
            raise ConfigurationError(
                f"table {self._name} expires items by the attribute {expiry.get('AttributeName')!r}, not by 'ttl': "
                "without create_table it can be used, and cull() reclaims expired entries"
            )
        return on
