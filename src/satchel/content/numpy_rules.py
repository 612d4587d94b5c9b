"""Rules for arrays, scalars and dtypes of numpy: this module imports it.

The order of bytes and the layout in memory do not count; dtype, shape and items do.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np

from ..errors import DigestError
from .walk import Rule, Walk, digest_of_bytes, rule_of_parts

_LONGEST = {"f": 8, "c": 16}


def rule_of_numpy(kind: type) -> Rule | None:
    """Return the rule of a class of numpy's; None for one without, such as a masked array."""
    if kind is np.ndarray:
        return _array
    if issubclass(kind, np.generic):
        return _scalar
    return _dtype if issubclass(kind, np.dtype) else None


_dtype = rule_of_parts(b"numpy.dtype:", lambda dtype: [describe(dtype)])


def _array(value: np.ndarray[Any, Any], walk: Walk) -> bytes:
    return walk.descend(value, _array_message)


def _array_message(value: np.ndarray[Any, Any], walk: Walk) -> bytes:
    return b"numpy.ndarray:" + walk.digest(describe(value.dtype)) + walk.digest(value.shape) + items_of(value, walk)


def _scalar(value: np.generic, walk: Walk) -> bytes:
    return walk.descend(value, _scalar_message)


def _scalar_message(value: np.generic, walk: Walk) -> bytes:
    array = np.asarray(value)
    return b"numpy.generic:" + walk.digest(describe(array.dtype)) + items_of(array, walk)


def describe(dtype: np.dtype[Any]) -> object:
    """Return a dtype as text, or as a tuple of its fields: the same on every machine.

    Raises:
        DigestError: It has another size on other machines.
    """
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return (describe(base), shape)
    if dtype.names is not None:
        return tuple((name, describe(dtype.fields[name][0])) for name in dtype.names)  # type: ignore[index]  # it has names
    if dtype.itemsize > _LONGEST.get(dtype.kind, dtype.itemsize):
        raise DigestError(f"the dtype {dtype.name} has another size on other machines; use float64 or complex128")
    return "StringDType" if dtype.kind == "T" else dtype.newbyteorder("<").str


def items_of(array: np.ndarray[Any, Any], walk: Walk) -> bytes:
    """Return the digest of the items of an array, in the order of its indexes."""
    dtype = array.dtype
    if dtype.names is not None:  # field by field: what lies between them is not part of the value
        return sha256(b"tuple:" + b"".join([items_of(array[name], walk) for name in dtype.names])).digest()
    if dtype.hasobject or dtype.kind == "T":
        return walk.digest(array.reshape(-1).tolist())
    if not array.nbytes:
        return digest_of_bytes(b"bytes:", b"")
    data = np.ascontiguousarray(array, dtype.newbyteorder("<"))
    return digest_of_bytes(b"bytes:", data.reshape(-1).view(np.uint8).data)
