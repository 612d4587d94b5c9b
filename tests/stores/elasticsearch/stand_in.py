"""A server that answers as Elasticsearch does when something is wrong, which the emulator never does."""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager

TLS = b"\x16"
PRODUCT = "X-Elastic-Product: Elasticsearch\r\n"


class StandIn:
    """Answers each request with the next of its answers, and with the last for ever.

    Attributes:
        answers: Status and body of each.
        requests: The first line and the headers of what was asked.
    """

    def __init__(self, *answers, header=PRODUCT):
        self.answers = list(answers)
        self.requests = []
        self.header = header

    async def serve(self, reader, writer):
        try:
            while True:
                first = await reader.readexactly(1)
                if first == TLS:
                    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head)
                length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                await reader.readexactly(int(length[0].split(":")[1]) if length else 0)
                status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                text = json.dumps(body).encode()
                about = f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n{self.header}"
                writer.write(f"HTTP/1.1 {status} Answer\r\n{about}\r\n".encode() + text)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass  # the client has gone
        finally:
            writer.close()


@asynccontextmanager
async def standing_in(*answers, context=None, header=PRODUCT):
    stand_in = StandIn(*answers, header=header)
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        stand_in.port = server.sockets[0].getsockname()[1]
        stand_in.url = f"elasticsearch://127.0.0.1:{stand_in.port}"
        yield stand_in


def error(kind, status):
    return status, {"error": {"type": kind, "reason": "a reason with a hunter2"}, "status": status}


NO_INDEX = error("index_not_found_exception", 404)


def bulk(*items):
    return 200, {"errors": True, "items": [{"index": item} for item in items]}


def item(status, kind=""):
    return {"_id": "i", "status": status} | ({"error": {"type": kind, "reason": "with a hunter2"}} if kind else {})
