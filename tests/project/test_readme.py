"""The table of stores and capabilities in the README is what the stores say of themselves."""

import sys

import pytest

from scripts import capability_table


def test_the_table_of_capabilities_is_up_to_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["capability_table.py", "--check"])  # not as a process: that loads all drivers
    assert capability_table.main() == 0, capsys.readouterr().out
