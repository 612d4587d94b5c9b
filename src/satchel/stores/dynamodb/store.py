"""`DynamoDBStore`: entries in a table of Amazon DynamoDB (`dynamodb://table?region=eu-west-1`)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from ...backend.base import UNPROCESSED, BaseStore, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.engine import translated
from ...backend.network import DEFAULT_TIMEOUT, check_one_way, in_empty_context
from ...backend.record import Record
from ...clock import Clock, system_clock
from ...codec import Codec
from ...errors import SatchelError, missing_extra
from ...names import Ref

try:
    from aiobotocore.client import AioBaseClient  # type: ignore[import-untyped]  # it has no types
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]  # it has no types
except ModuleNotFoundError as error:
    raise missing_extra("DynamoDBStore", "dynamodb", error) from error

from .client import OwnClient, check_client_options, check_table_options
from .errors import THROTTLED, code_of, translate
from .items import (
    MAX_ITEM_BYTES,
    Item,
    hidden_names,
    if_expired,
    is_behind,
    item_of,
    key_of,
    lives,
    name_in,
    place_of,
    query_all,
    query_living,
    scan_all,
    scan_expired,
    scan_living,
)
from .requests import Requests
from .table import MAX_CHANGES, Method, Scanner, Table

_AT_ONCE = 16  # requests for one item each

Change = Callable[[], Coroutine[Any, Any, bool]]


class DynamoDBStore(BaseStore):
    """Store that keeps entries in a DynamoDB table.

    The partition key is `collection`, the sort key is `key`, both strings.

    Concurrent calls share BatchGetItem and BatchWriteItem requests. `keys` is a Query over the
    collection. `collections`, `destroy` and `cull` are a Scan over the whole table, which costs as much as reading
    every entry in it: use them only for tests and administration. Expired entries are removed by DynamoDB's own expiry.

    Args:
        table_name: The name of the table, or its ARN.
        client: An aiobotocore client for DynamoDB to use; it is not closed. It excludes the next five.
        region_name: The AWS region; None for the one that the environment or the AWS configuration names.
        endpoint_url: Another endpoint, such as a local DynamoDB.
        aws_access_key_id: Credentials; if omitted, those from the usual AWS sources.
        aws_secret_access_key: The second half of them.
        aws_session_token: The third part of temporary ones.
        create_table: Create the table if it is missing, billed per request, with expiry by `ttl`. A mapping gives
            further arguments of CreateTable, such as `{"Tags": [...]}`.
        consistent_reads: See every write acknowledged before; False may miss the latest ones, at half the price.
        timeout: Seconds that a request may take; None for no limit. Creating a table may still take 5 minutes.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other.
        StoreError: At the first call: there is no such table, its key is another, or AWS refuses the credentials.
    """

    url_parts = {"host": "table_name"}  # noqa: RUF012  # the base says ClassVar
    url_names = {"region": "region_name"}  # noqa: RUF012  # as above
    _max_inflight: ClassVar[int] = 2
    _max_items: ClassVar[int] = MAX_CHANGES
    _max_reads: ClassVar[int | None] = 100  # DynamoDB's own limit; past 16 MB it hands keys back
    # The driver encodes and signs a request on the event loop, and warns of those past 1 MiB.
    _max_bytes: ClassVar[int] = 256 * 1024
    _max_value_bytes = MAX_ITEM_BYTES
    _native_expiry: ClassVar[bool] = True
    _open_sets_own_timeouts: ClassVar[bool] = True

    def __init__(
        self,
        table_name: str,
        *,
        client: AioBaseClient | None = None,
        region_name: str | None = None,
        endpoint_url: str | None = None,
        aws_access_key_id: str | None = None,
        aws_secret_access_key: str | None = None,
        aws_session_token: str | None = None,
        create_table: bool | Mapping[str, Any] = False,
        consistent_reads: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._making: dict[str, str | None] = {
            "region_name": region_name,
            "endpoint_url": endpoint_url,
            "aws_access_key_id": aws_access_key_id,
            "aws_secret_access_key": aws_secret_access_key,
            "aws_session_token": aws_session_token,
        }
        check_one_way("client", client, **self._making)
        check_client_options(client, self._making)
        check_table_options(table_name, create_table, consistent_reads)
        self._table_name = table_name
        self._given_client = client
        self._lent = None if client is None else "a client"
        self._own_client: OwnClient | None = None
        self._create_table = create_table
        self._consistent = consistent_reads
        super().__init__(codec=codec, clock=clock, timeout=timeout)

    def __repr__(self) -> str:
        return f"DynamoDBStore({self._table_name!r})"

    async def _read(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._requests.read([key_of(ref) for ref in refs])

    async def _read_heads(self, refs: Sequence[Ref]) -> Sequence[ReadResult]:
        return await self._requests.read([key_of(ref) for ref in refs], heads=True)

    async def _write(self, records: Sequence[tuple[Ref, Record]]) -> Sequence[WriteResult]:
        outcomes: list[WriteResult] = [None] * len(records)
        items: dict[int, Item] = {}
        for index, (ref, record) in enumerate(records):
            try:
                items[index] = item_of(ref, record)
            except SatchelError as error:
                outcomes[index] = error
        again = await self._requests.write(list(items.values()))
        return [UNPROCESSED if i in items and place_of(items[i]) in again else outcomes[i] for i in range(len(records))]

    async def _delete(self, refs: Sequence[Ref], now: float) -> Sequence[ChangeResult]:
        return await self._each("delete", [partial(self._requests.delete, ref, now) for ref in refs])

    async def _put_if(self, items: Sequence[tuple[Ref, Record, Condition]], now: float) -> Sequence[ChangeResult]:
        return await self._each("put_if", [partial(self._requests.put_if, *item, now) for item in items])

    async def _delete_if(self, items: Sequence[tuple[Ref, str]], now: float) -> Sequence[ChangeResult]:
        return await self._each("delete_if", [partial(self._requests.delete_if, *item, now) for item in items])

    async def _touch(self, items: Sequence[tuple[Ref, float]], now: float) -> Sequence[ChangeResult]:
        return await self._each("touch", [partial(self._requests.touch, *item, now) for item in items])

    async def _each(self, operation: str, changes: Sequence[Change]) -> Sequence[ChangeResult]:
        """Make requests for one item each; the failure of one is its own."""

        async def outcome(change: Change) -> ChangeResult:
            async with self._slots:
                try:
                    return await change()
                except Exception as error:
                    throttled = isinstance(error, ClientError) and code_of(error) in THROTTLED
                    return UNPROCESSED if throttled else translated(self, error, operation)

        return await asyncio.gather(*map(outcome, changes))

    # Going through the table.

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._keys_after(collection, prefix, "", now)

    async def _keys_after(self, collection: str, prefix: str, after: str, now: float) -> AsyncIterator[Sequence[str]]:
        query = query_living(collection, prefix, now, after)
        async for page in self._scanner.pages(self._client.query, query, consistent=self._consistent):
            yield [key for item in page if (key := name_in(item, "key")).startswith(prefix)]
            if page and is_behind(page[-1], prefix):
                return

    async def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        scan = scan_living(now)
        seen: set[str] = set()
        async for page in self._scanner.pages(self._client.scan, scan, consistent=self._consistent):
            new = {name_in(item, "collection") for item in page} - seen
            seen |= new
            yield list(new)

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._remove_found(self._client.query, query_all(collection), now)

    async def _destroy(self, now: float) -> bool:
        return await self._remove_found(self._client.scan, scan_all(), now)

    async def _remove_found(self, method: Method, request: dict[str, Any], now: float) -> bool:
        lived = False
        async for page in self._scanner.pages(method, request, consistent=True):
            lived = lived or any(lives(item, now) for item in page)
            await self._scanner.remove(page)
        return lived

    async def _cull(self, now: float) -> int:
        culled = 0
        async for page in self._scanner.pages(self._client.scan, scan_expired(now), consistent=True):
            culled += await self._scanner.remove_if(page, if_expired(now))
        return culled

    async def _ping(self) -> None:
        await self._requests.read_item(key_of(("ping", "ping")))

    # Opening and closing.

    async def _open(self) -> None:
        if self._given_client is None:
            self._own_client = await self._with_timeout(OwnClient.make(**self._making))
            self._client = self._own_client.client
        else:
            self._client = self._given_client
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._requests = Requests(self._client, self._table_name, repr(self), consistent=self._consistent)
        self._scanner = Scanner(self._client, self._table_name, self._ask)
        try:
            table = Table(self._client, self._table_name, self._ask)
            if self._create_table is False:
                await table.check()
            else:
                await table.make({} if self._create_table is True else self._create_table)
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        if self._own_client is not None:
            await self._own_client.close()
            self._own_client = None

    def _discard(self) -> None:
        self._own_client = None  # the end of its event loop has closed it

    def _ask(self, request: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return self._with_timeout(in_empty_context(request))

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, self._table_name, self._where())

    def _where(self) -> str:
        client = vars(self).get("_client")
        if client is None:
            return "its region"
        endpoint = f" at {client.meta.endpoint_url}" if self._making["endpoint_url"] else ""
        return f"region {client.meta.region_name}{endpoint}"

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return hidden_names(ref)
