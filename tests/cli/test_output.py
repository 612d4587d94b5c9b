"""What commands write."""

import io
import json
import sys

import pytest

from satchel import SerializationError
from satchel.cli import output
from satchel.cli.output import json_text


def test_what_json_cannot_represent_is_named_in_english() -> None:
    with pytest.raises(SerializationError, match=r"^an object cannot be represented in JSON$"):
        json_text(object())
    with pytest.raises(SerializationError, match=r"^a complex cannot be represented in JSON$"):
        json_text(1j)


def test_what_a_terminal_cannot_show_is_written_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", screen)
    output.line(output.name("caf\xe9"))
    output.line(output.name("a \u2192 b \U0001f600"))
    output.json_line({"key": "caf\xe9 \u2192 \U0001f600"})
    output.line("disk:\u2192")
    screen.flush()
    plain, as_json, line, other = screen.buffer.getvalue().decode("latin-1").splitlines()
    assert plain == "caf\xe9"
    assert json.loads(as_json) == "a \u2192 b \U0001f600"
    assert json.loads(line) == {"key": "caf\xe9 \u2192 \U0001f600"}
    assert other == "disk:\\u2192"
