"""`BaseWrapper`: a store around an inner store, changed at a few seams."""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar, cast, overload

import msgspec

from .._batches import LONG, checked_items, checked_names, in_order, slices
from .._threads import Yielder, offload
from ..backend.lifecycle import finish_and_close, leave
from ..capability import Capability
from ..change import Change
from ..clock import TTL
from ..codec import LARGE, rough_size
from ..collection import HasCollections
from ..entry import Entry
from ..errors import (
    BatchError,
    ConfigurationError,
    SatchelError,
    StoreError,
    UnsupportedOperationError,
    batch_error,
)
from ..names import MAX_NAME_BYTES, Ref, check_after, check_limit, check_name, check_prefix, check_ref, utf8_size
from ..protocol import AsyncKeyValue, SupportsEverything, is_store
from ..url.description import Described, Description
from ..verbs import BATCHES, LISTINGS, METHODS, NEEDED, SEAMS, SHARED, WATCHES
from .call import IN_WORKER, MISSING, NOT_GIVEN, Call, checked_batch, stepped


def with_outer_names(error: SatchelError, names: Mapping[Ref, Ref], collection: str) -> SatchelError:
    """Return an error of the inner store's with the caller's own name, which is given for the inner one."""
    own = error.again()
    for inner, ref in names.items():
        _say(own, inner, ref)
    if isinstance(own, StoreError):
        own.collection = collection
        own.key = None if own.key is None else next(iter(names.values()))[1]
    return own


async def renamed_batch(error: SatchelError, inner: str, keys: Mapping[str, str], collection: str) -> SatchelError:
    """Return the error of a batch with the caller's own names; `keys` gives the caller's keys for the inner ones.

    An empty batch has no names, but still concerns one of the caller's collections.
    """
    own, turns = error.again(), Yielder()
    for name, key in keys.items():
        if _say(own, (inner, name), (collection, key)):
            break
        await turns.after_item()
    if isinstance(own, StoreError):
        own.collection = collection
        own.key = None if len(keys) != 1 or own.key is None else next(iter(keys.values()))
    if isinstance(own, BatchError):
        failed: dict[str, SatchelError] = {}
        for name, key in keys.items():
            if name in own.failed:
                failed[key] = with_outer_names(own.failed[name], {(inner, name): (collection, key)}, collection)
            await turns.after_item()
        own.failed = failed
    return own


def _say(error: SatchelError, inner: Ref, ref: Ref) -> bool:
    """Put the caller's name for the inner one into a message that has it, and return whether it has."""
    said = str(error)
    if describe_ref(inner) not in said:
        return False
    error.args = (said.replace(describe_ref(inner), describe_ref(ref), 1), *error.args[1:])
    return True


def describe_ref(ref: Ref) -> str:
    """Return the words by which messages name an entry."""
    return f"of key {ref[1]!r} in collection {ref[0]!r} of "


E = TypeVar("E", bound=StoreError)


