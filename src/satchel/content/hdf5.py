"""One value as the bytes of an HDF5 file: numpy arrays and scalars, and containers of them."""

from __future__ import annotations

import io
import re
import sys
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
_DTYPE = re.compile(r"[<>=|][biufcSUmM][0-9]{1,9}(\[[0-9]{0,9}[A-Za-z]{1,2}\])?")


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
        return _LeafReader(file, len(body)).load()


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


class _LeafReader:
    """Reader of a value from a file. It takes no more memory than the file, whatever that claims to hold.

    Args:
        file: The file.
        size: Its size in bytes.
    """

    def __init__(self, file: Any, size: int) -> None:
        self._file = file
        self._room = size

    def load(self) -> Any:
        """Return the value."""
        return self._read(msgspec.json.decode(self._stored(_STRUCTURE).tobytes()))

    def _read(self, node: Any) -> Any:
        if type(node) is not dict:
            raise ValueError("a part of the structure is no object")
        if "array" in node or "scalar" in node:
            stored = self._stored(_checked_name(node.get("array", node.get("scalar"))))
            dtype = _dtype(node["dtype"])
            if "scalar" in node and dtype.kind in "US":
                return _text(stored, dtype)
            array = _restored(stored, dtype)
            return array if "array" in node else array[()]
        ((kind, inside),) = node.items()
        if kind in ("list", "tuple"):
            parts = [self._read(part) for part in inside]
            return parts if kind == "list" else tuple(parts)
        if kind == "dict":
            return {self._read(key): self._read(part) for key, part in inside}
        if kind in ("float", "complex"):
            number = self._stored(_checked_name(inside))[()]
            return float(number) if kind == "float" else complex(number)
        if kind == "json":
            return inside
        raise ValueError("this structure is not known")

    def _stored(self, name: str) -> Any:
        """Return a dataset. One may claim to be larger than the file, or to be in another file."""
        import h5py  # noqa: PLC0415  # as above

        link, dataset = self._file.get(name, getlink=True), None
        if type(link) is h5py.HardLink:
            dataset = self._file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in _NATIVE:
            raise ValueError("a dataset is missing, or is none that is written")
        made = dataset.id.get_create_plist()
        if made.get_layout() != h5py.h5d.CONTIGUOUS or made.get_external_count() or dataset.nbytes > self._room:
            raise ValueError("a dataset is not as it is written")
        self._room -= dataset.nbytes
        return _numpy().asarray(dataset[()])


def _checked_name(name: Any) -> str:
    if type(name) is str and name.isascii() and name.isdigit():
        return name
    raise ValueError("this is no name of a dataset")


def _dtype(text: Any) -> Any:
    """Return a dtype by the text that was written for it; numpy itself reads expressions too."""
    if type(text) is str and _DTYPE.fullmatch(text):
        return _numpy().dtype(text)
    raise ValueError("this is no dtype")


def _restored(stored: Any, dtype: Any) -> Any:
    numpy = _numpy()
    if dtype.kind == "U":
        native = dtype.newbyteorder("=")
        _check_code_points(stored)
        if stored.shape[-1] * 4 != dtype.itemsize:
            raise ValueError("the text has another length")
        return numpy.frombuffer(stored.tobytes(), dtype=native).reshape(stored.shape[:-1]).astype(dtype)
    if dtype.kind in "mM":
        if stored.dtype != "i8":
            raise ValueError("these are no times")
        return stored.view(dtype.newbyteorder("=")).astype(dtype)
    if stored.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise ValueError("the dataset has another dtype")
    return stored.astype(dtype, copy=False)


def _text(stored: Any, dtype: Any) -> Any:
    """Return a scalar of text or bytes: not by an array, which has no text of length 0, and no zeros at its end."""
    if dtype.kind == "S":
        return _numpy().bytes_(stored.tobytes()[: dtype.itemsize])
    _check_code_points(stored)
    return _numpy().str_("".join(map(chr, stored.tolist()[: dtype.itemsize // 4])))


def _check_code_points(stored: Any) -> None:
    if stored.dtype != "u4" or (stored > sys.maxunicode).any():
        raise ValueError("these are no code points of text")
