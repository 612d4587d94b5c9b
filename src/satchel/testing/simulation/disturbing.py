"""`disturb`: crashes, restarts, cut networks, frozen processes and wrong clocks, at moments that chance decides."""

from __future__ import annotations

from collections.abc import Sequence

from .server import SimulatedServer
from .world import Process, World

KINDS = ("crash", "freeze", "restart", "cut_off", "jump")


def disturb(
    world: World,
    processes: Sequence[Process],
    servers: Sequence[SimulatedServer],
    *,
    kinds: Sequence[str] = KINDS,
    count: int = 3,
    over: float = 3.0,
    skew: float = 0.0,
) -> None:
    """Plan some disturbances, none of which may take place in a run.

    Args:
        world: The world.
        processes: The processes that are disturbed.
        servers: The servers that are.
        kinds: What happens: some of `KINDS`.
        count: The most disturbances.
        over: Seconds within which they happen.
        skew: The most seconds by which a clock becomes wrong. With 0 all clocks stay exact.
    """
    chance = world.random("disturbances")
    world.skew = max(world.skew, skew)
    for process in processes:
        process.offset, process.drift = chance.uniform(-skew, skew) / 2, chance.uniform(-0.01, 0.01) if skew else 0.0
    for number in range(chance.randint(0, count)):
        kind, process, server = chance.choice(kinds), chance.choice(processes), chance.choice(servers)
        moment, seconds = chance.random() ** 2 * over, chance.random() ** 2 * over
        if kind == "jump" and not skew:
            continue
        if not world.takes_place(f"{kind}#{number}"):
            continue
        if kind == "crash":
            world.later(moment, process.crash)
        elif kind == "freeze":
            world.later(moment, process.freeze, seconds)
        elif kind == "restart":
            world.later(moment, server.restart, seconds)
        elif kind == "cut_off":
            world.later(moment, server.cut_off, process, seconds)
        else:
            world.later(moment, process.set_clock, chance.uniform(-skew, skew) / 2)
