"""Speaks to Redis and Valkey as far as starting them needs, and joins nodes to a cluster."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence

from .server import HOST

SLOTS = 16384


Address = tuple[str, int]


def ask(port: int, *words: str) -> bytes:
    """Send one command to a loopback port, and return the raw reply."""
    return ask_at((HOST, port), *words)


def ask_at(address: Address, *words: str) -> bytes:
    """Send one command, and return the raw reply."""
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        with connection.makefile("rb") as replies:
            return _reply(replies.readline, replies.read)


def join(nodes: Sequence[Address], buses: Sequence[int], wait_until: Callable[[Callable[[], bool]], None]) -> None:
    """Make a cluster of new nodes: the first half get the slots, the others a replica each of them.

    Args:
        nodes: Where the nodes listen.
        buses: At which ports they listen for each other.
        wait_until: Waits for a condition.
    """
    masters = len(nodes) // 2
    first_host, first_port = nodes[0]
    for number, node in enumerate(nodes):
        ask_at(node, "CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        if number:
            ask_at(node, "CLUSTER", "MEET", first_host, str(first_port), str(buses[0]))
    for number, node in enumerate(nodes[:masters]):
        first, end = SLOTS * number // masters, SLOTS * (number + 1) // masters
        ask_at(node, "CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
    for node in nodes:
        wait_until(lambda node=node: f"cluster_known_nodes:{len(nodes)}".encode() in ask_at(node, "CLUSTER", "INFO"))  # type: ignore[misc]  # a default binds it
    for master, replica in zip(nodes[:masters], nodes[masters:], strict=True):
        name = ask_at(master, "CLUSTER", "MYID").decode()
        wait_until(lambda name=name, replica=replica: ask_at(replica, "CLUSTER", "REPLICATE", name) == b"OK")  # type: ignore[misc]  # defaults bind them


def is_replicated(port: int) -> bool:
    """Tell whether the replica of a primary on loopback has everything that was written."""
    offsets = re.findall(rb"(?:slave0:.*offset=|master_repl_offset:)(\d+)", ask(port, "INFO", "replication"))
    return len(offsets) == 2 and offsets[0] == offsets[1]


def is_ready(node: Address) -> bool:
    """Tell whether a node serves, and follows its master if it is a replica."""
    replication = ask_at(node, "INFO", "replication")
    follows = b"role:master" in replication or b"master_link_status:up" in replication
    return follows and b"cluster_state:ok" in ask_at(node, "CLUSTER", "INFO")


def _reply(line: Callable[[], bytes], read: Callable[[int], bytes]) -> bytes:
    head = line().rstrip()
    kind, rest = head[:1], head[1:]
    if kind == b"*":
        return b" ".join(_reply(line, read) for _ in range(int(rest)))
    if kind == b"$":
        return read(int(rest) + 2)[:-2]
    return rest
