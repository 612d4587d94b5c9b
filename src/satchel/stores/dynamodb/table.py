"""Table of a `DynamoDBStore`: checks and creates it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # it has no types

from ...errors import ConfigurationError, StoreError, StoreUnavailableError
from .errors import CONDITION_FAILED, THROTTLED, code_of
from .items import Item

_KEY = [{"AttributeName": "collection", "KeyType": "HASH"}, {"AttributeName": "key", "KeyType": "RANGE"}]
_TYPES = [{"AttributeName": "collection", "AttributeType": "S"}, {"AttributeName": "key", "AttributeType": "S"}]
_EXPIRY = {"Enabled": True, "AttributeName": "ttl"}
_LONGEST_WAIT = 300.0
_MISSING = "MISSING"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

Ask = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
"""Awaits one request, and bounds it in time."""


class Table:
    """One DynamoDB table.

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

        A user who may not describe the table may still use it, and learns of a missing one then.
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


Method = Callable[..., Coroutine[Any, Any, Any]]
"""Function that sends a request: a method of the driver's client."""

MAX_CHANGES = 25
"""DynamoDB's own limit of changes in one request."""

_PAGE = 500
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class Scanner:
    """Requests in a row, each bounded in time, with pauses where DynamoDB throttles.

    Args:
        client: The driver's.
        table_name: The name of the table.
        ask: Awaits one request.
    """

    def __init__(self, client: Any, table_name: str, ask: Ask) -> None:
        self._client = client
        self._table_name = table_name
        self._ask = ask

    async def pages(
        self, method: Method, request: dict[str, Any], *, consistent: bool
    ) -> AsyncIterator[Sequence[Item]]:
        """Yield the pages of a Query or a Scan; a page may be empty."""
        start: dict[str, Any] = {}
        while True:
            answer = await self._patiently(
                method, TableName=self._table_name, Limit=_PAGE, ConsistentRead=consistent, **start, **request
            )
            yield answer["Items"]
            if not answer.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    async def remove(self, items: Sequence[Item]) -> None:
        """Remove items, even if they have changed meanwhile."""
        left = [{"DeleteRequest": {"Key": {"collection": item["collection"], "key": item["key"]}}} for item in items]
        for pause in (*_PAUSES, None):
            left = [
                request
                for start in range(0, len(left), MAX_CHANGES)
                for request in await self._remove_batch(left[start : start + MAX_CHANGES])
            ]
            if not left:
                return
            if pause is not None:
                await _wait(pause)
        raise StoreUnavailableError(f"DynamoDB kept handing removals from table {self._table_name} back: try again")

    async def remove_if(self, items: Sequence[Item], condition: dict[str, Any]) -> int:
        """Remove those items for which a condition still holds, and return how many."""
        removed = 0
        for item in items:
            try:
                await self._patiently(self._client.delete_item, TableName=self._table_name, Key=item, **condition)
                removed += 1
            except ClientError as error:
                if code_of(error) != CONDITION_FAILED:
                    raise
        return removed

    async def _remove_batch(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answer = await self._patiently(self._client.batch_write_item, RequestItems={self._table_name: requests})
        return [request for handed_back in answer.get("UnprocessedItems", {}).values() for request in handed_back]

    async def _patiently(self, method: Method, **request: Any) -> Any:
        for pause in _PAUSES:
            try:
                return await self._ask(method(**request))
            except ClientError as error:
                if code_of(error) not in THROTTLED:
                    raise
            await _wait(pause)
        return await self._ask(method(**request))


async def _wait(pause: float) -> None:
    await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # spreads load, hides nothing
