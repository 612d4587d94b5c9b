"""The tree of errors, and that copies and pickles keep what an error says."""

import copy
import inspect
import pickle
import re

import pytest

import satchel
from satchel import errors
from satchel.errors import (
    BatchError,
    CircuitOpenError,
    IntegrityError,
    KeyMissingError,
    MissingExtraError,
    SatchelError,
    StoreClosedError,
    StoreError,
    StoreTimeoutError,
    StoreUnavailableError,
)

CLASSES = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SatchelError)}


def drawn_tree():
    """Return each class in the docstring's tree with its parent and the built-in it also is."""
    tree = re.search(r"```text\n(.*?)```", errors.__doc__, re.DOTALL)[1]
    parents, found = [], {}
    for line in tree.splitlines():
        depth = re.match(r"[│├└─ ]*", line).end() // 3
        names = re.findall(r"\w+Error\b", line.partition("(")[0])
        also = re.search(r"\(also (\w+)\)", line)
        for name in names:
            found[name] = (parents[depth - 1] if depth else "Exception", also[1] if also else None)
        parents[depth:] = [names[-1]]
    return found


def test_the_tree_is_as_drawn():
    drawn = drawn_tree()
    assert set(drawn) == set(CLASSES)
    for name, (parent, also) in drawn.items():
        assert CLASSES[name].__bases__[0].__name__ == parent
        others = [base.__name__ for base in CLASSES[name].__bases__[1:]]
        assert others == ([also] if also else []), name


def test_every_error_is_exported_and_documented():
    for name, kind in CLASSES.items():
        assert getattr(satchel, name) is kind
        assert kind.__doc__


EXAMPLES = [
    *[kind("what happened") for name, kind in CLASSES.items() if name not in ("BatchError", "MissingExtraError")],
    MissingExtraError("install it", name="redis"),
    StoreError("failed", store="S()", operation="put", collection="c", key="k", retryable=True),
    BatchError("part", failed={"k": IntegrityError("bad")}, store="S()", operation="put_many", collection="c"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", ["copy", "pickle", "again"])
def test_copies_keep_everything(error, way):
    ways = {"copy": copy.copy, "pickle": lambda one: pickle.loads(pickle.dumps(one)), "again": SatchelError.again}
    twin = ways[way](error)
    assert twin is not error
    assert type(twin) is type(error)
    assert (str(twin), twin.args) == (str(error), error.args)
    for name in ("store", "operation", "collection", "key", "retryable", "name", "msg"):
        assert getattr(twin, name, None) == getattr(error, name, None)
    if isinstance(error, BatchError):
        assert {key: str(failure) for key, failure in twin.failed.items()} == {"k": "bad"}


def test_again_chains_the_cause_and_shares_no_traceback_and_no_notes():
    cause = OSError("no route")
    error = StoreError("failed")
    error.__cause__ = cause
    error.add_note("a note")
    twin = error.again()
    assert twin.__cause__ is cause
    assert twin.__traceback__ is None
    twin.add_note("its own")
    assert error.__notes__ == ["a note"]
    alone = StoreError("failed")
    assert alone.again().__cause__ is alone


def test_a_missing_key_reads_as_a_sentence():
    assert str(KeyMissingError("no entry 'k' in 'c'")) == "no entry 'k' in 'c'"
    with pytest.raises(KeyError):
        raise KeyMissingError("gone")


def test_what_may_be_tried_again_says_so():
    assert StoreUnavailableError("down").retryable
    assert CircuitOpenError("open").retryable
    assert StoreTimeoutError("slow").retryable
    assert not StoreError("failed").retryable
    assert not StoreClosedError("closed").retryable
    assert StoreError("failed", retryable=True).retryable
    assert not StoreUnavailableError("down", retryable=False).retryable


@pytest.mark.parametrize(
    ("failed", "retryable"),
    [
        ([StoreUnavailableError("down")], True),
        ([StoreUnavailableError("down"), StoreTimeoutError("slow")], True),
        ([StoreUnavailableError("down"), StoreError("failed")], False),
        ([StoreUnavailableError("down"), IntegrityError("bad")], False),
    ],
)
def test_a_batch_may_be_tried_again_when_all_that_failed_may(failed, retryable):
    assert BatchError("part", failed=dict(zip("ab", failed, strict=False))).retryable is retryable
