"""`ObjectBlobs`: blobs as objects of S3, Google Cloud Storage or Azure."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar, cast, overload

from .._checks import check_seconds
from .._contexts import run_in_empty_context, task_in_empty_context
from .._threads import Yielder, offload
from ..backend.network import check_one_way
from ..clock import TTL, Clock, seconds, system_clock
from ..errors import (
    BlobChangedError,
    BlobExistsError,
    BlobMissingError,
    ConfigurationError,
    IntegrityError,
    SatchelError,
    missing_extra,
)
from ..matching import check_delimiter
from ..names import SAFE, Escaping, check_name, check_prefix
from .base import BlobsBase
from .ids import IdKind
from .info import BlobInfo
from .levels import READABLE, KeyPaths
from .options import PutOptions
from .source import BlobSource
from .urls import UrlSigner, stable_deadline

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError, NotModifiedError, PreconditionError
    from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store
except ModuleNotFoundError as error:
    raise missing_extra("ObjectBlobs", "objectstore", error) from error

from ..stores.objectstore.bucket import Bucket
from ..stores.objectstore.client import Target, check_client, check_options, connect
from ..stores.objectstore.errors import is_missing_bucket, translate
from ..stores.objectstore.requests import check_driver
from ..stores.objectstore.requests import start as start_request
from ..stores.objectstore.sweep import Removal

__all__ = ["ObjectBlobs"]

D = TypeVar("D")

PART = 8 * 1024 * 1024
"""Bytes that are sent or asked for in one request."""
MOST_AT_ONCE = 64 * 1024 * 1024
"""The longest stream that is written on a condition, which an object store takes in one request alone."""

_PARTS = 10_000  # the most that S3 takes of one object
_WRITES, _READS = 3, 2  # requests under way for one blob
_PIECE = 1024 * 1024
_LEVEL_BYTES, _PATH_BYTES = 255, 1024
_ESCAPING = Escaping(SAFE | READABLE | frozenset('"*:<>?|'), keep_unicode=True)
_TIMEOUT = 60.0
_SIGNED_AT_MOST = 7 * 24 * 3600
_REMEMBERED = 1000
_TRIAL = "%-trial"
"""Begins the names of objects on which a server is tried: no key has such a path."""
_REFUSED = (AlreadyExistsError, PreconditionError, NotModifiedError)

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_HEADERS = frozenset(
    {"Content-Type", "Content-Disposition", "Content-Encoding", "Content-Language", "Cache-Control", "Storage-Class"}
)
_TAKEN = frozenset(name.lower() for name in _HEADERS)


class ObjectBlobs(BlobsBase):
    """Target that keeps blobs as objects of S3, Google Cloud Storage or Azure, each under the name of its key.

    Large blobs are sent in parts, and read in ranges. The media type and the metadata are attributes of the object.

    An object store has no ttl for one object, which is refused. A write on a condition is one request: of a stream it
    may have at most 64 MiB. `pop` and `move` need a service that deletes on a condition; others refuse them.

    Args:
        url: `s3://bucket`, `gs://bucket` or `az://container`, optionally followed by `/prefix`.
        client: An `S3Store`, `GCSStore`, `AzureStore` or `MemoryStore` of obstore to use instead of a url.
        prefix: Folder of all objects; by default the one in the url, or none.
        endpoint: For s3, the address of a service other than AWS, as `https://host:port`.
        region: For s3, the region of the bucket.
        access_key_id: For s3, the id of the key; if omitted, obstore looks for credentials in the environment and the
            machine.
        secret_access_key: For s3, the secret of that key.
        session_token: For s3, the third part of temporary credentials.
        virtual_hosted_style_request: For s3, the bucket's name is in the host name rather than in the path.
        timeout: Seconds that a request may take, of at most 8 MiB or what a conditional write has; None for no limit.
        ids: How keys are made: `uuid7`, `uuid4` or `sha256`.
        template: The key that is made, with `{}` for the id.
        max_size: The longest blob in bytes that is taken; None for no limit.
        base_url: Address under which a web server has the objects; without one, `url_for` makes presigned addresses.
        signer: Signs the addresses made from `base_url`.
        clock: Returns the present as seconds since the Unix epoch, for keys and addresses.

    Raises:
        ConfigurationError: An option is wrong, or two exclude each other. At the first call: obstore rejects an option.
            At the first conditional write: the server ignores its condition.
    """

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
        timeout: float | None = _TIMEOUT,
        ids: IdKind = "uuid7",
        template: str = "{}",
        max_size: int | None = None,
        base_url: str | Callable[[str], str] | None = None,
        signer: UrlSigner | None = None,
        clock: Clock = system_clock,
    ) -> None:
        super().__init__(ids=ids, template=template, max_size=max_size, base_url=base_url, signer=signer, clock=clock)
        options: dict[str, object] = {
            "endpoint": endpoint,
            "region": region,
            "access_key_id": access_key_id,
            "secret_access_key": secret_access_key,
            "session_token": session_token,
            "virtual_hosted_style_request": virtual_hosted_style_request,
        }
        check_one_way("client", client, url=url, **options)
        if timeout is not None:
            check_seconds("timeout", timeout)
        self._timeout = timeout
        self._target: Target | None = None
        if client is not None:
            check_client(client)
        elif url is None:
            raise ConfigurationError("give a url, such as s3://bucket, or a client")
        else:
            self._target = Target(url)
        self._options = {name: value for name, value in options.items() if value is not None}
        check_options(self._target, self._options)
        self._folder = _folder(self._target, prefix)
        self._paths = KeyPaths(_ESCAPING, _LEVEL_BYTES, _PATH_BYTES - len(self._folder))
        self._service = None if client is None else _Service(client, client, timeout)
        self._addresses: dict[tuple[str, str, int], str] = {}

    def __repr__(self) -> str:
        return f"ObjectBlobs({self._place!r}, prefix={self._folder[:-1]!r})"

    async def _open(self) -> None:
        await self._connected()

    # Reading.

    async def _source(self, key: str) -> BlobSource | None:
        info = await self.info(key)
        return None if info is None else _ObjectSource(self, self._path(key), info)

    async def info(self, key: str) -> BlobInfo | None:
        """Return what is known about a blob, or None when there is none."""
        named = check_name(key)
        found = await self._found(self._path(named), {"head": True})
        return None if found is None else self._info(named, found)

    @overload
    async def get(self, key: str, default: None = None, *, start: int = 0, end: int | None = None) -> bytes | None: ...
    @overload
    async def get(self, key: str, default: D, *, start: int = 0, end: int | None = None) -> bytes | D: ...
    async def get(self, key: str, default: Any = None, *, start: int = 0, end: int | None = None) -> Any:
        """Return the content of a blob or a part of it, or the default when there is no blob."""
        if (start, end) == (0, None):  # a small blob in one request
            found = await self._found(self._path(check_name(key)), None)
            if found is None:
                return default
            if found.meta["size"] <= PART:
                return b"".join(_slices(await self._sent(found.bytes_async)))
        return await super().get(key, default, start=start, end=end)

    async def _found(self, path: str, options: Any) -> Any:
        try:
            return await self._sent(obstore.get_async, (await self._connected()).client, path, options=options)
        except FileNotFoundError:
            return None

    def _info(self, key: str, found: Any) -> BlobInfo:
        kept = dict(found.attributes)
        return BlobInfo(
            key=key,
            size=found.meta["size"],
            sha256=None,
            content_type=kept.get("Content-Type"),
            metadata={name: text for name, text in kept.items() if name not in _HEADERS},
            created_at=None,
            updated_at=found.meta["last_modified"],
            expires_at=None,
            version=_version(found.meta),
            uri=f"{self._place}/{self._path(key)}",
        )

    # Writing.

    async def _write(self, key: str, pieces: AsyncIterator[bytes], options: PutOptions) -> BlobInfo:
        attributes = self._attributes(options)
        path = self._path(key)
        on_condition = options.if_absent or options.if_version is not None
        waiting: list[bytes] = []
        size = 0
        async for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size > PART and not on_condition:
                await self._upload(path, attributes, waiting, pieces, options.size)
                return await self._required_info(key)
            if size > MOST_AT_ONCE:
                self._refuse(f"if_absent= and if_version= of put for a stream of more than {MOST_AT_ONCE} bytes")
        return await self._put_at_once(key, waiting, size, options)

    async def _write_whole(self, key: str, data: bytes, options: PutOptions) -> BlobInfo:
        if len(data) > PART and not options.if_absent and options.if_version is None:
            return await super()._write_whole(key, data, options)
        return await self._put_at_once(key, [data], len(data), options)

    async def _put_at_once(self, key: str, pieces: Sequence[bytes], size: int, options: PutOptions) -> BlobInfo:
        service, path = await self._connected(), self._path(key)
        mode: Any = "overwrite"
        if options.if_absent or options.if_version is not None:
            await self._mapped(service.prove(f"{self._folder}{_TRIAL}"))
            mode = "create" if options.if_absent else _tag(str(options.if_version))
        attributes = self._attributes(options)
        try:
            result = await self._sent(
                obstore.put_async, service.strict, path, pieces, attributes=attributes, mode=mode, use_multipart=False
            )
        except (*_REFUSED, FileNotFoundError) as error:  # the last is S3's answer to a condition on what is not there
            raise _refusal(key, options) from error
        return BlobInfo(
            key=key,
            size=size,
            sha256=None,
            content_type=attributes.pop("Content-Type"),
            metadata=attributes,
            created_at=None,
            updated_at=datetime.fromtimestamp(self._clock(), UTC),
            expires_at=None,
            version=_version(result),
            uri=f"{self._place}/{path}",
        )

    async def _upload(
        self,
        path: str,
        attributes: dict[str, str],
        waiting: Sequence[bytes],
        pieces: AsyncIterator[bytes],
        size: int | None,
    ) -> None:
        """Send a large blob in parts; it appears with the last request, which is left out when this raises."""
        writer = run_in_empty_context(
            obstore.open_writer_async,
            (await self._connected()).client,
            path,
            attributes=attributes,
            buffer_size=max(PART, -(-(size or 0) // _PARTS)),
            max_concurrency=_WRITES,
        )
        for piece in waiting:
            await self._send(writer, piece)
        async for piece in pieces:
            await self._send(writer, piece)
        await self._sent(writer.close)

    async def _send(self, writer: Any, piece: bytes) -> None:
        view = memoryview(piece)
        for start in range(0, len(view), _PIECE):  # the driver copies, and others wait for it
            await self._sent(writer.write, view[start : start + _PIECE])

    def _attributes(self, options: PutOptions) -> dict[str, str]:
        if options.ttl is not None:
            self._refuse("ttl= of put: give the bucket a lifecycle rule")
        for name, text in options.metadata.items():
            if not _NAME.fullmatch(name) or name in _TAKEN:
                self._refuse(
                    f"metadata= of put with the name {name[:40]!r}: services keep a-z, 0-9, '-', '_' and '.', and no "
                    "name of a header"
                )
            if not _TEXT.fullmatch(text):
                self._refuse(
                    f"metadata= of put with the text under {name[:40]!r}: services keep printable ASCII without spaces "
                    "around it"
                )
        kind = options.content_type
        if kind is not None and not _TEXT.fullmatch(kind):
            self._refuse("content_type= of put that is not printable ASCII")
        return {"Content-Type": kind or "application/octet-stream", **options.metadata}

    async def _copy(self, source: str, target: str, if_absent: bool) -> BlobInfo:
        service = await self._connected()
        if if_absent and isinstance(service.client, S3Store):  # which cannot copy on a condition
            return await super()._copy(source, target, if_absent)
        try:
            await self._sent(
                obstore.copy_async, service.client, self._path(source), self._path(target), overwrite=not if_absent
            )
        except FileNotFoundError as error:
            raise BlobMissingError(f"there is no blob under {source!r}") from error
        except _REFUSED as error:
            raise BlobExistsError(f"there is a blob under {target!r}") from error
        return await self._required_info(target)

    async def _move(self, source: str, target: str, if_absent: bool) -> BlobInfo:
        await self._check_removal("move")
        return await super()._move(source, target, if_absent)

    async def _check_removal(self, method: str) -> None:
        service = await self._connected()
        if not await self._mapped(service.removal(f"{self._folder}{_TRIAL}").works()):
            self._refuse(f"{method}: this service does not delete on a condition")

    async def _delete(self, key: str, version: str | None) -> bool:
        service, path = await self._connected(), self._path(key)
        if version is not None:
            await self._check_removal("pop")
            removal = service.removal(f"{self._folder}{_TRIAL}")
            return bool(await self._mapped(removal.delete(path, _tag(version)["e_tag"])))
        if await self._found(path, {"head": True}) is None:
            return False
        await self._sent(obstore.delete_async, service.client, path)
        return True

    # Listing.

    async def _keys(self, prefix: str, after: str | None, limit: int | None) -> AsyncIterator[str]:
        if limit == 0:
            return
        found = self._listed(prefix)
        if after is None:
            left = limit
            async for key in found:
                yield key
                left = None if left is None else left - 1
                if left == 0:
                    return
        else:  # a service sorts by paths, in which some characters are escaped
            for key in sorted([key async for key in found if key > after])[:limit]:
                yield key

    async def _listed(self, prefix: str) -> AsyncGenerator[str, None]:
        bucket = (await self._connected()).bucket
        pages = bucket.pages(self._above(prefix))
        while (page := await self._mapped(anext(pages, None))) is not None:
            for meta in page:
                key = self._key(meta["path"])
                if key is not None and key.startswith(prefix):
                    yield key

    def prefixes(self, delimiter: str = "/", prefix: str = "") -> AsyncIterator[str]:
        """Iterate over "folders", each once; arguments and errors are those of `Collection.prefixes`."""
        if check_delimiter(delimiter) != "/":
            return super().prefixes(delimiter, prefix)
        return self._folders(check_prefix(prefix))

    async def _folders(self, prefix: str) -> AsyncGenerator[str, None]:
        """Ask the service for folders, whose blobs it does not list."""
        bucket = (await self._connected()).bucket
        for path in await self._mapped(bucket.folders(self._above(prefix))):
            found = self._paths.folder(path[len(self._folder) :].split("/"))
            if found is not None and found.startswith(prefix):
                yield found

    def _above(self, prefix: str) -> str:
        """Return the folder in which all keys with a prefix are."""
        folder, slash, _ = prefix.rpartition("/")
        return self._folder + "/".join(self._paths.levels(folder) if folder else "%" * bool(slash))

    # Addresses.

    async def url_for(self, key: str, *, expires: TTL = 900, method: str = "GET") -> str:
        """Return an address under which a browser finds the blob, or may put it, as described for `Blobs`.

        One from `base_url`, or else one that the service signs. That stays the same in this process for a while.
        """
        if self._base_url is not None:
            return await super().url_for(key, expires=expires, method=method)
        path, lasting = self._path(check_name(key)), seconds(expires, "expires")
        if method not in ("GET", "HEAD", "PUT", "DELETE"):
            raise ConfigurationError("method must be one of DELETE, GET, HEAD, PUT")
        service = await self._connected()
        if isinstance(service.client, MemoryStore):
            self._refuse("url_for without base_url=: it is in memory")
        now = self._clock()
        deadline = stable_deadline(now, min(lasting, _SIGNED_AT_MOST * 4 / 5))
        known = path, method, deadline
        if known not in self._addresses:
            left = timedelta(seconds=int(deadline - now))
            url = await self._sent(obstore.sign_async, service.client, method, path, left)
            if len(self._addresses) >= _REMEMBERED:
                self._addresses.clear()
            self._addresses[known] = url
        return self._addresses[known]

    # Requests.

    def _path(self, key: str) -> str:
        return self._folder + "/".join(self._paths.levels(key))

    def _key(self, path: str) -> str | None:
        if not path.startswith(self._folder):
            return None
        return self._paths.key(path[len(self._folder) :].split("/"))

    @property
    def _place(self) -> str:
        return "memory:" if self._target is None else str(self._target)

    async def _connected(self) -> _Service:
        check_driver()
        if self._service is None:  # it reads files: certificates, for some also credentials
            client, strict = await offload(connect, cast("Target", self._target), self._options, self._timeout)
            self._service = _Service(client, strict, self._timeout)
        return self._service

    async def _sent(self, request: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Send a request; a missing object and a condition that does not hold raise what the driver raises."""
        try:
            return await start_request(request, *arguments, **options)
        except Exception as error:
            self._raise_mapped(error)

    async def _mapped(self, work: Any) -> Any:
        """Await work that sends requests."""
        try:
            return await work
        except Exception as error:
            self._raise_mapped(error)

    def _raise_mapped(self, error: Exception) -> NoReturn:
        is_outcome = isinstance(error, (*_REFUSED, FileNotFoundError)) and not is_missing_bucket(error)
        mapped = None if is_outcome or isinstance(error, SatchelError) else translate(error, self._place)
        if mapped is None:
            raise error
        raise mapped from error


