"""Leaves: the parts of a value that are stored whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from .._threads import offload
from ..codec import LARGE, MAX_DEPTH, MOST_REPEATED, UNDECODABLE, JsonCodec, repeated_size, room_left
from ..errors import DigestError, IntegrityError, SatchelError, SerializationError, ValueTooLargeError
from . import hdf5
from .digest import digest as digest_of
from .digest import new_walk
from .pickles import Pickles
from .records import HDF5, JSON, PICKLE, RAW, LeafRecord, pack_leaf
from .walk import Digest, Walk

Leaf = Literal["json", "pickle", "hdf5"]
"""The form of leaves that are no JSON."""

_MOST_IN_HDF5 = MOST_REPEATED >> 6
"""Approximate bytes that repeated parts of an HDF5 file may add: there each array takes half a kilobyte more."""

_MOST_KNOWN, _LONGEST_KNOWN, _KNOWN_OVERHEAD = 8 << 20, 2048, 250
"""Bytes that known digests may take together, that the longest encoding has, and that each takes beside that."""

_SMALL = 16 * 1024
"""Bytes from which a leaf is read in a thread."""


class Leaves:
    """Encoder and decoder of the values that are stored whole.

    Args:
        leaf: The form of what is neither JSON nor `bytes`; `json` for none.
        keys: Keys that sign pickles, by their ids.
    """

    def __init__(self, leaf: Leaf, keys: Mapping[bytes, bytes]) -> None:
        self.leaf = leaf
        self._json = JsonCodec()
        self._known = _KnownDigests()
        self._pickles = Pickles(keys) if keys else None
        if leaf == "hdf5":
            hdf5.check_driver()

    def pack_small(self, value: object) -> tuple[Digest, bytes] | None:
        """Return the digest and the frame of a small JSON value; None for any other value."""
        try:
            if room_left([value], LARGE, MAX_DEPTH) < 0:
                return None
            body = self._json._encode(value)
        except UnicodeEncodeError:
            return None
        digest = self._known.get(body)
        if digest is None:
            digest = digest_of(self._json.decode(body))  # the value itself may have been changed since
            self._known.add(body, digest)
        return digest, pack_leaf(JSON, body)

    def pack(self, value: object, digest: Digest) -> bytes:
        """Return the frame of a value.

        Raises:
            SerializationError: It cannot be stored whole.
            ValueTooLargeError: It holds the same parts so often that it would take all memory.
        """
        if type(value) is bytes:
            return pack_leaf(RAW, value)
        try:
            return pack_leaf(JSON, self._json.encode(value))
        except SerializationError:
            if self.leaf == "json":
                raise
        except ValueTooLargeError:
            if self.leaf != "pickle":
                raise ValueTooLargeError(_repeated(value, MOST_REPEATED)) from None
        if self.leaf == "hdf5":
            if repeated_size(value) > _MOST_IN_HDF5:
                raise ValueTooLargeError(_repeated(value, _MOST_IN_HDF5))
            return pack_leaf(HDF5, hdf5.dump(value))
        pickles: Any = self._pickles  # there are keys, as was checked
        return pack_leaf(PICKLE, pickles.encode(value, digest))

    def unpack(self, record: LeafRecord, digest: Digest) -> Any:
        """Return the value of a leaf.

        Raises:
            IntegrityError: It is damaged, or was signed with another key.
            SerializationError: It is a pickle, and there are no keys.
        """
        if record.form == RAW:
            return record.body
        if record.form == PICKLE:
            if self._pickles is None:
                raise SerializationError(f"{digest} is a signed pickle; give the ContentStore the keys= to load it")
            return self._pickles.decode(record.body, digest)
        try:
            if record.form == JSON:
                return self._json.decode(record.body)
            if record.form == HDF5:
                return hdf5.load(record.body)
        except (*UNDECODABLE, AttributeError, LookupError, OSError, RuntimeError, TypeError) as error:
            raise IntegrityError(f"the entry of {digest} is damaged") from error
        raise IntegrityError(f"the entry of {digest} has a form that this release does not know; upgrade satchel")

    def load(self, record: LeafRecord, digest: Digest, walk: Walk) -> Any:
        """Return the value of a leaf, which has the digest; it raises what `unpack` raises.

        Args:
            record: The leaf.
            digest: The digest.
            walk: Makes the digest of the value.
        """
        value = self.unpack(record, digest)
        if record.form == PICKLE:
            return value  # its signature was made for this digest
        if record.form == JSON and self._known.get(record.body) == digest:
            return value
        verify(digest, lambda: Digest.of_bytes(walk.digest(value)))
        if record.form == JSON:
            self._known.add(record.body, digest)
        return value

    async def is_damaged(self, record: LeafRecord, digest: Digest) -> bool:
        """Return whether the value of a leaf cannot be loaded. A pickle whose keys were not given counts as whole."""
        try:
            if record.form == PICKLE:
                if self._pickles is not None:
                    self._pickles.check(record.body, digest)
            elif record.form in (JSON, RAW) and len(record.body) < _SMALL:
                self.load(record, digest, new_walk())
            else:
                await offload(self.load, record, digest, new_walk())
        except SatchelError as error:  # another one tells nothing about the entry: h5py is missing, or a class
            return isinstance(error, IntegrityError)
        return False

    def is_stale(self, record: LeafRecord) -> bool:
        """Return whether a leaf is a pickle that the current key did not sign."""
        return record.form == PICKLE and self._pickles is not None and not self._pickles.is_current(record.body)


class _KnownDigests:
    """Table of the digests of small JSON values by their encoding, which takes less time to make than a digest.

    They take a few megabytes at most.
    """

    def __init__(self) -> None:
        self._digests: dict[bytes, Digest] = {}
        self._room = _MOST_KNOWN

    def get(self, body: bytes) -> Digest | None:
        """Return the digest of a value by its encoding; None if it is not known."""
        return self._digests.get(body)

    def add(self, body: bytes, digest: Digest) -> None:
        """Remember the digest of a value, unless its encoding is long."""
        if len(body) > _LONGEST_KNOWN:
            return
        self._room -= len(body) + _KNOWN_OVERHEAD
        if self._room < 0:
            self._digests.clear()
            self._room = _MOST_KNOWN
        self._digests[body] = digest


def verify(asked: Digest, make: Callable[[], Digest]) -> None:
    """Raise unless what was read has the digest that was asked for.

    Args:
        asked: The digest that was asked for.
        make: Makes the digest of what was read.

    Raises:
        IntegrityError: It has another one, or none.
    """
    cause = None
    try:
        if make() == asked:
            return
    except DigestError as error:
        cause = error
    raise IntegrityError(
        f"what is stored as {asked} has another digest: the entry is damaged, or its class or function has changed"
    ) from cause


def _repeated(value: object, limit: int) -> str:
    return (
        f"a part of type {type(value).__name__} holds the same parts so often that they would add more than {limit:,} "
        'bytes; give ContentStore a larger depth, so that each is stored once, or leaf="pickle" and keys'
    )
