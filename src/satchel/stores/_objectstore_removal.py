"""`Removal`: deleting an object only as long as it has not changed.

obstore has no such request. Its signed URLs are sent with an `If-Match` here, by the standard library in a thread.
Not every server looks at the condition: one that does not is found out on an object made for that, and then nothing
is deleted here.
"""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Sequence
from datetime import timedelta
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from .._threads import in_thread
from ._objectstore_bucket import Bucket, Head, apart

_VALID_FOR = timedelta(minutes=5)
_AT_ONCE = 8
_WRONG = '"satchel-no-such-etag"'


class Removal:
    """Deletes objects as long as they have not changed.

    Args:
        bucket: Where they are.
        root: The folder for the object on which the server is tried.
        timeout: Seconds for one request; None for no end.
    """

    def __init__(self, bucket: Bucket, root: str, timeout: float | None) -> None:
        self._bucket = bucket
        self._root = root
        self._timeout = timeout
        self._works: bool | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def works(self) -> bool:
        """Say whether the server keeps the condition of a deletion; the first call finds out."""
        if self._works is None:
            self._works = await self._try()
        return self._works

    async def remove(self, heads: Sequence[Head]) -> list[bool]:
        """Delete objects; say of each whether it had not changed, and is gone."""
        if not heads:
            return []
        return await asyncio.gather(*(self._delete(head.path, head.tag["e_tag"]) for head in heads))

    async def _try(self) -> bool:
        if not isinstance(self._bucket.client, (S3Store, GCSStore, AzureStore)):
            return False
        path = f"{self._root}/{uuid.uuid4()}"  # one level too high for an entry
        e_tag = await self._bucket.write(path, b"trial")
        try:
            return not await self._delete(path, _WRONG) and await self._delete(path, e_tag)
        except BaseError:
            return False  # there is nothing to sign with
        except HTTPError as error:
            if error.code >= 500:
                raise  # which says nothing of what it does at better times
            return False  # it refuses signed URLs
        except URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                return False  # obstore was told to trust what the standard library does not
            raise
        finally:
            await self._bucket.remove([path])

    async def _delete(self, path: str, e_tag: str) -> bool:
        async with self._turns:
            url = await apart(obstore.sign_async, self._bucket.client, "DELETE", path, _VALID_FOR)
            return await in_thread(_send, url, e_tag, self._timeout)


def _send(url: str, e_tag: str, timeout: float | None) -> bool:
    request = Request(url, method="DELETE", headers={"If-Match": e_tag})  # noqa: S310  # obstore made the URL
    try:
        with urlopen(request, timeout=timeout):  # noqa: S310  # the same
            return True
    except HTTPError as error:
        error.close()
        if error.code in (404, 412):
            return False
        raise
