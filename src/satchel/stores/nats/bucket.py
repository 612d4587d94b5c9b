"""The messages of a bucket: read, written under a condition, removed, and listed by their headers."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from ..._threads import Yielder
from ...backend.record import Record, new_version
from ...backend.watching import Feed
from ...clock import NEVER
from ...codec import RAW_BYTES
from ...errors import ConfigurationError, IntegrityError
from ...names import Ref
from .connection import Connection, Listener, answered, refuse_status, status_of
from .errors import ApiError, DisconnectedError, is_absent, is_changed, is_unsure
from .layout import HEADER, Layout, decode, encode

API = "$JS.API"
GRACE = 60
"""Seconds for which the server keeps an expired entry, and the mark of a deleted one."""
_LONGEST_TTL = 100 * 365 * 86400
_PAGE = 500
_NEXT = b'{"batch":%d,"no_wait":true}' % _PAGE
_SINCE_TTL = (2, 11)
_IDLE = 60_000_000_000
"""Nanoseconds after which the server forgets a listing that nobody continues."""
_HEARTBEAT, _SILENCE = 5.0, 12.0
"""Seconds between two signs of life of a server that is watched, and without any until it is given up."""
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_OPERATION = "KV-Operation"
_MARKER = "Nats-Marker-Reason"
_TTL = "Nats-TTL"


class Found(NamedTuple):
    """What is under a subject.

    Attributes:
        sequence: The number of the message in the stream; 0 where there is none.
        header: Its `Satchel` header.
        payload: Its data.
        deleted: It is the mark of a deleted entry.
    """

    sequence: int = 0
    header: str | None = None
    payload: bytes = b""
    deleted: bool = True

    def record(self, *, whole: bool = True) -> Record | None:
        """Return the record, None if there is none.

        Raises:
            IntegrityError: It is damaged, or not satchel's.
        """
        return None if self.deleted else decode(self.header, self.payload, whole=whole)


class Listed(NamedTuple):
    """Entry of a listing, without its value.

    Attributes:
        subject: Its subject.
        sequence: The number of its message.
        ref: Its names.
        deadline: When it expires, in seconds since the Unix epoch.
    """

    subject: str
    sequence: int
    ref: Ref
    deadline: float


class Bucket:
    """Bucket of JetStream with the messages of a store.

    Args:
        connection: Where its server is.
        layout: How its entries are named.
    """

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self._layout = layout
        self.marks = False
        """Whether messages have a time to live of their own: from NATS 2.11 on, if the bucket allows it."""
        self._direct = False

    async def open(self, replicas: int) -> None:
        """Look at the bucket, and make it where there is none.

        Raises:
            ConfigurationError: There is one that a store cannot use.
        """
        name = self._layout.stream
        try:
            info = await self._connection.ask(f"{API}.STREAM.INFO.{name}")
        except ApiError as error:
            if error.number != 10059:
                raise
            info = await self._connection.ask(f"{API}.STREAM.CREATE.{name}", self._settings(replicas))
        settings = info["config"]
        check(settings, self._layout)
        self.marks = bool(settings.get("allow_msg_ttl"))
        # Each replica answers what is read directly, also one that has not heard of the last write yet.
        self._direct = bool(settings.get("allow_direct")) and settings.get("num_replicas", 1) == 1

    def _settings(self, replicas: int) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "name": self._layout.stream,
            "description": "entries of satchel",
            "subjects": [f"{self._layout.root}>"],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msg_size": -1,
            "num_replicas": replicas,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
        }
        version = self._connection.client.connected_server_version
        if (version.major, version.minor) >= _SINCE_TTL:
            # Without the second one the server says nothing to those who watch when an entry expires.
            settings |= {"allow_msg_ttl": True, "subject_delete_marker_ttl": GRACE * 1_000_000_000}
        return settings

    async def ping(self) -> None:
        """Ask for the bucket."""
        await self._connection.ask(f"{API}.STREAM.INFO.{self._layout.stream}")

    async def read(self, subject: str) -> Found:
        """Return the message under a subject."""
        try:
            if self._direct:
                answer = await self._connection.request(f"{API}.DIRECT.GET.{self._layout.stream}.{subject}")
                refuse_status(answer)
                headers = answer.headers or {}
                return _found(int(headers["Nats-Sequence"]), headers, answer.data)
            said = await self._connection.ask(f"{API}.STREAM.MSG.GET.{self._layout.stream}", {"last_by_subj": subject})
        except ApiError as error:
            if is_absent(error):
                return Found()
            raise
        message = said["message"]
        headers = _parsed(base64.b64decode(message.get("hdrs", "")))
        return _found(message["seq"], headers, base64.b64decode(message.get("data", "")))

    async def write(self, subject: str, record: Record, left: float, expected: int | None = None) -> bool:
        """Write an entry; return whether it was, which it always is without a condition.

        Args:
            subject: Its subject.
            record: The record.
            left: Seconds until it expires.
            expected: The number that the message under the subject must have, 0 for none; None for no condition.
        """
        header, payload = encode(record)
        headers = {HEADER: header}
        if self.marks and record.deadline != NEVER and left < _LONGEST_TTL:
            headers[_TTL] = f"{max(0, math.ceil(left)) + GRACE}s"
        return await self._publish(subject, payload, headers, expected)

    async def delete(self, ref: Ref, sequence: int) -> bool:
        """Remove an entry if its message still has the number; return whether it had."""
        subject = self._layout.subject(ref)
        if not self.marks:
            return await self.purge(subject, sequence + 1) > 0
        return await self._publish(subject, b"", self._mark("DEL", self._layout.hidden(ref)), sequence)

    async def destroy(self, collection: str | None) -> None:
        """Remove all entries, or those of a collection, and leave a mark of that for those who watch."""
        layout = self._layout
        await self.purge(layout.every if collection is None else layout.of_collection(collection))
        if self.marks:
            names = None if collection is None else (collection, collection)
            await self._publish(layout.of_destroyed(collection), b"", self._mark("PURGE", names), None)

    def _mark(self, operation: str, names: Ref | None) -> dict[str, str]:
        """Return the headers of the mark of what was removed: no other one has the same version."""
        stone = Record(b"", RAW_BYTES, new_version(), 0.0, 0.0, names)
        return {_OPERATION: operation, HEADER: encode(stone)[0], _TTL: f"{GRACE}s"}

    async def purge(self, subject: str, below: int | None = None) -> int:
        """Remove messages whose subject matches, at once and without marks; return how many.

        Args:
            subject: The subject, or a pattern.
            below: Only those with a smaller number than this one.
        """
        body: dict[str, Any] = {"filter": subject}
        if below is not None:
            body["seq"] = below
        said = await self._connection.ask(f"{API}.STREAM.PURGE.{self._layout.stream}", body)
        return int(said["purged"])

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str], expected: int | None) -> bool:
        if expected is not None:
            headers[_EXPECTED] = str(expected)
        try:
            answered(await self._connection.request(subject, payload, headers))
        except Exception as error:
            refused = is_changed(error)
            if expected is None or not (refused or is_unsure(error)):
                raise
            # The answer to a conditional write was lost, or came from a former leader, which refuses what the leader
            # has written: no other write has this header.
            if (await self.read(subject)).header != headers[HEADER]:
                if refused:
                    return False
                raise
        return True

    async def pages(self, subject: str) -> AsyncGenerator[list[Listed]]:
        """Iterate over the entries whose subject matches, in pages; a damaged one is not listed."""
        stream, consumer = self._layout.stream, f"satchel_{new_version()}"
        config = {
            "name": consumer,
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subject": subject,
            "headers_only": True,
            "inactive_threshold": _IDLE,
            "num_replicas": 1,
            "mem_storage": True,
        }
        async with self._connection.listening() as listener:
            await self._connection.ask(
                f"{API}.CONSUMER.CREATE.{stream}.{consumer}.{subject}", {"stream_name": stream, "config": config}
            )
            more = True
            while more:
                await listener.send(f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}", _NEXT)
                page: list[Listed] = []
                turns = Yielder()
                for _ in range(_PAGE):
                    message = await listener.next()
                    if status_of(message):
                        refuse_other_status(message)
                        more = False
                        break
                    listed = self._listed(message)
                    if listed is not None:
                        page.append(listed)
                    await turns.after_item()
                yield page
            await listener.send(f"{API}.CONSUMER.DELETE.{stream}.{consumer}", b"")

    async def follow(self, feed: Feed, bound: Callable[[Awaitable[object]], Awaitable[object]]) -> None:
        """Report what changes to a feed, until the connection is lost.

        Args:
            feed: Is told which entries changed.
            bound: Function that limits a request in time.

        Raises:
            DisconnectedError: The connection was lost, or the server is silent.
        """
        stream, consumer = self._layout.stream, f"satchel_{new_version()}"
        async with self._connection.listening() as listener:
            config = {
                "name": consumer,
                "deliver_policy": "new",
                "deliver_subject": listener.inbox,
                "ack_policy": "none",
                "replay_policy": "instant",
                "filter_subject": f"{self._layout.root}>",
                "headers_only": True,
                "inactive_threshold": _IDLE,
                "idle_heartbeat": int(_HEARTBEAT * 1e9),
                "num_replicas": 1,
                "mem_storage": True,
            }
            create = f"{API}.CONSUMER.CREATE.{stream}.{consumer}.{self._layout.root}>"
            await bound(self._connection.ask(create, {"stream_name": stream, "config": config}))
            feed.ready()
            try:
                await self._report(feed, listener)
            finally:
                with suppress(Exception):  # the server forgets it after a while, too
                    await listener.send(f"{API}.CONSUMER.DELETE.{stream}.{consumer}", b"")

    async def _report(self, feed: Feed, listener: Listener) -> None:
        heard = 0
        while True:
            try:
                message = await asyncio.wait_for(listener.next(), _SILENCE)
            except TimeoutError:
                raise DisconnectedError from None
            if status_of(message):  # a sign of life, with the number of the last message
                if int((message.headers or {}).get("Nats-Last-Consumer", heard)) > heard:
                    raise DisconnectedError
                continue
            number = message.metadata.sequence.consumer
            if number != heard + 1:
                feed.lost()
            heard = number
            self._tell(feed, message)

    def _tell(self, feed: Feed, message: Msg) -> None:
        subject, headers = message.subject, message.headers or {}
        try:
            record = decode(headers.get(HEADER), b"", whole=False)
        except IntegrityError:
            record = None  # the server made this mark, or another program
        if self._layout.is_of_destroyed(subject):
            feed.lost(self._layout.destroyed(subject, record))
            return
        ref = self._layout.ref_of(subject, record)
        if ref is None:
            feed.lost()
        else:
            feed.changed(*ref)

    def _listed(self, message: Msg) -> Listed | None:
        headers = message.headers or {}
        if is_mark(headers):
            return None
        try:
            record = decode(headers.get(HEADER), b"", whole=False)
        except IntegrityError:
            return None
        ref = self._layout.ref_of(message.subject, record)
        if ref is None:
            return None
        return Listed(message.subject, message.metadata.sequence.stream, ref, record.deadline)


def check(settings: dict[str, Any], layout: Layout) -> None:
    """Refuse a bucket that a store cannot use.

    Raises:
        ConfigurationError: It is one.
    """
    wrong = ""
    if settings.get("max_msgs_per_subject") != 1:
        wrong = "it keeps a history; a store needs one with a history of 1"
    elif settings.get("subjects") != [f"{layout.root}>"] or settings.get("subject_transform"):
        wrong = f"its subjects are not those of a bucket, {layout.root}>"
    elif settings.get("mirror") or settings.get("sources"):
        wrong = "it is a copy of another one, which cannot be written; use that one"
    elif settings.get("sealed") or settings.get("deny_purge"):
        wrong = "it is sealed, or denies purging; a store removes entries"
    if wrong:
        raise ConfigurationError(f"the bucket {layout.bucket!r} cannot be used: {wrong}")


def is_mark(headers: dict[str, str]) -> bool:
    """Return whether a message is the mark of an entry that was deleted, or removed by the server."""
    return _OPERATION in headers or _MARKER in headers


def refuse_other_status(message: Msg) -> None:
    """Raise for a status other than the end of the listing."""
    if status_of(message) not in (404, 408):
        refuse_status(message)


def _found(sequence: int, headers: dict[str, str], payload: bytes) -> Found:
    return Found(sequence, headers.get(HEADER), payload, is_mark(headers))


def _parsed(raw: bytes) -> dict[str, str]:
    """Return the headers of a message, of which JetStream gives the bytes."""
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
