"""One value as the bytes of an HDF5 file: numpy arrays and scalars, and containers of them."""

from __future__ import annotations

import io
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import msgspec

from ..codec import JsonCodec
from ..errors import SerializationError, missing_extra
from .tracing import step_of

_STRUCTURE = "structure"
_NATIVE = "biufcS"
_MAX_REAL = 8


def check_driver() -> None:
    """Raise unless h5py can be imported.

    Raises:
        MissingExtraError: It is not installed; the message has the command that installs it.
    """
    if find_spec("h5py") is None:  # an import would read many files in the event loop
        raise missing_extra('leaf="hdf5"', "hdf5", ModuleNotFoundError(name="h5py"))


def dump(value: object) -> bytes:
    """Return a value as an HDF5 file.

    Raises:
        SerializationError: It holds something else than arrays, scalars, JSON, and lists, tuples and dicts of them.
    """
    import h5py  # type: ignore[import-untyped]  # noqa: PLC0415  # only these leaves need it

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        structure = msgspec.json.encode(_Writer(file).write(value, "$"))
        file.create_dataset(_STRUCTURE, data=_numpy().frombuffer(structure, dtype="u1"))
    return buffer.getvalue()


def load(body: bytes) -> Any:
    """Return the value of an HDF5 file that `dump` made."""
    check_driver()
    import h5py  # noqa: PLC0415  # as above

    with h5py.File(io.BytesIO(body), "r") as file:
        return _read(file, msgspec.json.decode(file[_STRUCTURE][()].tobytes()))


def _numpy() -> Any:
    import numpy  # noqa: PLC0415, ICN001  # h5py needs it

    return numpy


class _Writer:
    """Writer of the arrays of a value into a file; what is around them becomes JSON."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._count = 0

    def write(self, value: Any, path: str) -> Any:
        numpy, kind = _numpy(), type(value)
        if kind is numpy.ndarray:
            return {"array": self._add(value, path), "dtype": value.dtype.str}
        if isinstance(value, numpy.generic):
            return {"scalar": self._add(numpy.asarray(value), path), "dtype": value.dtype.str}
        with suppress(SerializationError):  # first, since each number of its own takes half a kilobyte
            JsonCodec().encode(value)
            return {"json": value}
        if kind is list or kind is tuple:
            return {kind.__name__: [self.write(part, f"{path}[{index}]") for index, part in enumerate(value)]}
        if kind is dict:
            pairs = value.items()
            return {"dict": [[self.write(key, path), self.write(part, path + step_of(key))] for key, part in pairs]}
        if kind is complex or kind is float:
            return {kind.__name__: self._add(numpy.asarray(value), path)}  # with NaN, which JSON does not have
        raise SerializationError(
            f'{path}: HDF5 does not keep {kind.__name__}; use leaf="pickle", or convert it to numpy arrays'
        )

    def _add(self, array: Any, path: str) -> str:
        kind, size = array.dtype.kind, array.dtype.itemsize
        if kind == "U":
            stored = _as_code_points(array)
        elif kind in "mM":
            stored = array.astype(array.dtype.newbyteorder("=")).view("i8") if array.ndim else array.view("i8")
        elif kind == "S" and not array.ndim:  # HDF5 would leave out zeros at its end
            stored = _numpy().frombuffer(array.tobytes(), dtype="u1")
        elif kind not in _NATIVE or (kind in "fc" and size > _MAX_REAL * (1 + (kind == "c"))) or not size:
            raise SerializationError(f'{path}: HDF5 does not keep arrays of {array.dtype}; use leaf="pickle"')
        else:
            stored = array
        name = str(self._count)
        self._count += 1
        self._file.create_dataset(name, data=stored)
        return name


def _as_code_points(array: Any) -> Any:
    numpy = _numpy()
    native = numpy.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    length = native.dtype.itemsize // 4
    return numpy.frombuffer(native.tobytes(), dtype="u4").reshape((*array.shape, length))


def _restored(stored: Any, dtype: Any) -> Any:
    numpy = _numpy()
    if dtype.kind == "U":
        native = numpy.frombuffer(stored.tobytes(), dtype=dtype.newbyteorder("=")).reshape(stored.shape[:-1])
        return native.astype(dtype)
    if dtype.kind in "mM":
        return stored.view(dtype.newbyteorder("=")).astype(dtype)
    return stored.astype(dtype, copy=False)


def _text(stored: Any, kind: str, length: int) -> Any:
    """Return a scalar of text or bytes: not by an array, which has no text of length 0, and no zeros at its end."""
    if kind == "S":
        return _numpy().bytes_(stored.tobytes()[:length])
    return _numpy().str_("".join(map(chr, stored.tolist()[:length])))


def _read(file: Any, node: dict[str, Any]) -> Any:
    numpy = _numpy()
    if "array" in node or "scalar" in node:
        stored = numpy.asarray(file[node.get("array", node.get("scalar"))][()])
        if "scalar" in node and node["dtype"][1] in "US":
            return _text(stored, node["dtype"][1], int(node["dtype"][2:]))
        array = _restored(stored, numpy.dtype(node["dtype"]))
        return array if "array" in node else array[()]
    ((kind, inside),) = node.items()
    if kind in ("list", "tuple"):
        parts = [_read(file, part) for part in inside]
        return parts if kind == "list" else tuple(parts)
    if kind == "dict":
        return {_read(file, key): _read(file, part) for key, part in inside}
    if kind in ("float", "complex"):
        number = file[inside][()]
        return float(number) if kind == "float" else complex(number)
    if kind == "json":
        return inside
    raise ValueError("this structure is not known")
