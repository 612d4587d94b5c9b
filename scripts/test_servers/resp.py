"""Speaks to Redis and Valkey as far as starting them needs, and joins nodes to a cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from .server import HOST

SLOTS = 16384


def ask(port: int, *words: str) -> bytes:
    """Send one command, and return the raw reply."""
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    with socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        with connection.makefile("rb") as replies:
            return _reply(replies.readline, replies.read)


def join(ports: Sequence[int], buses: Sequence[int], wait_until: Callable[[Callable[[], bool]], None]) -> None:
    """Make a cluster of new nodes: the first half get the slots, the others a replica each of them.

    Args:
        ports: Where the nodes listen.
        buses: Where they listen for each other.
        wait_until: Waits for a condition.
    """
    masters = len(ports) // 2
    for number, port in enumerate(ports):
        ask(port, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        if number:
            ask(port, "CLUSTER", "MEET", HOST, str(ports[0]), str(buses[0]))
    for number, port in enumerate(ports[:masters]):
        first, end = SLOTS * number // masters, SLOTS * (number + 1) // masters
        ask(port, "CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
    for port in ports:
        wait_until(lambda port=port: f"cluster_known_nodes:{len(ports)}".encode() in ask(port, "CLUSTER", "INFO"))  # type: ignore[misc]  # a default binds it
    for master, replica in zip(ports[:masters], ports[masters:], strict=True):
        name = ask(master, "CLUSTER", "MYID").decode()
        wait_until(lambda name=name, replica=replica: ask(replica, "CLUSTER", "REPLICATE", name) == b"OK")  # type: ignore[misc]  # defaults bind them


def is_ready(port: int) -> bool:
    """Tell whether a node serves, and follows its master if it is a replica."""
    replication = ask(port, "INFO", "replication")
    follows = b"role:master" in replication or b"master_link_status:up" in replication
    return follows and b"cluster_state:ok" in ask(port, "CLUSTER", "INFO")


def _reply(line: Callable[[], bytes], read: Callable[[int], bytes]) -> bytes:
    head = line().rstrip()
    kind, rest = head[:1], head[1:]
    if kind == b"*":
        return b" ".join(_reply(line, read) for _ in range(int(rest)))
    if kind == b"$":
        return read(int(rest) + 2)[:-2]
    return rest
