"""Environments: classes of settings keep their type, marked functions theirs."""

from dataclasses import dataclass
from typing import assert_type

from satchel.environment import Environment, Mode


@dataclass
class Settings:
    port: int


env = Environment({"PORT": "1"}, mode=Mode.DEV)
assert_type(env.to_settings(Settings), Settings)


@env.mark(Mode.PROD)
def double(port: int) -> int:
    return 2 * port


assert_type(double(2), int)
assert_type(Environment.from_dict({}), Environment)