class _Service:
    """Client of an object store, with what is known about the service.

    Attributes:
        client: Sends again what failed.
        strict: Sends nothing twice by itself; for single writes.
        bucket: Requests that stores make too.
    """

    def __init__(self, client: Any, strict: Any, timeout: float | None) -> None:
        self.client, self.strict, self._timeout = client, strict, timeout
        self.bucket = Bucket(client, strict, set())
        self._proven = not isinstance(client, S3Store)
        self._removal: Removal | None = None

    def removal(self, trial: str) -> Removal:
        """Return what deletes on a condition."""
        if self._removal is None:
            self._removal = Removal(self.bucket, trial, self._timeout)
        return self._removal

    async def prove(self, trial: str) -> None:
        """Try once, on an object of its own, whether the server keeps the conditions of writes.

        Raises:
            ConfigurationError: It ignores them.
        """
        if self._proven:
            return
        path = f"{trial}/{secrets.token_hex(16)}"
        try:
            await self.bucket.swap(path, b"1", None)
            found = await self.bucket.read(path)
            await self.bucket.swap(path, b"2", None if found is None else found.tag)
        finally:
            with suppress(BaseError, FileNotFoundError):  # it must not hide what was found out
                await self.bucket.remove([path])
        self._proven = True


class _ObjectSource(BlobSource):
    """One version of an object, read in ranges on the condition that it is still there."""

    def __init__(self, blobs: ObjectBlobs, path: str, info: BlobInfo) -> None:
        self.info = info
        self._blobs, self._path = blobs, path

    async def read(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Iterate over the bytes; the next range is asked for while the last is used."""
        client = (await self._blobs._connected()).client
        starts = iter(range(start, end, PART))
        parts: deque[asyncio.Task[Any]] = deque()
        turns = Yielder()

        def ask() -> None:
            if (first := next(starts, None)) is not None:
                parts.append(task_in_empty_context(self._range(client, first, min(first + PART, end))))

        try:
            for _ in range(_READS):
                ask()
            while parts:
                content = await parts[0]
                parts.popleft()
                ask()
                for piece in _slices(content):
                    yield piece
                    await turns.after_item()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _range(self, client: Any, start: int, end: int) -> Any:
        options = {"range": (start, end), "if_match": _tag(self.info.version)["e_tag"]}
        try:
            found = await self._blobs._sent(obstore.get_async, client, self._path, options=options)
        except (*_REFUSED, FileNotFoundError) as error:
            raise BlobChangedError(f"the blob {self.info.key!r} was replaced or removed while it was read") from error
        content = await self._blobs._sent(found.bytes_async)
        if len(content) != end - start:
            raise IntegrityError(f"the service sent another part of the blob {self.info.key!r} than it was asked for")
        return content


def _slices(content: Any) -> Iterator[bytes]:
    """Iterate over the driver's bytes as Python's, in pieces that hold up nobody."""
    view = memoryview(content)
    for start in range(0, len(view), _PIECE):
        yield bytes(view[start : start + _PIECE])


def _version(meta: Mapping[str, Any]) -> str:
    """Return what identifies an object: its ETag and, for gs://, its generation."""
    return " ".join(str(part) for part in (meta["e_tag"], meta["version"]) if part is not None)


def _tag(version: str) -> dict[str, str]:
    e_tag, _, generation = version.partition(" ")
    return {"e_tag": e_tag, "version": generation} if generation else {"e_tag": e_tag}


def _refusal(key: str, options: PutOptions) -> SatchelError:
    if options.if_absent:
        return BlobExistsError(f"there is a blob under {key!r}")
    return BlobChangedError(f"the blob {key!r} has another version, or is gone")


def _folder(target: Target | None, prefix: str | None) -> str:
    """Return what all paths begin with.

    Raises:
        ConfigurationError: It is given twice, or is none.
    """
    of_url = "" if target is None else target.prefix
    if of_url and prefix is not None:
        raise ConfigurationError("prefix is given twice: by the url and as an option")
    folder = of_url or prefix or ""
    if not isinstance(folder, str) or any(
        not level or _ESCAPING.escape(level) != level for level in (folder.split("/") if folder else ())
    ):
        raise ConfigurationError("prefix must be one or more names joined by /, none of which begins with a dot")
    if len(folder.encode()) > _PATH_BYTES // 2:
        raise ConfigurationError(f"prefix must have at most {_PATH_BYTES // 2} bytes")
    return f"{folder}/" if folder else ""
