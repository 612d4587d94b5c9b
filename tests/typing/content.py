"""What type checkers make of digests. This file is checked, not run."""

from pathlib import PurePath
from typing import assert_type

from satchel.content import Digest, Part, digest, register_hook, take_apart

assert_type(digest([1]), Digest)
assert_type(Digest("0" * 64), Digest)
text: str = digest(1)

whole = take_apart({"a": 1}, depth=2)
assert_type(whole, Part)
assert_type(whole.digest, Digest)
for part in whole.walk():
    assert_type(part.parts, tuple[Part, ...])

register_hook(PurePath, lambda path: path.parts)
register_hook(PurePath, lambda path: path.names)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownLambdaType, reportUnknownMemberType]
