r"""How satchel keeps an entry in the dict that a store of py-key-value holds: format 1.

```json
{
  "satchel": 1,
  "codec": 1,
  "version": "8f14e45fceea167a0000000000000003",
  "updated_at": 1767225600.0,
  "checksum": 2774563018,
  "deadline": 1767229200.0,
  "text": "{\"name\":\"Ada\"}"
}
```

`text` is the encoded value where it is JSON; what another codec wrote, and `bytes`, are in `base64` instead. `deadline`
is there for an entry that expires. `names`, the collection and the key, are there where the names of py-key-value's
entry are hashes of them. The numbers of codecs and the checksum are those of the entries of byte backends.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from ...backend.record import Record
from ...clock import NEVER
from ...codec import JsonCodec
from ...errors import IntegrityError
from ...names import Ref

FORMAT = 1


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Record as the fields of a JSON object."""

    satchel: int
    codec: int
    version: str
    updated_at: float
    checksum: int
    deadline: float = NEVER
    names: Ref | None = None
    text: str | None = None
    base64: str | None = None


def wrap(record: Record) -> dict[str, Any]:
    """Return a sealed record as a dict of JSON values."""
    fields: dict[str, Any] = {
        "satchel": FORMAT,
        "codec": record.codec,
        "version": record.version,
        "updated_at": record.updated_at,
        "checksum": record.checksum,
    }
    if record.deadline != NEVER:
        fields["deadline"] = record.deadline
    if record.names is not None:
        fields["names"] = list(record.names)
    if record.codec == JsonCodec.number:
        fields["text"] = record.payload.decode()
    else:
        fields["base64"] = base64.b64encode(record.payload).decode()
    return fields


def unwrap(stored: object) -> Record:
    """Return the record in a dict, its payload not yet verified: the base does that.

    Raises:
        IntegrityError: The dict is not of this form.
    """
    try:
        envelope = msgspec.convert(stored, Envelope)
        payload = _payload(envelope)
    except (msgspec.ValidationError, ValueError):
        raise IntegrityError("the stored value is not an entry of satchel's; another program put it") from None
    if envelope.satchel != FORMAT:
        raise IntegrityError(
            f"a stored entry has format {envelope.satchel}, this release reads format {FORMAT}; upgrade it"
        )
    return Record(
        payload,
        envelope.codec,
        envelope.version,
        envelope.updated_at,
        envelope.deadline,
        envelope.names,
        envelope.checksum,
    )


def _payload(envelope: Envelope) -> bytes:
    if envelope.text is not None:
        return envelope.text.encode()
    return base64.b64decode(envelope.base64 or "", validate=True)