class Seams:
    """Methods of `BaseWrapper` that a wrapper overrides."""

    _inner_collection_is_shared: ClassVar[bool] = False
    """An inner collection also holds keys that are not this wrapper's: it is listed and destroyed key by key."""
    _keeps_order: ClassVar[bool] = False
    """Where `_ref` is overridden: an inner key is `_prefix(collection, "")` and the key, so order and count stay."""
    _shares_store: ClassVar[bool] = False
    """The inner store also holds collections that are not this wrapper's: it is destroyed collection by collection."""
    _around_steps: ClassVar[bool] = False
    """Each step of a listing goes through `_around` as a call of its own; its `function` is a `Steps`."""

    def _ref(self, collection: str, key: str) -> Ref:
        """Return the inner store's names for an entry. The first must be `_collection(collection)`.

        Two entries must never get the same names. Where names become longer, override `max_key_bytes` as well.
        """
        return self._collection(collection), key

    def _key_from_inner(self, collection: str, key: str) -> str | None:
        """Return the key that `_ref` made an inner key of; None when it made it of none in this collection.

        The collection is the caller's, the key is from the inner collection.
        """
        return key

    def _collection(self, collection: str) -> str:
        """Return the inner store's collection for a collection."""
        return collection

    def _collection_from_inner(self, collection: str) -> str | None:
        """Return the collection of which `_collection` made an inner one; None when of none."""
        return collection

    def _prefix(self, collection: str, prefix: str) -> str | None:
        """Return the prefix of the inner keys of all keys with a prefix; None when they have none in common."""
        return prefix if not self._overrides("_ref") else None

    def _encode(self, ref: Ref, value: object) -> object:
        """Return what the inner store keeps for a value; in a worker thread when the value is large."""
        return value

    def _decode(self, ref: Ref, value: Any) -> Any:
        """Return the value of which `_encode` made an inner one; in a worker thread when that is large."""
        return value

    def _encode_if_small(self, ref: Ref, value: object) -> object:
        """Do what `_encode` does if it is quickly done; return `IN_WORKER` for what belongs in a worker thread.

        Override it, and `_decode_if_small`, where the size of the work can be told sooner or better than by a walk over
        the value.
        """
        return IN_WORKER if rough_size(value) >= LARGE else self._encode(ref, value)

    def _decode_if_small(self, ref: Ref, value: Any) -> Any:
        """Do what `_decode` does if it is quickly done; return `IN_WORKER` for what belongs in a worker thread."""
        return IN_WORKER if rough_size(value) >= LARGE else self._decode(ref, value)

    def _ttl(self, ttl: TTL | None) -> TTL | None:
        """Return the time to live with which the inner store keeps an entry."""
        return ttl

    async def _around(
        self, operation: str, function: Callable[..., Awaitable[Any]], /, *args: Any, **named: Any
    ) -> Any:
        """Carry out a call by `await function(*args, **named)`, once or several times or not at all.

        The listings `keys` and `collections` do not come here, unless `_around_steps` is set: then each step does.

        The arguments are as the caller gave them, but the keys or items of a batch have been checked and are a list or
        a dict. To inspect them, make a `Call`: `call = Call.of(operation, function, args, named)`, then
        `return call.answer(await call())`.
        """
        return await function(*args, **named)

    def _own_error(self, kind: type[E], operation: str, call: Call, said: str, **more: Any) -> E:
        """Return an error of this wrapper's own about a call, with the names of its caller."""
        collection = call.collection if isinstance(call.collection, str) else None
        key = call.key if isinstance(call.key, str) and collection is not None else None
        of = "of " if collection is None or key is None else describe_ref((collection, key))
        about: dict[str, Any] = {"store": repr(self), "operation": operation, "collection": collection, "key": key}
        return kind(f"{operation} {of}{self!r}: {said}", **about, **more)

    async def _finish(self) -> None:
        """Finish what this wrapper itself has under way: the inner store, which is still open, is closed next.

        It may be called again, then with nothing left to do.
        """

    def _overrides(self, *seams: str) -> bool:
        return any(getattr(type(self), seam) is not getattr(Seams, seam) for seam in seams)


T = TypeVar("T")


