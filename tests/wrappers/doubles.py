"""Wrappers that use one seam each."""

import asyncio

from satchel import JsonCodec
from satchel.errors import CircuitOpenError, IntegrityError
from satchel.verbs import CHANGES
from satchel.wrappers import BaseWrapper, CompositeStore, DefaultValueWrapper, ReadOnlyWrapper, TTLWrapper
from satchel.wrappers.call import Call, Steps


class Nothing(BaseWrapper):
    """Overrides nothing."""


class Around(BaseWrapper):
    """Overrides the way around, and lets every call through it."""

    def __init__(self, inner):
        self.operations = []
        super().__init__(inner)

    async def _around(self, operation, function, /, *args, **named):
        self.operations.append((operation, args[0] if args else named.get("collection")))
        return await function(*args, **named)


class Inspects(BaseWrapper):
    """Overrides the way around, and makes a call of what goes through it."""

    def __init__(self, inner):
        self.operations = []
        super().__init__(inner)

    async def _around(self, operation, function, /, *args, **named):
        call = Call.of(operation, function, args, named)
        self.operations.append((operation, call.collection))
        return call.answer(await call())


class Yielding(BaseWrapper):
    """Lets other tasks run before each call, as a store that waits for something does."""

    async def _around(self, operation, function, /, *args, **named):
        await asyncio.sleep(0)
        return await function(*args, **named)


class PrefixKeys(BaseWrapper):
    """Shares the inner collections with others; its own keys start with a prefix."""

    _inner_collection_is_shared = True

    def __init__(self, inner, *, prefix="p:"):
        self._start = prefix
        super().__init__(inner)

    @property
    def max_key_bytes(self):
        return self.inner.max_key_bytes - len(self._start.encode())

    def _ref(self, collection, key):
        return collection, self._start + key

    def _key_from_inner(self, collection, key):
        return key.removeprefix(self._start) if key.startswith(self._start) else None

    def _prefix(self, collection, prefix):
        return self._start + prefix


class PrefixCollections(BaseWrapper):
    """Has inner collections of its own, which start with a prefix."""

    def __init__(self, inner, *, prefix="p:"):
        self._start = prefix
        super().__init__(inner)

    def _collection(self, collection):
        return self._start + collection

    def _collection_from_inner(self, collection):
        return collection.removeprefix(self._start) if collection.startswith(self._start) else None


class Reversed(BaseWrapper):
    """Has its keys backwards: no prefix of theirs is one of the inner keys."""

    def _ref(self, collection, key):
        return collection, key[::-1]

    def _key_from_inner(self, collection, key):
        return key[::-1]


class OneWay(BaseWrapper):
    """Cannot get its names back."""

    def _ref(self, collection, key):
        return self._collection(collection), key[::-1]

    def _collection(self, collection):
        return collection[::-1]


class Framed(BaseWrapper):
    """Keeps values in a frame that names what they belong to."""

    def _encode(self, ref, value):
        body = b"b" + value if type(value) is bytes else b"j" + JsonCodec().encode(value)
        return "|".join(map(repr, ref)).encode() + b"|" + body

    def _decode(self, ref, value):
        start = "|".join(map(repr, ref)).encode() + b"|"
        if type(value) is not bytes or not value.startswith(start):
            raise IntegrityError("the frame is of something else")
        body = value.removeprefix(start)
        return body[1:] if body.startswith(b"b") else JsonCodec().decode(body[1:])


class ReadsEntries(TTLWrapper):
    """Reads as a sliding one does, and leaves every time to live as it is."""

    def _ttl(self, ttl):
        return ttl


class Routing(CompositeStore):
    """Keeps collections that start with `hot` in one store, others in the other; lists nothing."""

    def __init__(self, hot, cold):
        self.hot, self.cold = hot, cold
        super().__init__(hot, cold)

    def _of(self, collection):
        return self.hot if isinstance(collection, str) and collection.startswith("hot") else self.cold

    async def get(self, collection, key, default=None):
        return await self._of(collection).get(collection, key, default)

    async def get_entry(self, collection, key):
        return await self._of(collection).get_entry(collection, key)

    async def exists(self, collection, key):
        return await self._of(collection).exists(collection, key)

    async def put(self, collection, key, value, *, ttl=None):
        await self._of(collection).put(collection, key, value, ttl=ttl)

    async def delete(self, collection, key):
        return await self._of(collection).delete(collection, key)

    async def get_many(self, collection, keys):
        return await self._of(collection).get_many(collection, keys)

    async def get_entries(self, collection, keys):
        return await self._of(collection).get_entries(collection, keys)

    async def put_many(self, collection, items, *, ttl=None):
        await self._of(collection).put_many(collection, items, ttl=ttl)

    async def delete_many(self, collection, keys):
        return await self._of(collection).delete_many(collection, keys)

    async def cull(self):
        return sum(await asyncio.gather(self.hot.cull(), self.cold.cull()))

    async def destroy_collection(self, collection):
        return await self._of(collection).destroy_collection(collection)


class WritesBeneath(BaseWrapper):
    """Reads through a `ReadOnlyWrapper`, and does all else beneath it, so that there is something to read."""

    def __init__(self, inner):
        self._beneath = inner
        super().__init__(ReadOnlyWrapper(inner))

    def _bindings(self):
        return super()._bindings() | {verb: getattr(self._beneath, verb) for verb in CHANGES}

    @property
    def capabilities(self):
        return self._beneath.capabilities


class DefaultUndone(DefaultValueWrapper):
    """Gives a default everywhere, and takes it back: what is left is what a store promises."""

    DEFAULT = "no value of anybody's: 5d0c1f"

    def __init__(self, inner):
        super().__init__(inner, value=self.DEFAULT)

    async def get(self, collection, key, default=None):
        value = await super().get(collection, key)
        return default if type(value) is str and value == self.DEFAULT else value

    async def get_many(self, collection, keys):
        found = await super().get_many(collection, keys)
        return {key: value for key, value in found.items() if type(value) is not str or value != self.DEFAULT}


class Unreliable(BaseWrapper):
    """Refuses every third call, so that it certainly was not made; of some operations alone, if they are named."""

    _around_steps = True

    def __init__(self, inner, *, operations=None):
        self._operations, self._calls = operations, 0
        super().__init__(inner)

    async def _around(self, operation, function, /, *args, **named):
        begun = isinstance(function, Steps) and function.begun
        if not begun and (self._operations is None or operation in self._operations):
            self._calls += 1
            if self._calls % 3 == 0:
                raise CircuitOpenError("every third call is refused")
        return await function(*args, **named)
