"""Functions that are memoized in tests: at the top level of a module, as those of users are."""

from dataclasses import dataclass
from threading import Lock

RAN = []
"""Arguments of the runs in this process, which a fixture clears."""


async def double(x):
    RAN.append(x)
    return x * 2 if x is not None else None


async def add(x, y=1, *, scale=1):
    RAN.append((x, y, scale))
    return (x + y) * scale


async def gather(first, *rest, **named):
    RAN.append((first, rest, named))
    return [first, list(rest), named]


async def grow(items, item):
    RAN.append(list(items))
    items.append(item)
    return items


async def fail(x):
    RAN.append(x)
    raise ValueError(x)


def halve(x):
    RAN.append(x)
    return x / 2


def fibonacci(n, calls_itself):
    RAN.append(n)
    return n if n < 2 else calls_itself(n - 1) + calls_itself(n - 2)


async def positions(x, /, y, *, z=3):
    RAN.append((x, y, z))
    return [x, y, z]


@dataclass
class Model:
    """Object with a digest, whose methods are memoized."""

    weight: float

    async def predict(self, x):
        RAN.append((self.weight, x))
        return self.weight * x

    @classmethod
    async def make(cls, weight):
        return weight


@dataclass
class Biased(Model):
    """Object whose memoized method calls that of the class it is derived from."""

    async def predict(self, x):
        return await super().predict(x) + 1


class Guarded:
    """Object that has a digest, and that cannot be copied."""

    def __init__(self, number):
        self.number, self.lock = number, Lock()

    def __digest__(self):
        return self.number
