"""Going through a DynamoDB table page by page: listing, and removing what is found."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # it has no types

from ..errors import StoreUnavailableError
from ._dynamodb_errors import CONDITION_FAILED, THROTTLED, code_of
from ._dynamodb_items import Item
from ._dynamodb_table import Ask

Method = Callable[..., Coroutine[Any, Any, Any]]
"""Sends a request: a method of the driver's client."""

MAX_CHANGES = 25
"""DynamoDB's own limit of changes in one request."""

_PAGE = 500
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class Scanner:
    """Makes requests in a row, each bounded in time, with pauses where DynamoDB throttles.

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
        """Give what a Query or a Scan finds, to its end; a page may be empty."""
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
        """Remove items, whatever has become of them meanwhile."""
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
