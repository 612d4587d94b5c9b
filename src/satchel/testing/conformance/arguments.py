"""Arguments that every store accepts or refuses, before any I/O."""

from __future__ import annotations

from typing import Any

import pytest

from ...capability import Capability
from ...errors import InvalidKeyError, InvalidTTLError, SatchelError, SerializationError
from ...protocol import SupportsEverything
from .cases import (
    ACCEPTED_VALUES,
    ILLEGAL_NAMES,
    ILLEGAL_TTLS,
    LEGAL_NAMES,
    LEGAL_TTLS,
    REFUSED_VALUES,
    Text,
    long_names,
)
from .suite import Suite, needs

CONDITIONAL = Capability.CONDITIONAL


class ArgumentPromises(Suite):
    """Tests of names, values and times to live, also for stores that keep nothing."""

    async def test_every_method_refuses_an_illegal_key(self, store: SupportsEverything) -> None:
        for name in (*ILLEGAL_NAMES, "k" * (store.max_key_bytes + 1), "é" * (store.max_key_bytes // 2 + 1)):
            for call in (
                lambda name=name: store.get("c", name),
                lambda name=name: store.get_entry("c", name),
                lambda name=name: store.exists("c", name),
                lambda name=name: store.put("c", name, 1),
                lambda name=name: store.delete("c", name),
                lambda name=name: store.get_many("c", ["k", name]),
                lambda name=name: store.get_entries("c", ["k", name]),
                lambda name=name: store.delete_many("c", ["k", name]),
            ):
                with pytest.raises(InvalidKeyError):
                    await call()

    async def test_every_method_refuses_an_illegal_collection(self, store: SupportsEverything) -> None:
        for name in (*ILLEGAL_NAMES, "c" * 4097, "é" * 2049):
            for call in (
                lambda name=name: store.get(name, "k"),
                lambda name=name: store.get_entry(name, "k"),
                lambda name=name: store.exists(name, "k"),
                lambda name=name: store.put(name, "k", 1),
                lambda name=name: store.delete(name, "k"),
                lambda name=name: store.get_many(name, ["k"]),
                lambda name=name: store.get_entries(name, ["k"]),
                lambda name=name: store.put_many(name, {"k": 1}),
                lambda name=name: store.delete_many(name, ["k"]),
            ):
                with pytest.raises(InvalidKeyError):
                    await call()

    async def test_put_many_refuses_an_illegal_key(self, store: SupportsEverything) -> None:
        for name in ("", "\ud800", None, 1, b"a", "k" * (store.max_key_bytes + 1)):
            items: Any = {"k": 1, name: 2}
            with pytest.raises(InvalidKeyError):
                await store.put_many("c", items)
        assert await store.get("c", "k") is None

    @needs(CONDITIONAL)
    async def test_conditional_methods_refuse_illegal_names(self, store: SupportsEverything) -> None:
        for name in ILLEGAL_NAMES:
            for collection, key in (("c", name), (name, "k")):
                for call in (
                    lambda pair=(collection, key): store.put_if_absent(pair[0], pair[1], 1),
                    lambda pair=(collection, key): store.compare_and_put(pair[0], pair[1], 1, version="v"),
                    lambda pair=(collection, key): store.compare_and_delete(pair[0], pair[1], version="v"),
                    lambda pair=(collection, key): store.touch(pair[0], pair[1], ttl=1),
                ):
                    with pytest.raises(InvalidKeyError):
                        await call()

    async def test_one_bare_string_is_no_list_of_keys(self, store: SupportsEverything) -> None:
        wrong: Any
        for wrong in ("key", b"key", None, 1):
            for call in (store.get_many, store.get_entries, store.delete_many):
                with pytest.raises(InvalidKeyError):
                    await call("c", wrong)

    async def test_put_many_takes_a_mapping_only(self, store: SupportsEverything) -> None:
        wrong: Any
        for wrong in ("key", ["key"], [("key", 1)], {"key"}, None, 1):
            with pytest.raises(InvalidKeyError):
                await store.put_many("c", wrong)

    async def test_every_legal_name_is_accepted(self, store: SupportsEverything) -> None:
        names = [*LEGAL_NAMES, *long_names(store.max_key_bytes)]
        for name in names:
            await store.put("c", name, 1)
        await store.put_many("c", dict.fromkeys(names))
        for name in LEGAL_NAMES:
            await store.put(name, "k", 1)

    async def test_a_subclass_of_str_is_a_legal_name(self, store: SupportsEverything) -> None:
        await store.put(Text("c"), Text("k"), 1)
        assert await store.get_many(Text("c"), [Text("other")]) == {}

    @pytest.mark.parametrize("theme", ACCEPTED_VALUES)
    async def test_accepted_values_are_accepted(self, store: SupportsEverything, theme: str) -> None:
        for value in ACCEPTED_VALUES[theme]:
            await store.put("c", "k", value)
        await store.put_many("c", {str(index): value for index, value in enumerate(ACCEPTED_VALUES[theme])})
        assert await store.exists("c", "k") is self.stores_values

    @pytest.mark.parametrize("theme", REFUSED_VALUES)
    async def test_values_that_would_change_are_refused_with_their_path(
        self, store: SupportsEverything, theme: str
    ) -> None:
        for value, path in REFUSED_VALUES[theme]:
            with pytest.raises(SerializationError) as refusal:
                await store.put("c", "k", value)
            assert path in str(refusal.value), f"the message does not name {path}"
            with pytest.raises(SatchelError) as batch_refusal:
                await store.put_many("c", {"k": 1, "wrong": value})
            assert path in str(batch_refusal.value), f"the message of put_many does not name {path}"
            assert await store.get_many("c", ["k", "wrong"]) == {}, "part of a refused batch was written"

    @needs(CONDITIONAL)
    async def test_conditional_writes_refuse_the_same_values(self, store: SupportsEverything) -> None:
        for cases in REFUSED_VALUES.values():
            for value, _path in cases:
                with pytest.raises(SerializationError):
                    await store.put_if_absent("c", "k", value)
                with pytest.raises(SerializationError):
                    await store.compare_and_put("c", "k", value, version="v")

    async def test_a_refusal_names_the_call_and_not_the_value(self, store: SupportsEverything) -> None:
        with pytest.raises(SerializationError) as refusal:
            await store.put("people", "ada", {"password": ("hunter2",)})
        message = str(refusal.value)
        assert "ada" in message
        assert "people" in message
        assert "$.password" in message
        assert "hunter2" not in message + repr(refusal.value)

    async def test_every_illegal_ttl_is_refused(self, store: SupportsEverything) -> None:
        for ttl in ILLEGAL_TTLS:
            with pytest.raises(InvalidTTLError):
                await store.put("c", "k", 1, ttl=ttl)
            with pytest.raises(InvalidTTLError):
                await store.put_many("c", {"k": 1}, ttl=ttl)
            with pytest.raises(InvalidTTLError):
                await store.put_many("c", {}, ttl=ttl)
        assert await store.get("c", "k") is None, "a refused write was made"

    @needs(CONDITIONAL)
    async def test_conditional_methods_refuse_every_illegal_ttl(self, store: SupportsEverything) -> None:
        for ttl in ILLEGAL_TTLS:
            with pytest.raises(InvalidTTLError):
                await store.put_if_absent("c", "k", 1, ttl=ttl)
            with pytest.raises(InvalidTTLError):
                await store.compare_and_put("c", "k", 1, version="v", ttl=ttl)
            with pytest.raises(InvalidTTLError):
                await store.touch("c", "k", ttl=ttl)

    async def test_every_legal_ttl_is_accepted(self, store: SupportsEverything) -> None:
        for ttl in LEGAL_TTLS:
            await store.put("c", "k", 1, ttl=ttl)
            await store.put_many("c", {"k": 1}, ttl=ttl)
        assert not await store.exists("c", "other")

    @needs(CONDITIONAL)
    async def test_a_version_that_is_no_str_is_refused(self, store: SupportsEverything) -> None:
        wrong: Any
        for wrong in (None, 1, b"v", object()):
            with pytest.raises(TypeError, match="version"):
                await store.compare_and_put("c", "k", 1, version=wrong)
            with pytest.raises(TypeError, match="version"):
                await store.compare_and_delete("c", "k", version=wrong)

    @needs(Capability.ENUMERATE_KEYS)
    async def test_keys_checks_its_arguments_at_the_call(self, store: SupportsEverything) -> None:
        wrong: Any
        for wrong in ILLEGAL_NAMES:
            with pytest.raises(InvalidKeyError):
                store.keys(wrong)
            if wrong != "":
                with pytest.raises(InvalidKeyError):
                    store.keys("c", prefix=wrong)
        for wrong in (-1, 1.0, "1", True):
            with pytest.raises(ValueError, match="limit"):
                store.keys("c", limit=wrong)
        for wrong in (1, b"a", "\ud800", "a" * 4097):
            with pytest.raises(InvalidKeyError, match="after"):
                store.keys("c", after=wrong)

    @needs(Capability.ENUMERATE_KEYS)
    async def test_count_refuses_illegal_names(self, store: SupportsEverything) -> None:
        wrong: Any
        for wrong in ILLEGAL_NAMES:
            with pytest.raises(InvalidKeyError):
                await store.count(wrong)
            if wrong != "":
                with pytest.raises(InvalidKeyError):
                    await store.count("c", prefix=wrong)

    @needs(Capability.DESTROY_COLLECTION)
    async def test_destroy_collection_refuses_an_illegal_name(self, store: SupportsEverything) -> None:
        for name in ILLEGAL_NAMES:
            with pytest.raises(InvalidKeyError):
                await store.destroy_collection(name)

    async def test_an_empty_batch_is_no_error(self, store: SupportsEverything) -> None:
        assert await store.get_many("c", []) == {}
        assert await store.get_entries("c", iter(())) == {}
        await store.put_many("c", {})
        assert await store.delete_many("c", set()) == 0
