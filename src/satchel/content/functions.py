"""Rules for functions: by their names, their source, and the values that they carry.

Bytecode differs from one Python to the next, so it is the text of a function that counts, without its decorators.
"""

from __future__ import annotations

import ast
import linecache
import time
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from ..errors import DigestError
from .walk import Rule, Walk, digest_of_name, digest_of_text, digest_of_type

_STARTED = time.time()


def _function(value: FunctionType, walk: Walk) -> bytes:
    return walk.descend(value, _message)


def _message(value: FunctionType, walk: Walk) -> bytes:
    parts = (
        digest_of_name(value.__module__ or ""),
        digest_of_name(value.__qualname__),
        digest_of_text(source_of(value)),
        walk.digest(value.__defaults__),
        walk.digest(value.__kwdefaults__),
        walk.digest(closure_of(value)),
    )
    return b"function:" + b"".join(parts)


def closure_of(function: FunctionType) -> dict[str, object]:
    """Return the values that a function has from the functions around it, by name, without itself."""
    closure: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if content is not function:  # which calls itself
            closure[name] = content
    return closure


def source_of(function: FunctionType) -> str:
    """Return the text of a function, from `def`, `async def` or `lambda` to its end.

    Raises:
        DigestError: It cannot be read, or it is not the text of what runs.
    """
    code = function.__code__
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename, function.__globals__))
    return _source(code.co_filename, code, text)


@lru_cache(maxsize=1024)
def _source(file: str, code: CodeType, text: str) -> str:
    found = {ast.get_source_segment(text, node) for node in _nodes(text) if _made(node, code)}
    if len(found) > 1:
        raise DigestError(f"line {code.co_firstlineno} has several lambdas; use def, or one lambda a line")
    if not found or _is_stale(file, code, text):
        raise DigestError(
            f"the source of the function {code.co_name} cannot be read, or was changed after it was imported; "
            "give a function that is defined in a file, and start Python anew",
        )
    return str(found.pop())


@lru_cache(maxsize=8)
def _nodes(text: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda]:
    try:
        tree = ast.parse(text)
    except SyntaxError:  # the file is being changed
        return []
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))]


def _made(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, code: CodeType) -> bool:
    """Return whether a function with this code may come from a node."""
    if isinstance(node, ast.Lambda):
        names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        known = list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
        return (code.co_name, code.co_firstlineno, known) == ("<lambda>", node.lineno, names)
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return (code.co_name, code.co_firstlineno) == (node.name, first)


def _is_stale(file: str, code: CodeType, text: str) -> bool:
    """Return whether a file was changed since this process began, and no longer has a function as it runs."""
    try:
        if Path(file).stat().st_mtime <= _STARTED:
            return False
    except OSError:  # a cell of a notebook, or a module in an archive
        return False
    return code not in set(_codes(compile(text, file, "exec", dont_inherit=True)))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _method(value: MethodType, walk: Walk) -> bytes:
    return walk.descend(
        value, lambda method, _: b"method:" + walk.digest(method.__func__) + walk.digest(method.__self__)
    )


def _builtin(value: BuiltinFunctionType, walk: Walk) -> bytes:
    owner = value.__self__
    if owner is None or isinstance(owner, ModuleType):
        return sha256(
            b"builtin:" + digest_of_name(value.__module__ or "") + digest_of_name(value.__qualname__)
        ).digest()
    return walk.descend(value, lambda method, _: b"method:" + digest_of_name(method.__name__) + walk.digest(owner))


def _descriptor(value: Any, _: Walk) -> bytes:
    return sha256(b"builtin:" + digest_of_type(value.__objclass__) + digest_of_name(value.__name__)).digest()


FUNCTIONS: dict[type, Rule] = {
    FunctionType: _function,
    MethodType: _method,
    BuiltinFunctionType: _builtin,
    MethodWrapperType: _builtin,
    MethodDescriptorType: _descriptor,
    WrapperDescriptorType: _descriptor,
    ClassMethodDescriptorType: _descriptor,
}
