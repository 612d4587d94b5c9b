"""`ObjectStore`: one object an entry in a bucket of S3, Google Cloud Storage or Azure (`s3:// gs:// az://`)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from ..._threads import offload
from ...backend.base import UNPROCESSED, ChangeResult, Condition, ReadResult, WriteResult
from ...backend.keyed import KeyedStore
from ...backend.network import DEFAULT_TIMEOUT, check_one_way
from ...backend.record import Record, unpack, unpack_outcome
from ...clock import NEVER, Clock, system_clock
from ...codec import Codec
from ...errors import ConfigurationError, ConflictError, IntegrityError, SatchelError, missing_extra
from ...names import Ref

try:
    from obstore.exceptions import BaseError
    from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store
except ModuleNotFoundError as error:
    raise missing_extra("ObjectStore", "objectstore", error) from error

from .bucket import Bucket, Kind, Tag, packed, unpacked
from .client import Target, check_client, check_options, connect
from .errors import is_over, is_throttled, is_unsure, translate
from .layout import DEFAULT_PREFIX, Layout
from .requests import check_driver
from .sweep import Removal, Sweep, lives, tombstone

Decide = Callable[[Record | None], Record | bool]
"""Function from the live entry to its replacement, or to the outcome if nothing is to be written."""

_TRIES = 12
_LONGEST_PAUSE = 0.5
_LOOKS_FOR_EACH = 2


class ObjectStore(KeyedStore):
    """Store that keeps entries in a bucket, one object each.

    It suits values that are large, or read far more often than listed.

    Conditional writes are those of the object store, by ETag. A deleted entry becomes an object of 46 bytes, which
    `cull` removes five minutes later; so do expired ones. Listing keys reads the header of each: one request an entry.

    Args:
        url: `s3://bucket`, `gs://bucket` or `az://container`, optionally followed by `/prefix`.
        client: An `S3Store`, `GCSStore`, `AzureStore` or `MemoryStore` of obstore to use instead of a url.
        prefix: Prefix of all object names; by default the one in the url, or `satchel`. It is reserved for this store.
        endpoint: For s3, the address of a service other than AWS, as `https://host:port`.
        region: For s3, the region of the bucket.
        access_key_id: For s3, the id of the key; if omitted, obstore looks for credentials in the environment and the
            machine.
        secret_access_key: For s3, the secret of that key.
        session_token: For s3, the third part of temporary credentials.
        virtual_hosted_style_request: For s3, the bucket's name is in the host name rather than in the path.
        timeout: Seconds that a request may take; None for no limit.
        codec: Encodes values; JSON by default.
        clock: Function that returns seconds since the Unix epoch.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: obstore rejects an option.
            At the first conditional write: the server ignores its condition.
    """

    _checksums = "wire"
    url_parts = {"url": "url"}  # noqa: RUF012  # the base says ClassVar
    _max_value_bytes = 5 * 1024**3 - 16 * 1024  # the largest object that one request writes, and room

    def __init__(
        self,
        url: str | None = None,
        *,
        client: S3Store | GCSStore | AzureStore | MemoryStore | None = None,
        prefix: str | None = None,
        endpoint: str | None = None,
        region: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        virtual_hosted_style_request: bool | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        codec: Codec | None = None,
        clock: Clock = system_clock,
    ) -> None:
        options: dict[str, object] = {
            "endpoint": endpoint,
            "region": region,
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
            "session_token": session_token,
            "virtual_hosted_style_request": virtual_hosted_style_request,
        }
        check_one_way("client", client, url=url, **options)
        self._given_client = client
        self._target = None
        if client is not None:
            check_client(client)
        elif url is None:
            raise ConfigurationError("give a url, such as s3://bucket, or a client")
        else:
            self._target = Target(url)
        self._options = {name: value for name, value in options.items() if value is not None}
        check_options(self._target, self._options)
        self._layout = Layout(_one_prefix(self._target, prefix))
        self._owed = 0
        super().__init__(codec=codec, clock=clock, timeout=timeout)

    def __repr__(self) -> str:
        return f"ObjectStore({self._place!r}, prefix={self._layout.root!r})"

    async def _read_one(self, ref: Ref) -> ReadResult:
        wire = await self._bucket.content(self._layout.path(ref))
        try:
            return None if wire is None else await unpacked(wire)
        except IntegrityError as error:
            return error

    async def _read_head_one(self, ref: Ref) -> ReadResult:
        found = await self._bucket.read_header(self._layout.path(ref))
        return None if found is None else unpack_outcome(bytes(found.wire), whole=False)

    async def _write_one(self, ref: Ref, record: Record) -> WriteResult:
        try:
            await self._bucket.write(self._layout.path(ref), await packed(record))
        except BaseError as error:
            if is_over(error):
                return UNPROCESSED
            raise
        self._owed += record.deadline != NEVER
        return None

    async def _delete_one(self, ref: Ref, now: float) -> ChangeResult:
        return await self._bury(ref, now, lambda record: record is not None)

    async def _delete_if_one(self, ref: Ref, version: str, now: float) -> ChangeResult:
        return await self._bury(ref, now, lambda record: record is not None and record.version == version)

    async def _put_if_one(self, ref: Ref, record: Record, condition: Condition, now: float) -> ChangeResult:
        self._owed += record.deadline != NEVER
        return await self._exchange(
            ref, now, lambda there: record if condition == (None if there is None else there.version) else False
        )

    async def _touch_one(self, ref: Ref, deadline: float, now: float) -> ChangeResult:
        def decide(record: Record | None) -> Record | bool:
            if record is None or record.deadline == deadline:
                return record is not None
            return msgspec.structs.replace(record, deadline=deadline)

        self._owed += deadline != NEVER
        return await self._exchange(ref, now, decide, whole=True)

    def _keys(self, collection: str, prefix: str, now: float) -> AsyncIterator[Sequence[str]]:
        return self._sweep.keys(collection, prefix, now)

    def _collections(self, now: float) -> AsyncIterator[Sequence[str]]:
        return self._sweep.collections(now)

    async def _destroy_collection(self, collection: str, now: float) -> bool:
        return await self._sweep.destroy(self._layout.folder(collection), now)

    async def _destroy(self, now: float) -> bool:
        return await self._sweep.destroy(self._layout.root, now)

    async def _cull(self, now: float) -> int:
        looks, self._owed = self._owed * _LOOKS_FOR_EACH, 0
        return await self._sweep.some(looks, now)

    async def cull(self) -> int:
        """Reclaim the space of expired entries now, and return how many there were.

        This looks at every object. What the store does by itself now and then is bounded by what was written: it looks
        at two objects for each entry that was deleted or has a deadline.
        """
        return await self._run_admin("cull", lambda: self._sweep.all(self.clock()))

    async def _ping(self) -> None:
        await self._bucket.read_header(f"{self._layout.root}/ping")

    def _embedded_ref(self, ref: Ref) -> Ref | None:
        return self._layout.hidden(ref)

    def _map_error(self, error: Exception) -> SatchelError | None:
        return translate(error, self._place, self._options.get("endpoint"))

    async def _open(self) -> None:
        check_driver()
        client = strict = self._given_client
        if self._target is not None:  # it reads files: certificates, for some also credentials
            client, strict = await offload(connect, self._target, self._options, self._timeout)
        proven: set[Kind] = set() if isinstance(client, S3Store) else {"create", "update"}
        self._bucket = Bucket(client, strict, proven)
        removal = Removal(self._bucket, self._layout.root, self._timeout)
        self._sweep = Sweep(self._bucket, self._layout, removal, self._timeout)

    async def _close(self) -> None:
        self._discard()

    def _discard(self) -> None:
        vars(self).pop("_bucket", None)
        vars(self).pop("_sweep", None)

    @property
    def _place(self) -> str:
        return "the bucket of the client" if self._target is None else str(self._target)

    async def _bury(self, ref: Ref, now: float, wanted: Callable[[Record | None], bool]) -> bool:
        """Put a tombstone in the place of a living entry, if it is the one wanted; return whether it was."""
        stone = tombstone(now)
        done = await self._exchange(ref, now, lambda record: stone if wanted(record) else False)
        if done:
            self._owed += 1
            self._count_deadlines(1)
        return done

    async def _exchange(self, ref: Ref, now: float, decide: Decide, *, whole: bool = False) -> bool:
        """Replace the entry in one atomic step after reading it; again when another writer was faster."""
        path, sent = self._layout.path(ref), None
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(random.uniform(0.5, 1) * min(_LONGEST_PAUSE, 0.01 * 2**attempt))  # noqa: S311  # spreads load, hides nothing
            found = await (self._bucket.read(path) if whole else self._bucket.read_header(path))
            record = None if found is None else await unpacked(found.wire, whole=False)
            if sent is not None and _is_same(record, sent):
                return True  # a client that sends again by itself was refused by what it wrote
            choice = decide(record if lives(record, now) else None)
            if isinstance(choice, bool):
                return choice
            sent = choice
            if await self._swap(path, sent, None if found is None else found.tag):
                return True
        raise ConflictError(f"{_TRIES} times another writer was faster, or the service had too much to do; try again")

    async def _swap(self, path: str, record: Record, tag: Tag | None) -> bool:
        try:
            return await self._bucket.swap(path, await packed(record), tag)
        except Exception as error:
            if is_throttled(error):
                return False
            if is_unsure(error):
                found = await self._bucket.read_header(path)
                if found is not None and _is_same(unpack(bytes(found.wire), whole=False), record):
                    return True
            raise


def _is_same(record: Record | None, other: Record) -> bool:
    return record is not None and (record.version, record.deadline) == (other.version, other.deadline)


def _one_prefix(target: Target | None, prefix: str | None) -> str:
    of_url = "" if target is None else target.prefix
    if of_url and prefix is not None:
        raise ConfigurationError("prefix is given twice: by the url and as an option")
    return of_url or (DEFAULT_PREFIX if prefix is None else prefix)
