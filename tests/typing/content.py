"""What type checkers make of digests. This file is checked, not run."""

from pathlib import PurePath
from typing import assert_type

from satchel.content import Digest, digest, register_hook

assert_type(digest([1]), Digest)
assert_type(Digest("0" * 64), Digest)
text: str = digest(1)

register_hook(PurePath, lambda path: path.parts)
register_hook(PurePath, lambda path: path.names)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownLambdaType, reportUnknownMemberType]
