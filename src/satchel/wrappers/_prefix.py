"""Options of wrappers that are names, or become part of names."""

from __future__ import annotations

from ..errors import ConfigurationError, InvalidKeyError
from ..names import MAX_NAME_BYTES, check_name


def name_option(option: str, name: object) -> str:
    """Return an option that is a legal name, or refuse it with a `ConfigurationError`."""
    try:
        return check_name(name, option)
    except InvalidKeyError as error:
        raise ConfigurationError(str(error)) from None


def escaped_prefix(prefix: object, longest: int = MAX_NAME_BYTES) -> str:
    """Return what stands before names: the prefix and a `:`, which it has nowhere else.

    So that of two different prefixes none begins with the other, whatever is in them, and no names behind them meet.

    Args:
        prefix: What the caller gave. A `:` or `%` in it becomes `%3a` or `%25`.
        longest: How many bytes a name can have together with the prefix.

    Raises:
        ConfigurationError: It is no legal name, or leaves no room for one.
    """
    own = name_option("prefix", prefix).replace("%", "%25").replace(":", "%3a") + ":"
    size = len(own.encode())
    if size >= longest:
        raise ConfigurationError(f"prefix takes {size} bytes of the {longest} that a name can have, and leaves no room")
    return own
