"""Models: convert the values of a typed collection to plain JSON, and back, through msgspec or pydantic.

pydantic validates its own types, msgspec everything else. Either way a value is stored as plain JSON, under the Python
names of the fields. No message made here holds a value: a key of a `dict` is shown as `[...]`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from gc import get_referents
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    Protocol,
    get_args,
    get_origin,
)

import msgspec

from ._differences import (
    Difference,
    changed_type,
    fields_of,
    first_difference,
    first_unstorable,
    is_typeddict,
    without_form,
)
from .codec import MAX_DEPTH, MOST_REPEATED
from .errors import (
    ConfigurationError,
    MissingExtraError,
    ModelMismatchError,
    SatchelError,
    SerializationError,
    ValueTooLargeError,
)

_MISFITS = (ValueError, TypeError, ArithmeticError, RecursionError)
"""Errors of msgspec and pydantic for a value that does not fit; any other error comes from the model."""

_LARGE = 8192  # number of objects from which validating a value delays the event loop
_MANY = 1 << 22  # number from which those that are held more than once are counted, which takes some seconds
_FEW = 16  # objects that are looked into together
_MOST_LAYERS = 4 * MAX_DEPTH  # more than a value that can be stored has, with what refers to attributes between them
_NODE_SIZE = 8  # rough bytes of an object in JSON
_SAFE_MESSAGE = re.compile(
    r"Expected `[^`]+`(, got `[^`]+`| [<>]=? [-\d.]+| of length [<>=]* ?\d+(, got \d+)?)?"
    r"|Object missing required field `[^`]+`"
)


class Model(Protocol):
    """Validator of the values of one type."""

    @property
    def load(self) -> Callable[[Any], Any]:
        """Function that makes a value of the model from plain JSON; raises any exception if it does not fit."""
        ...

    @property
    def dump(self) -> Callable[[Any], Any]:
        """Function that makes plain JSON from a value of the model; raises any exception if it does not fit."""
        ...

    def explain(self, error: Exception) -> str:
        """Return where a value does not fit and why, without any part of the value."""
        ...

    def dump_part(self, part: Any) -> Any:
        """Make plain JSON from a part of a value, of any type; raise any exception if that is impossible."""
        ...


def model_for(kind: Any) -> Model | None:
    """Return the model that validates a type; None for `Any`, which accepts whatever the store accepts.

    Raises:
        ConfigurationError: It is not a type, or not one that msgspec or pydantic can validate.
        MissingExtraError: It needs pydantic, which is not installed.
    """
    if kind is None or kind is Any:
        return None
    if kind is bytes:
        return _Bytes()
    if not (isinstance(kind, (type, NewType)) or get_origin(kind) or hasattr(kind, "__value__")):
        raise ConfigurationError(
            f"model must be a type, such as a class or list[int]; got an instance of {type(kind).__name__}"
        )
    try:
        parts = list(_parts(kind))
        if not any(_is_pydantic(part) for part in parts) and _fits_msgspec(kind, parts):
            return _Msgspec(kind, parts)
        return _Pydantic(kind, parts)
    except SatchelError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"model {name_of(kind)} cannot be validated by msgspec or pydantic: {reason}"
        ) from error


def name_of(kind: Any) -> str:
    """Return the name of a type for messages."""
    if get_origin(kind) is Annotated:
        kind = kind.__origin__
    return kind.__qualname__ if isinstance(kind, type) and not get_args(kind) else repr(kind).replace("typing.", "")


def dump_checked(kind: Any, model: Model, value: Any) -> Any:
    """Return a value as plain JSON, after checking that it comes back equal.

    The messages continue the caller's "the value".

    Raises:
        ModelMismatchError: The value does not fit the model.
        SerializationError: It fits, but would come back different.
    """
    is_class = isinstance(kind, type) and not is_typeddict(kind) and kind.__module__ != "builtins"
    if is_class and not isinstance(value, kind):
        raise ModelMismatchError(f"is of type {type(value).__name__}, not {name_of(kind)}")
    plain: Any = msgspec.UNSET
    refused: SatchelError | None
    try:
        plain = model.dump(value)
        loaded = model.load(plain)
    except Exception as error:  # a model's own checks may raise anything
        refused = _refusal(kind, model, value, error, is_dumped=plain is not msgspec.UNSET)
    else:
        if loaded == value and type(loaded) is type(value):
            return plain
        refused = _changed(kind, loaded, value)
        if refused is None:
            return plain
    raise refused  # outside of the handler: the error has the value in it


def _changed(kind: Any, loaded: Any, value: Any) -> SatchelError | None:
    """Return the error for a value that comes back changed; None if it counts as equal."""
    is_odd_float = type(value) is float and not math.isfinite(value)
    if type(loaded) is not type(value) and not is_odd_float and not (type(value) is int and type(loaded) is float):
        return ModelMismatchError(changed_type(loaded, value))
    try:
        different = None if loaded == value else first_difference(loaded, value, _names(kind))
    except RecursionError:
        different = Difference("$", "it is nested too deep to be compared; flatten it")
    return None if different is None else SerializationError(f"would not come back from JSON as it is at {different}")


def _refusal(kind: Any, model: Model, value: Any, error: Exception, *, is_dumped: bool) -> SatchelError:
    """Return the error for a value that the model cannot dump, or cannot load again."""
    problem = model.explain(error)
    different = None
    if is_dumped:
        different = first_unstorable(value, _names(kind))
    elif isinstance(error, RecursionError):
        different = Difference("$", "it is nested too deep, or holds itself")
    elif isinstance(error, _MISFITS) and kind is not bytes:
        different = without_form(value, _names(kind), model.dump_part)
    if different is None:
        return ModelMismatchError(f"does not fit {name_of(kind)} at {problem}")
    return SerializationError(f"cannot be stored as JSON at {different}")


def _names(kind: Any) -> set[str]:
    """Return the names of all fields in a type."""
    return {name for part in _parts(kind) for name in fields_of(part)}


def is_large(plain: Any) -> bool:
    """Return whether plain JSON is large enough to be validated in a worker thread.

    It counts objects, layer by layer, as the garbage collector sees them: nothing else is as fast.
    """
    layer = get_referents(plain)
    count = len(layer)
    while layer and count < _LARGE:
        layer = get_referents(*layer)
        count += len(layer)
    return count >= _LARGE


def is_large_object(value: object) -> bool:
    """Say the same of any value. Objects refer to their classes, which do not count."""
    return _has_objects(value, _LARGE)


def check_repeated_parts(value: object) -> None:
    """Raise if a large value holds the same parts so often that JSON of it would take all memory, or never end.

    The message continues the caller's "the value".

    Raises:
        ValueTooLargeError: They would add more than `MOST_REPEATED` bytes.
    """
    if _has_objects(value, _MANY) and _repeated_size(value) > MOST_REPEATED:
        raise ValueTooLargeError(
            f"holds the same parts so often that they would add more than {MOST_REPEATED:,} bytes when it is encoded; "
            "put each of them once, under a key of its own"
        )


def _has_objects(value: object, most: int) -> bool:
    """Return whether a value has at least so many objects, each counted as often as it is held."""
    count, layer = 0, [value]
    for _ in range(_MOST_LAYERS):  # one that holds itself has no end
        inner: list[object] = []
        for start in range(0, len(layer), _FEW):  # each of a whole layer may hold the same large list
            inner += [item for item in get_referents(*layer[start : start + _FEW]) if not isinstance(item, type)]
            if count + len(inner) >= most:
                return True
        count += len(inner)
        layer = inner
    return False


def _repeated_size(value: object) -> int:
    """Return how many bytes, roughly, parts would add to the JSON of a value that it holds more than once."""
    known: dict[int, int] = {}
    own = 0

    def size(part: Any, depth: int) -> int:
        nonlocal own
        known[id(part)] = 0  # for one that holds itself
        parts = _stored_in(part) if depth else ()
        total = here = _NODE_SIZE + (len(part) if isinstance(part, (str, bytes)) else 0)
        for inner in parts:
            found = known.get(id(inner))
            total += size(inner, depth - 1) if found is None else found
        known[id(part)] = total
        own += here
        return total

    return size(value, MAX_DEPTH) - own


def _stored_in(part: Any) -> Iterable[Any]:
    if isinstance(part, dict):
        return part.values()
    if isinstance(part, (list, tuple, set, frozenset)):
        return part
    names = _field_names(type(part))  # type: ignore[arg-type]  # a class can be hashed
    extra = getattr(part, "__pydantic_extra__", None) or {}
    return [*(getattr(part, name, None) for name in names), *extra.values()]


@lru_cache(maxsize=1000)
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(fields_of(kind))


class _Bytes:
    """Model for `bytes`, which stores keep without encoding."""

    def load(self, value: Any) -> Any:
        if type(value) is not bytes:
            raise TypeError(f"expected bytes, got {type(value).__name__}")
        return value

    dump = load

    dump_part = load

    def explain(self, error: Exception) -> str:
        return f"$: {error}"


class _Msgspec:
    """Model validated with msgspec."""

    def __init__(self, kind: Any, parts: list[Any]) -> None:
        convert = msgspec.convert
        mappings = [get_args(part) for part in parts if _is_mapping(get_origin(part))]
        if all(not args or args[0] in (str, Any) for args in mappings):
            self.load = lambda value: convert(value, kind)
        else:
            self.load = partial(convert, type=kind, str_keys=True)
        encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
        self.dump = lambda value: decode(encode(value))
        self.dump_part = self.dump

    def explain(self, error: Exception) -> str:
        if not isinstance(error, msgspec.ValidationError):
            return _own(error) or "$: it contains something that JSON cannot represent"
        message, _, path = str(error).rpartition(" - at `")
        if not message:
            message, path = path, "$`"
        if not _SAFE_MESSAGE.fullmatch(message):
            message = "the model refuses it"
        return f"{path.replace('`', '')}: {message.replace('`', '')}"


class _Pydantic:
    """Model validated with pydantic."""

    def __init__(self, kind: Any, parts: list[Any]) -> None:
        try:
            import pydantic  # noqa: PLC0415  # it is optional
            import pydantic_core  # noqa: PLC0415  # as above
        except ImportError as error:
            raise MissingExtraError(
                f'model {name_of(kind)} takes pydantic to validate: pip install "satchel[pydantic]"'
            ) from error
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
        validate, validate_json = adapter.validator.validate_python, adapter.validator.validate_json
        self.load: Callable[[Any], Any] = validate
        if _has(adapter.core_schema, "strict") or _has(adapter.core_schema, "val_json_bytes"):
            # A strict model takes a date from JSON text, but not from a str; bytes are read from base64 there alone.
            encode = msgspec.json.Encoder().encode
            self.load = lambda value: validate_json(encode(value), by_alias=False, by_name=True)
        elif _has(adapter.core_schema, "validation_alias"):
            self.load = lambda value: validate(value, by_alias=False, by_name=True)
        self.dump = partial(adapter.dump_python, mode="json", by_alias=False, round_trip=True, warnings=False)
        self._error = pydantic.ValidationError
        self._names = {name for part in parts for name in fields_of(part)}

        self._to_json = pydantic_core.to_jsonable_python

    def dump_part(self, part: Any) -> Any:
        serializer = getattr(type(part), "__pydantic_serializer__", None)
        if serializer is None:
            return self._to_json(part)
        return serializer.to_python(part, mode="json", by_alias=False, round_trip=True, warnings=False)

    def explain(self, error: Exception) -> str:
        if not isinstance(error, self._error):
            return _own(error) or "$: it contains something that the model cannot turn into JSON"
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"${''.join(map(self._step, first['loc']))}: {first['type']}"

    def _step(self, step: int | str) -> str:
        if isinstance(step, int):
            return f"[{step}]"
        return f".{step}" if step in self._names else "[...]"


def _own(error: Exception) -> str | None:
    """Explain an error that only a check of the model itself can have raised, without its text."""
    return None if isinstance(error, _MISFITS) else f"$: the model raised {type(error).__name__}"


def _parts(kind: Any) -> Iterator[Any]:
    """Iterate over a type and all the types and annotations in it, each once."""
    seen: dict[int, Any] = {}
    todo = [kind]
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        origin = get_origin(part)
        if isinstance(origin, type) and origin not in (Annotated, UnionType):
            todo.append(origin)
        if origin is not Literal:
            todo.extend(get_args(part))
        todo.extend(getattr(part, name) for name in ("__value__", "__supertype__") if hasattr(part, name))
        todo.extend(fields_of(part).values())


def _is_pydantic(part: Any) -> bool:
    """Return whether a part has a meaning for pydantic that msgspec would ignore."""
    return (
        hasattr(part, "__get_pydantic_core_schema__")
        or hasattr(part, "__pydantic_validator__")
        or type(part).__module__.partition(".")[0] in ("pydantic", "annotated_types")
    )


def _fits_msgspec(kind: Any, parts: list[Any]) -> bool:
    try:
        msgspec.json.Decoder(kind)
    except TypeError:
        return False
    classes = [part for part in parts if isinstance(part, type) and part is not msgspec.UnsetType]
    return not any(isinstance(msgspec.inspect.type_info(part), msgspec.inspect.CustomType) for part in classes)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _has(schema: Any, name: str) -> bool:
    """Return whether a pydantic schema has something anywhere in it."""
    if isinstance(schema, dict):
        return bool(schema.get(name)) or any(_has(part, name) for part in schema.values())
    return isinstance(schema, (list, tuple)) and any(_has(part, name) for part in schema)
