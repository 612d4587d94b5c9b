import socket

import pytest

from satchel.server.serving import listening_socket


def test_answers_are_not_held_back():
    # asyncio sets TCP_NODELAY on connections whose sockets name TCP, and on no others.
    with listening_socket("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_an_address_that_is_taken_is_refused():
    with listening_socket("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        listening_socket(*listener.getsockname())
