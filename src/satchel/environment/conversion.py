"""Conversion of texts to the types of a schema, whose errors show nothing of a secret."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from ..codec import UNDECODABLE
from ..errors import ConfigurationError, InvalidSettingError, missing_extra

_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_OWN_WORDS = {"value_error", "assertion_error"}
"""Kinds of errors whose message is a validator's own, and may quote the value."""


def convert(text: str, kind: Any) -> tuple[Any, str]:
    """Return what a text means as a value of a type, and what is wrong with it, or an empty text.

    Args:
        text: JSON where the type is made of other types.
        kind: A type that pydantic validates. A bool is one of true, yes, on, 1, false, no, off, 0.

    Raises:
        ConfigurationError: pydantic does not know the type.
    """
    if kind is str:
        return text, ""
    if kind is bool:
        flag = _BOOLS.get(text.strip().lower())
        return flag, "" if flag is not None else f"it must be one of {', '.join(_BOOLS)}"
    adapter = _adapter(kind)
    value: Any = text
    if text.lstrip()[:1] in {"[", "{"}:
        try:
            value = json.loads(text)
        except UNDECODABLE:
            value = text
    from pydantic import ValidationError  # noqa: PLC0415  # loaded by now

    try:
        return adapter.validate_python(value), ""
    except ValidationError as error:
        return None, _describe(error)
    except Exception as error:  # a validator's own
        return None, f"its validator raised {type(error).__name__}"


def refusal(name: str, kind: Any, problem: str, *, secret: bool) -> InvalidSettingError:
    """Return the error for a variable that has no meaning as a value of a type.

    It is raised where no variable of any frame holds the text, since tracebacks can show those.
    """
    what = "a secret, so that nothing more is shown" if secret else problem
    return InvalidSettingError(f"{name} is no {getattr(kind, '__name__', kind)}: {what}")


def _describe(error: Any) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        ".".join([*map(str, one["loc"]), ""]) * bool(one["loc"])
        + ("a validator refused it" if one["type"] in _OWN_WORDS else one["msg"])
        for one in found[:3]
    )


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> Any:
    try:
        from pydantic import TypeAdapter  # noqa: PLC0415  # only such a type needs it
        from pydantic.errors import PydanticUserError  # noqa: PLC0415  # as above
    except ModuleNotFoundError as error:
        raise missing_extra("a type other than str and bool", "pydantic", error) from error
    try:
        return TypeAdapter(kind)
    except PydanticUserError:
        raise ConfigurationError(f"pydantic cannot validate the type {kind!r}") from None