class Passage(Seams):
    """Passage of names, values and errors through the seams."""

    _limit: int
    """The longest key, in UTF-8 bytes."""

    async def _call(self, function: Callable[..., Awaitable[T]], ref: Ref, *arguments: Any, **named: Any) -> T:
        """Call a method of the inner store about one of the caller's entries."""
        inner = self._ref(*ref)
        try:
            return await function(*inner, *arguments, **named)
        except SatchelError as error:
            raise with_outer_names(error, {inner: ref}, ref[0]) from error.__cause__ or error

    async def _call_many(
        self,
        function: Callable[..., Awaitable[T]],
        collection: str,
        keys: Mapping[str, str],
        *arguments: Any,
        **named: Any,
    ) -> T:
        """Call a method of the inner store about many entries; `keys` gives the caller's keys for the inner ones."""
        inner = self._collection(collection)
        try:
            return await function(inner, *arguments, **named)
        except SatchelError as error:
            raise await renamed_batch(error, inner, keys, collection) from error.__cause__ or error

    async def _encoded(self, operation: str, ref: Ref, value: object) -> object:
        return await self._transformed(self._encode_if_small, self._encode, operation, ref, value)

    async def _decoded(self, operation: str, ref: Ref, value: Any) -> Any:
        return await self._transformed(self._decode_if_small, self._decode, operation, ref, value)

    async def _decoded_entry(self, operation: str, ref: Ref, entry: Entry) -> Entry:
        return msgspec.structs.replace(entry, value=await self._decoded(operation, ref, entry.value))

    async def _decoded_many(
        self, operation: str, collection: str, found: Mapping[str, Any], decode: Callable[[str, Ref, Any], Awaitable[T]]
    ) -> dict[str, T]:
        decoded: dict[str, T] = {}
        failed: dict[str, SatchelError] = {}
        turns = Yielder()
        for key, value in found.items():
            await turns.after_item()
            try:
                decoded[key] = await decode(operation, (collection, key), value)
            except SatchelError as error:
                failed[key] = error
        if failed:
            raise batch_error(self, operation, collection, failed, len(found))
        return decoded

    async def _transformed(
        self,
        transform_if_small: Callable[[Ref, Any], Any],
        transform: Callable[[Ref, Any], Any],
        operation: str,
        ref: Ref,
        value: Any,
    ) -> Any:
        try:
            transformed = transform_if_small(ref, value)
            return await offload(transform, ref, value) if transformed is IN_WORKER else transformed
        except StoreError:
            raise
        except SatchelError as error:
            own = error.again()
            own.args = (f"{operation} {describe_ref(ref)}{self!r}: {error}",)
            raise own from error.__cause__

    async def _listing(
        self, found: AsyncIterator[str], back: Callable[[str], str | None], prefix: str = "", limit: int | None = None
    ) -> AsyncIterator[str]:
        """Iterate over inner names as the caller's, those that are and that have the prefix."""
        left = limit
        if left == 0:
            return
        async for inner in found:
            name = back(inner)
            if name is None or not name.startswith(prefix):
                continue
            yield name
            left = None if left is None else left - 1
            if left == 0:
                return


D = TypeVar("D")

_PAGE = 500
_KNOWN = functools.reduce(operator.or_, METHODS)
_NEEDED_TO_DESTROY = Capability.ENUMERATE_COLLECTIONS | Capability.DESTROY_COLLECTION


