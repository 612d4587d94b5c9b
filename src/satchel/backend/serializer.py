"""Between values and records: encoding and sealing on the way in, verifying and decoding on the way out."""

from __future__ import annotations

from typing import Any

from .._threads import offload
from ..codec import LARGE, RAW_BYTES, Codec, JsonCodec, MessagePackCodec, check_codec
from ..errors import IntegrityError, SatchelError, SerializationError, ValueTooLargeError
from ..names import Ref
from .record import Checksums, Record, new_version

_BUILT_IN: tuple[Codec, ...] = (JsonCodec(), MessagePackCodec())


class RecordSerializer:
    """Converter between values and records, in a worker thread where they are large.

    Args:
        codec: Encodes what is put. What other built-in codecs wrote is read all the same.
        checksums: Where checksums are made; "record" and "wire" are for backends where data can be damaged.
        max_bytes: The largest encoded value that the backend takes.
    """

    def __init__(self, codec: Codec | None, *, checksums: Checksums, max_bytes: int | None) -> None:
        if codec is not None:
            check_codec(codec)
        self.codec = codec or _BUILT_IN[0]
        self._decoders = {known.number: known.decode for known in (*_BUILT_IN, self.codec)}
        self._seals_small = checksums == "record"
        self._seals_large = checksums != "none"
        self._max_bytes = max_bytes

    def __repr__(self) -> str:
        return f"RecordSerializer({self.codec!r})"

    async def record(self, value: object, now: float, deadline: float, names: Ref | None = None) -> Record:
        """Return the record of a value, encoded in a worker thread where it is large.

        Raises:
            SerializationError: The value would not come back unchanged.
            ValueTooLargeError: The backend does not take so large a one.
        """
        if type(value) is bytes:
            if len(value) < LARGE or not self._seals_large:
                return self.any_record(value, now, deadline, names)
        elif (payload := self.codec.encode_if_small(value)) is not None:
            return self._record(self.codec.number, payload, now, deadline, names)
        return await offload(self.any_record, value, now, deadline, names)

    def any_record(self, value: object, now: float, deadline: float, names: Ref | None = None) -> Record:
        """Return the record of a value, whatever its size."""
        if type(value) is bytes:
            return self._record(RAW_BYTES, value, now, deadline, names)
        return self._record(self.codec.number, self.codec.encode(value), now, deadline, names)

    async def value(self, record: Record) -> Any:
        """Return the value of a record.

        Raises:
            IntegrityError: The record is damaged.
            SerializationError: It was written with a codec that this store was not given.
        """
        return self.decode(record) if self.is_small(record) else await offload(self.decode, record)

    def is_small(self, record: Record) -> bool:
        """Return whether a record's value is quickly decoded, so that no worker thread is needed."""
        return len(record.payload) < LARGE or (record.codec == RAW_BYTES and not self._seals_large)

    def decode(self, record: Record) -> Any:
        """Return the value of a record, whatever its size."""
        if record.checksum is not None:
            record.verify()
        if record.codec == RAW_BYTES:
            return record.payload
        decode = self._decoders.get(record.codec)
        if decode is None:
            raise SerializationError(
                f"an entry was written with codec number {record.codec}; open the store with codec= set to that codec"
            )
        try:
            return decode(record.payload)
        except SatchelError:
            raise
        except Exception as error:
            raise IntegrityError(f"a stored value cannot be decoded: {type(error).__name__}") from None

    def _record(self, codec: int, payload: bytes, now: float, deadline: float, names: Ref | None) -> Record:
        if self._max_bytes is not None and len(payload) > self._max_bytes:
            raise ValueTooLargeError(
                f"the encoded value has {len(payload)} bytes, this store takes at most {self._max_bytes}"
            )
        record = Record(payload, codec, new_version(), now, deadline, names)
        seals = self._seals_small if len(payload) < LARGE else self._seals_large
        return record.sealed(names) if seals else record
