"""What commands write."""

import pytest

from satchel import SerializationError
from satchel.cli.output import json_text


def test_what_json_cannot_represent_is_named_in_english() -> None:
    with pytest.raises(SerializationError, match=r"^an object cannot be represented in JSON$"):
        json_text(object())
    with pytest.raises(SerializationError, match=r"^a complex cannot be represented in JSON$"):
        json_text(1j)