class BaseWrapper(HasCollections, Passage, Described):
    """Store around an inner store: the base class of all wrappers.

    A subclass overrides the seams that it is about (`Seams` says what each does); every verb goes through them. They
    are overridden in the class. A verb that none of its overridden seams is about is the inner store's own method, and
    costs nothing.

    * Names: `_ref`, or `_collection` where only that changes, and their ways back, without which listing is dropped.
      The caller's names are checked before they are changed, and errors name those.
    * Values: `_encode` and `_decode`. Times to live: `_ttl`.
    * `_around`: every call as a whole, as its caller made it, but for the listings `keys` and `collections`; with
      `_around_steps` set also each step of those.
    * `_finish`: what is the wrapper's own, before it closes.

    A wrapper owns its inner store: closing it closes that one, which then refuses a second `aclose` and every later
    call. Of several wrappers around one store the first that is closed closes it for all.

    Args:
        inner: The wrapped store.
        drops: Capabilities of the inner store that this one does not have.

    Raises:
        ConfigurationError: The inner store is none.
    """

    def __init__(self, inner: AsyncKeyValue, *, drops: Capability = Capability.NONE) -> None:
        self._need_store(inner)
        self.inner = inner
        self._inner = cast("SupportsEverything", inner)
        self._limit = self.max_key_bytes
        self._encodes, self._decodes = self._overrides("_encode"), self._overrides("_decode")
        self._dropped = drops | self._lost()
        for verb, method in self._bindings().items():
            setattr(self, verb, method)  # through `__dict__` every later look at any attribute would take longer

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    @property
    def capabilities(self) -> Capability:
        """What this store can do beyond the core: what the inner one can, but for what the wrapper breaks."""
        have = self.inner.capabilities & ~self._dropped
        if self._inner_collection_is_shared and Capability.ENUMERATE_KEYS not in have:
            have &= ~(Capability.ENUMERATE_COLLECTIONS | Capability.DESTROY_COLLECTION)
        if self._overrides(*SHARED) and (_NEEDED_TO_DESTROY & ~have):
            have &= ~Capability.DESTROY_STORE
        return have

    @property
    def max_key_bytes(self) -> int:
        """The longest key, in UTF-8 bytes."""
        return self.inner.max_key_bytes

    @property
    def max_value_bytes(self) -> int | None:
        """The largest encoded value that the backend takes; None for no limit that is known."""
        return self.inner.max_value_bytes

    @overload
    async def get(self, collection: str, key: str, default: None = None) -> Any | None: ...
    @overload
    async def get(self, collection: str, key: str, default: D) -> Any | D: ...
    async def get(self, collection: str, key: str, default: Any = NOT_GIVEN) -> Any:
        """Return the value under a key, or the default when it is absent."""
        collection, key = check_ref(collection, key, self._limit)
        inner_collection, inner_key = self._ref(collection, key)
        try:
            if default is NOT_GIVEN and not self._decodes:
                return await self._inner.get(inner_collection, inner_key)
            value = await self._inner.get(inner_collection, inner_key, MISSING if self._decodes else default)
        except SatchelError as error:
            names = {(inner_collection, inner_key): (collection, key)}
            raise with_outer_names(error, names, collection) from error.__cause__ or error
        if not self._decodes:
            return value
        if value is MISSING:
            return None if default is NOT_GIVEN else default
        return await self._decoded("get", (collection, key), value)

    async def get_entry(self, collection: str, key: str) -> Entry | None:
        """Return the entry under a key: the value with version, times and size."""
        ref = check_ref(collection, key, self._limit)
        entry = await self._call(self._inner.get_entry, ref)
        return await self._decoded_entry("get_entry", ref, entry) if self._decodes and entry is not None else entry

    async def exists(self, collection: str, key: str) -> bool:
        """Return whether there is an entry under a key."""
        return await self._call(self._inner.exists, check_ref(collection, key, self._limit))

    async def put(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> None:
        """Store a value under a key, replacing any existing entry and its deadline."""
        collection, key = check_ref(collection, key, self._limit)
        inner_collection, inner_key = self._ref(collection, key)
        if self._encodes:
            value = await self._encoded("put", (collection, key), value)
        try:
            await self._inner.put(inner_collection, inner_key, value, ttl=self._ttl(ttl))
        except SatchelError as error:
            names = {(inner_collection, inner_key): (collection, key)}
            raise with_outer_names(error, names, collection) from error.__cause__ or error

    async def delete(self, collection: str, key: str) -> bool:
        """Remove the entry under a key, and return whether it existed."""
        return await self._call(self._inner.delete, check_ref(collection, key, self._limit))

    async def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of the keys that exist, in the order requested."""
        return await self._read_many("get_many", collection, keys, self._decoded)

    async def get_entries(self, collection: str, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of the keys that exist, in the order requested."""
        return await self._read_many("get_entries", collection, keys, self._decoded_entry)

    async def put_many(self, collection: str, items: Mapping[str, object], *, ttl: TTL | None = None) -> None:
        """Store many values. Everything is checked first; the writes are not one atomic step."""
        collection, ttl = check_name(collection, "collection"), self._ttl(ttl)
        keys: dict[str, str] = {}
        encoded: dict[str, object] = {}
        turns = Yielder()
        for key, value in (await checked_items(items, self._limit)).items():
            await turns.after_item()
            ref = (collection, key)
            inner = self._ref(*ref)[1]
            keys[inner] = key
            encoded[inner] = await self._encoded("put_many", ref, value) if self._encodes else value
        await self._call_many(self._inner.put_many, collection, keys, encoded, ttl=ttl)

    async def delete_many(self, collection: str, keys: Iterable[str]) -> int:
        """Remove many entries, and return how many of them were there."""
        collection = check_name(collection, "collection")
        names = await self._inner_keys(collection, keys)
        return await self._call_many(self._inner.delete_many, collection, names, names)

    async def ping(self) -> None:
        """Return when the backend answers."""
        await self.inner.ping()

    async def put_if_absent(self, collection: str, key: str, value: object, *, ttl: TTL | None = None) -> str | None:
        """Store a value if the key is absent, and return its version; None when something was there."""
        ref = check_ref(collection, key, self._limit)
        if self._encodes:
            value = await self._encoded("put_if_absent", ref, value)
        return await self._call(self._inner.put_if_absent, ref, value, ttl=self._ttl(ttl))

    async def compare_and_put(
        self, collection: str, key: str, value: object, *, version: str, ttl: TTL | None = None
    ) -> str | None:
        """Replace the entry if it still has the version, and return the new version; None when it has not."""
        ref = check_ref(collection, key, self._limit)
        if self._encodes:
            value = await self._encoded("compare_and_put", ref, value)
        return await self._call(self._inner.compare_and_put, ref, value, version=version, ttl=self._ttl(ttl))

    async def compare_and_delete(self, collection: str, key: str, *, version: str) -> bool:
        """Remove the entry if it still has the version, and return whether it was removed."""
        ref = check_ref(collection, key, self._limit)
        return await self._call(self._inner.compare_and_delete, ref, version=version)

    async def touch(self, collection: str, key: str, *, ttl: TTL | None) -> bool:
        """Give the entry a new deadline, None for no deadline, and return whether it existed."""
        return await self._call(self._inner.touch, check_ref(collection, key, self._limit), ttl=self._ttl(ttl))

    def keys(
        self, collection: str, *, prefix: str = "", limit: int | None = None, after: str | None = None
    ) -> AsyncIterator[str]:
        """Iterate over the keys of a collection, in no particular order unless `after` is given, in constant memory."""
        self._need("keys")
        name, start, most = check_name(collection, "collection"), check_prefix(prefix), check_limit(limit)
        behind = check_after(after)
        mapped = self._inner_prefix(name, start)
        if behind is not None and self._overrides("_ref") and not self._keeps_order:
            return in_order(lambda: BaseWrapper.keys(self, name, prefix=start), behind, most)
        # A third-party store may not know `after`.
        order: dict[str, Any] = {} if behind is None else {"after": self._prefix(name, behind)}
        found = self._inner.keys(self._collection(name), prefix=mapped, **order)
        return self._listing(found, lambda key: self._key_from_inner(name, key), start, most)

    async def count(self, collection: str, *, prefix: str = "") -> int:
        """Return how many entries a collection has, or how many of its keys start with a prefix."""
        self._need("count")
        name, start = check_name(collection, "collection"), check_prefix(prefix)
        inner, mapped = self._collection(name), self._prefix(name, start)
        if not self._overrides("_ref", "_key_from_inner"):
            return await self._inner.count(inner, prefix=start)
        if self._keeps_order and mapped is not None and utf8_size(mapped, "prefix") <= self.inner.max_key_bytes:
            empty = not start and await self._inner.exists(
                inner, mapped
            )  # what another program put under no key of ours
            return await self._inner.count(inner, prefix=mapped) - empty
        count = 0
        async for _ in BaseWrapper.keys(self, name, prefix=start):
            count += 1
        return count

    def collections(self) -> AsyncIterator[str]:
        """Iterate over the collections that hold at least one entry, in no particular order."""
        self._need("collections")
        found = self._listing(self._inner.collections(), self._collection_from_inner, "", None)
        return self._with_own_keys(found) if self._inner_collection_is_shared else found

    async def destroy_collection(self, collection: str) -> bool:
        """Remove every entry of a collection, and return whether there was one."""
        self._need("destroy_collection")
        name = check_name(collection, "collection")
        if not self._inner_collection_is_shared:
            return await self._inner.destroy_collection(self._collection(name))
        return await self._deleted(BaseWrapper.keys(self, name), functools.partial(BaseWrapper.delete_many, self, name))

    async def destroy(self) -> bool:
        """Remove everything that this store wrote and nothing else, and return whether there was any entry."""
        self._need("destroy")
        if not self._overrides(*SHARED):
            return await self._inner.destroy()
        names = [name async for name in BaseWrapper.collections(self)]
        return any([await BaseWrapper.destroy_collection(self, name) for name in names])

    async def cull(self) -> int:
        """Reclaim the space of expired entries now, and return how many there were."""
        return await self._inner.cull()

    def watch(self, collection: str, *, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change]]:
        """Watch the entries of a collection."""
        self._need("watch")
        name, start = check_name(collection, "collection"), check_prefix(prefix)
        mapped = self._inner_prefix(name, start)
        return self._watched(self._inner.watch(self._collection(name), prefix=mapped), name, start)

    def describe(self) -> Description:
        """Return the parts of this stack as data."""
        described: Description = self.inner.describe()  # type: ignore[attr-defined]  # every store of ours has it
        return Description(described.store, (*described.wrappers, self._layer()))

    async def aclose(self) -> None:
        """Finish the wrapper's own work, and close the inner store.

        Raises:
            StoreClosedError: It has been closed before. Leaving `async with` after that raises nothing.
        """
        await finish_and_close(self._finish, self.inner.aclose)

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await leave(self.aclose)

    def _bindings(self) -> dict[str, Callable[..., Any]]:
        """Return the verbs of this instance that are something else than the methods of its class.

        Override it to add to what `bind` gives. The attributes that it needs are set before `super().__init__`.
        """
        return bind(self)

    def _lost(self) -> Capability:
        """Return the capabilities that are lost with the overridden seams."""
        lost = ~_KNOWN
        if self._overrides("_ref") and not self._overrides("_key_from_inner"):
            lost |= Capability.ENUMERATE_KEYS | Capability.WATCH
        lists = self._overrides("_collection_from_inner") or not self._inherits("collections")
        if self._overrides("_collection") and not lists:
            lost |= Capability.ENUMERATE_COLLECTIONS
        return lost

    def _inner_prefix(self, collection: str, prefix: str) -> str:
        mapped = self._prefix(collection, prefix) or ""
        return mapped if utf8_size(mapped, "prefix") <= MAX_NAME_BYTES else ""

    @asynccontextmanager
    async def _watched(
        self, inner: AbstractAsyncContextManager[AsyncIterator[Change]], collection: str, prefix: str
    ) -> AsyncIterator[AsyncIterator[Change]]:
        async with inner as changes:
            yield _Renamed(changes, collection, functools.partial(self._key_from_inner, collection), prefix)

    def _inherits(self, verb: str) -> bool:
        return getattr(type(self), verb) is getattr(BaseWrapper, verb)

    def _need_store(self, inner: object) -> None:
        if not is_store(inner):
            raise ConfigurationError(f"{type(self).__name__} goes around a store, got {type(inner).__name__}")

    def _need(self, operation: str) -> None:
        if NEEDED[operation] not in self.capabilities:
            raise self._unsupported(operation)

    def _refusal(self, operation: str) -> Callable[..., Any]:
        def refuse(*_: Any, **__: Any) -> Any:
            raise self._unsupported(operation)

        return refuse

    def _unsupported(self, operation: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(f"{self!r} does not have {operation}; see its .capabilities")

    async def _deleted(self, keys: AsyncIterator[str], delete_many: Callable[[list[str]], Awaitable[int]]) -> bool:
        """Delete keys in pages, and return whether any was there."""
        removed, page = 0, list[str]()
        async for key in keys:
            page.append(key)
            if len(page) == _PAGE:
                removed += await delete_many(page)
                page = []
        return removed + await delete_many(page) > 0

    async def _read_many(
        self, operation: str, collection: str, keys: Iterable[str], decode: Callable[..., Awaitable[Any]]
    ) -> dict[str, Any]:
        collection = check_name(collection, "collection")
        names = await self._inner_keys(collection, keys)
        found = await self._call_many(getattr(self._inner, operation), collection, names, names)
        own: dict[str, Any] = {}
        if len(found) <= LONG:
            own = {names[key]: value for key, value in found.items()}
        else:
            inner_keys, turns = list(found), Yielder()
            for part in slices(len(inner_keys)):
                own |= {names[key]: found[key] for key in inner_keys[part]}
                await turns.after_item()
        return await self._decoded_many(operation, collection, own, decode) if self._decodes else own

    async def _inner_keys(self, collection: str, keys: Iterable[str]) -> dict[str, str]:
        checked = await checked_names(keys, self._limit)
        if len(checked) <= LONG:
            return {self._ref(collection, key)[1]: key for key in checked}
        inner: dict[str, str] = {}
        turns = Yielder()
        for part in slices(len(checked)):
            inner |= {self._ref(collection, key)[1]: key for key in checked[part]}
            await turns.after_item()
        return inner

    async def _with_own_keys(self, names: AsyncIterator[str]) -> AsyncIterator[str]:
        async for name in names:
            async for _ in BaseWrapper.keys(self, name, limit=1):
                yield name


class _Renamed:
    """Iterator over the changes of the inner store with the caller's names.

    It is no generator: that would end with the first wait that is cancelled.
    """

    def __init__(
        self, changes: AsyncIterator[Change], collection: str, back: Callable[[str], str | None], prefix: str
    ) -> None:
        self._changes, self._collection, self._back, self._prefix = changes, collection, back, prefix

    def __aiter__(self) -> _Renamed:
        return self

    async def __anext__(self) -> Change:
        while True:
            change = await anext(self._changes)
            if change.key is None:
                return Change(change.kind, self._collection)
            key = self._back(change.key)
            if key is not None and key.startswith(self._prefix):
                return Change(change.kind, self._collection, key)


def bind(wrapper: BaseWrapper) -> dict[str, Callable[..., Any]]:
    """Return the verbs of a wrapper that are something else than the methods of its class.

    * A verb that the wrapper dropped, or the inner store does not have, is refused by name.
    * A verb that the class does not write, and whose seams it does not override, is the inner store's own method. It
      costs nothing.
    * Any other verb is the method of the class, which goes through the seams, and is not returned.
    * Where the class overrides `_around`, that gets what was found so far as the function to call. Of
      listings only with `_around_steps`: then it gets each step. `watch` never comes there: it is no single call.
    """
    goes_around = wrapper._overrides("_around")
    bound: dict[str, Callable[..., Any]] = {}
    for verb, seams in SEAMS.items():
        if not hasattr(wrapper.inner, verb) or (verb in NEEDED and NEEDED[verb] in wrapper._dropped):
            bound[verb] = wrapper._refusal(verb)
            continue
        if wrapper._inherits(verb) and not wrapper._overrides(*seams):
            bound[verb] = getattr(wrapper.inner, verb)
        if goes_around and verb not in WATCHES and (verb not in LISTINGS or wrapper._around_steps):
            bound[verb] = _surrounded(wrapper, verb, bound.get(verb) or getattr(wrapper, verb))
    return bound


def _surrounded(wrapper: BaseWrapper, verb: str, method: Callable[..., Any]) -> Callable[..., Any]:
    if verb in LISTINGS:
        return stepped(verb, method, wrapper._around)
    if verb in BATCHES:
        return checked_batch(verb, method, wrapper._around)
    return functools.partial(wrapper._around, verb, method)
