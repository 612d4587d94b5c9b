"""A store whose calls go at random to one of two processes over one place; run as a program, it is the second process.

A call travels as a pickle behind its length: its number, the store's, the time, a method and its arguments. Calls are
under way at once, so that those of several tasks race between the processes.
"""

import asyncio
import itertools
import pickle
import random
import struct
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from satchel.testing.conformance.suite import close_if_open

ROOT = Path(__file__).parents[2]
LENGTH = struct.Struct(">I")
NO_PICKLE = (pickle.PicklingError, AttributeError, TypeError, RecursionError)


def send(stream, message):
    stream.write(LENGTH.pack(len(message)) + message)
    stream.flush()


def receive(stream):
    while length := stream.read(LENGTH.size):
        yield stream.read(*LENGTH.unpack(length))


class SecondProcess:
    """Keeps stores in a process of its own, until it is closed."""

    def __init__(self):
        command = [sys.executable, "-m", "tests.stores.two_processes"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._numbers = itertools.count()
        self._waiting = {}
        self._ended = False
        self._sender = ThreadPoolExecutor(1)  # a full pipe must not hold up the event loop
        self._receiver = threading.Thread(target=self._receive)
        self._receiver.start()

    def make_store(self, kind, *arguments):
        """Return the number of a new store, which the second process makes at the first call."""
        store = next(self._numbers)
        self._send(pickle.dumps(("make", store, kind, arguments)))
        return store

    async def call(self, message):
        number = next(self._numbers)
        self._waiting[number] = waiting = Future()
        if self._ended:
            raise EOFError("the second process has ended")
        self._send(pickle.dumps(("call", number, message)))
        answer = asyncio.wrap_future(waiting)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            self._send(pickle.dumps(("cancel", number)))
            await asyncio.gather(answer, return_exceptions=True)
            raise

    def close(self):
        self._sender.submit(self._process.stdin.close)
        self._sender.shutdown()
        try:
            assert self._process.wait(30) == 0
        finally:
            self._process.kill()
            self._receiver.join()
            self._process.stdout.close()

    def _send(self, message):
        self._sender.submit(send, self._process.stdin, message)

    def _receive(self):
        for message in receive(self._process.stdout):
            number, result, error = pickle.loads(message)
            waiting = self._waiting.pop(number)
            if error is None:
                waiting.set_result(result)
            else:
                waiting.set_exception(error)
        self._ended = True
        for waiting in list(self._waiting.values()):
            waiting.set_exception(EOFError("the second process has ended"))


def either(method):
    """Make the method that calls one of the two stores."""

    async def call(self, *arguments, **named):
        message = self._message(method, arguments, named)
        if message is None:
            return await getattr(self._here, method)(*arguments, **named)
        return await self._second.call(message)

    return call


class TwoProcessStore:
    """Sends each call to a store in this process, or to one like it in the second process.

    Chance decides; pytest-randomly and Hypothesis seed it.
    """

    def __init__(self, second, clock, kind, *arguments):
        self._second = second
        self._clock = clock
        self._here = kind(*arguments, clock=clock)
        self._there = second.make_store(kind, *arguments)
        self._closed = False
        self.calls = {"here": 0, "there": 0}

    get_entry, exists, put, delete = either("get_entry"), either("exists"), either("put"), either("delete")
    get_many, get_entries = either("get_many"), either("get_entries")
    put_many, delete_many = either("put_many"), either("delete_many")
    put_if_absent, touch = either("put_if_absent"), either("touch")
    compare_and_put, compare_and_delete = either("compare_and_put"), either("compare_and_delete")
    destroy_collection, destroy = either("destroy_collection"), either("destroy")
    count, cull, ping = either("count"), either("cull"), either("ping")
    _get = either("get")

    @property
    def capabilities(self):
        return self._here.capabilities

    @property
    def max_key_bytes(self):
        return self._here.max_key_bytes

    async def get(self, collection, key, default=None):
        found = await self._get(collection, key, ...)  # which stays the same object on its way
        return default if found is ... else found

    def keys(self, collection, **named):
        return self._listing("keys", collection, **named)

    def collections(self):
        return self._listing("collections")

    async def aclose(self):
        if not self._closed:
            self._closed = True
            await self._second.call((self._there, self._clock(), "aclose", (), {}))
        await self._here.aclose()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await close_if_open(self)

    def _listing(self, method, *arguments, **named):
        names = getattr(self._here, method)(*arguments, **named)  # checks the arguments
        message = self._message(method, arguments, named)
        return names if message is None else self._listing_there(message)

    async def _listing_there(self, message):
        for name in await self._second.call(message):
            yield name

    def _message(self, method, arguments, named):
        """Return the call as the second process takes it; None where this process is to carry it out."""
        if random.getrandbits(1):
            message = self._there, self._clock(), method, arguments, named
            try:
                pickle.dumps(message)
            except NO_PICKLE:  # a generator, or a value that is nested too deeply
                pass
            else:
                self.calls["there"] += 1
                return message
        self.calls["here"] += 1
        return None


class Server:
    """Is what the second process does: carries out calls on its stores."""

    def __init__(self, answers):
        self._answers = answers
        self._makers = {}
        self._stores = {}
        self._times = {}
        self._tasks = {}

    def take(self, message):
        what, number, *rest = pickle.loads(message)
        if what == "make":
            self._makers[number] = rest
        elif what == "call":
            self._tasks[number] = task = asyncio.create_task(self._carry_out(*rest[0]))
            # A task that is cancelled before its first step does nothing of its own.
            task.add_done_callback(partial(self._answer, number))
        elif number in self._tasks:
            self._tasks[number].cancel()

    async def _carry_out(self, store, now, method, arguments, named):
        self._times[store] = now
        if store in self._makers:
            kind, given = self._makers.pop(store)
            self._stores[store] = kind(*given, clock=lambda: self._times[store])
        called = getattr(self._stores[store], method)(*arguments, **named)
        return [name async for name in called] if hasattr(called, "__anext__") else await called

    def _answer(self, number, task):
        del self._tasks[number]
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        send(self._answers, pickle.dumps((number, None if error else task.result(), error)))


async def serve(calls, answers):
    loop = asyncio.get_running_loop()
    server = Server(answers)
    ended = asyncio.Event()

    def read():
        for message in receive(calls):
            loop.call_soon_threadsafe(server.take, message)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.stdin.buffer, sys.stdout.buffer))
