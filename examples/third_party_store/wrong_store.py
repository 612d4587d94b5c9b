"""The same store with two mistakes that look harmless."""

from mapping_store import MappingStore, Ref


class WrongStore(MappingStore):
    def _name(self, ref: Ref) -> bytes:
        return "::".join(ref).encode()  # ("a", "b::k") and ("a::b", "k") are one entry

    _keys = _cull = None

    async def _delete_one(self, ref: Ref, now: float) -> bool:  # noqa: ARG002  # forgetting it is the mistake
        return self._mapping.pop(self._name(ref), None) is not None  # an expired entry counts as there
