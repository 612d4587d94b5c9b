"""Requests to DynamoDB for items by their keys, and what its answers mean. Going through a table is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError, ConnectionClosedError  # type: ignore[import-untyped]  # it has no types

from ...backend.hooks import UNPROCESSED, Condition, ReadResult
from ...backend.network import in_empty_context
from ...backend.record import Record
from ...errors import StoreUnavailableError
from ...names import Ref
from .errors import CONDITION_FAILED, THROTTLED, code_of, was_sent_before
from .items import (
    HEAD,
    Item,
    head_of,
    if_ours,
    if_version,
    item_of,
    key_of,
    lives,
    new_deadline,
    not_ours,
    outcome_of,
    place_of,
    projection,
)
from .table import Method


class Requests:
    """Requests for items of one table.

    Args:
        client: The driver's.
        table_name: The name of the table.
        store: The name of the store in messages.
        consistent: Reads see every write acknowledged before.
    """

    def __init__(self, client: Any, table_name: str, store: str, *, consistent: bool) -> None:
        self._client = client
        self._table_name = table_name
        self._store = store
        self._consistent = consistent

    async def read(self, keys: list[Item], *, heads: bool = False) -> Sequence[ReadResult]:
        """Return what is under each key, with heads without the values, and which of them DynamoDB handed back."""
        part = projection(HEAD) if heads else {}
        outcome = head_of if heads else outcome_of
        try:
            if len(keys) == 1:
                return [outcome(await self.read_item(keys[0], **part))]
            return await self._read_batch(keys, part, outcome)
        except ClientError as error:
            if code_of(error) not in THROTTLED:
                raise
        except ConnectionClosedError:  # a kept connection had ended, which shows only when it is used
            pass
        return [UNPROCESSED] * len(keys)

    async def read_item(self, key: Item, *, consistent: bool | None = None, **part: Any) -> Item | None:
        """Return the item under a key, or that part of it that the expressions say."""
        certain = self._consistent if consistent is None else consistent
        request = self._client.get_item(TableName=self._table_name, Key=key, ConsistentRead=certain, **part)
        item: Item | None = (await in_empty_context(request)).get("Item")
        return item

    async def _read_batch(
        self, keys: list[Item], part: dict[str, Any], outcome: Callable[[Item], ReadResult]
    ) -> Sequence[ReadResult]:
        wanted = {self._table_name: {"Keys": keys, "ConsistentRead": self._consistent, **part}}
        answer = await in_empty_context(self._client.batch_get_item(RequestItems=wanted))
        outcomes: dict[tuple[str, str], ReadResult] = {}
        for found in answer["Responses"].values():
            outcomes.update((place_of(item), outcome(item)) for item in found)
        for left in answer.get("UnprocessedKeys", {}).values():
            outcomes.update((place_of(key), UNPROCESSED) for key in left["Keys"])
        return [outcomes.get(place_of(key)) for key in keys]

    async def write(self, items: list[Item]) -> set[tuple[str, str]]:
        """Write items; return the places of those that DynamoDB handed back."""
        try:
            if len(items) == 1:
                await self._client.put_item(TableName=self._table_name, Item=items[0])
            elif items:
                requests = [{"PutRequest": {"Item": item}} for item in items]
                answer = await self._client.batch_write_item(RequestItems={self._table_name: requests})
                left = answer.get("UnprocessedItems", {}).values()
                return {place_of(request["PutRequest"]["Item"]) for requests in left for request in requests}
        except ClientError as error:
            if code_of(error) not in THROTTLED:
                raise
            return {place_of(item) for item in items}
        return set()

    # Changes with a condition: each says whether it held.

    async def delete(self, ref: Ref, now: float) -> bool:
        """Remove an entry, and return whether it was live."""
        old: Item = {}

        async def delete(**request: Any) -> None:
            old.update((await self._client.delete_item(**request, ReturnValues="ALL_OLD"))["Attributes"])

        # Without the condition DynamoDB Local gives one item to several who delete it at once.
        return await self._change_if(delete, {"Key": key_of(ref), **if_ours()}) and lives(old, now)

    async def put_if(self, ref: Ref, record: Record, version: Condition, now: float) -> bool:
        """Write an entry where there is none, or one that has the version."""
        request = {"Item": item_of(ref, record), **if_version(version, now)}
        try:
            return await self._change_if(self._client.put_item, request)
        except StoreUnavailableError:
            # The condition did not hold when the client sent it again: it may have met its own first sending.
            found = await self.read_item(key_of(ref), consistent=True)
            if found is None or found.get("version") != {"S": record.version}:
                raise
            return True

    async def delete_if(self, ref: Ref, version: str, now: float) -> bool:
        """Remove an entry that has the version."""
        return await self._change_if(self._client.delete_item, {"Key": key_of(ref), **if_version(version, now)})

    async def touch(self, ref: Ref, deadline: float, now: float) -> bool:
        """Set a live entry's deadline."""
        return await self._change_if(self._client.update_item, {"Key": key_of(ref), **new_deadline(deadline, now)})

    async def _change_if(self, method: Method, request: dict[str, Any]) -> bool:
        try:
            await method(TableName=self._table_name, **request)
        except ClientError as error:
            if code_of(error) != CONDITION_FAILED:
                raise
            if "satchel" not in error.response.get("Item", ("satchel",)):
                raise not_ours() from error
            if was_sent_before(error.response):
                raise self._in_doubt() from error
            return False
        return True

    def _in_doubt(self) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"the client of {self._store} sent a request again by itself, so that it is not known what the first "
            'sending did; make the client with retries={"total_max_attempts": 1}',
            retryable=False,
        )
