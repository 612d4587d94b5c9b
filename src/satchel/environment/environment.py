"""`Environment`: the settings of a program, with modes, types and masked secrets."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypeVar, cast

from .._checks import check_bool, check_choice
from ..collection import Collection
from ..errors import ConfigurationError, MissingSettingError, SettingError, safe_repr
from .conversion import convert, refusal
from .interpolation import escaped, expand, references
from .modes import Mode, parse_mode, prefix, spellings
from .settings import make_settings
from .sources import CHANGES, Source, as_text, check_variable, flattened, read_config, read_json, source_of
from .views import MASK, Explanation, Variables, is_secret_name
from .writing import write_env

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

SECRETS = ("*_KEY", "*TOKEN*", "*SECRET*", "*PASSWORD*", "*CREDENTIAL*")
"""Patterns of the names of secrets."""


@dataclass(frozen=True)
class Snapshot:
    """State of an environment, to go back to.

    Attributes:
        mode: The mode that it was in.
    """

    mode: StrEnum | None
    _sources: tuple[Source, ...]
    _marks: Mapping[str, frozenset[StrEnum]]
    _system: Mapping[str, str | None]

    def __repr__(self) -> str:
        return f"Snapshot(mode={self.mode and self.mode.value!r}, sources={[source.name for source in self._sources]})"


@dataclass(frozen=True)
class _Found:
    source: Source
    spelling: str

    @property
    def text(self) -> str:
        return self.source.texts[self.spelling]


_overrides: ContextVar[tuple[tuple[Environment, StrEnum | None], ...]] = ContextVar("_overrides", default=())


class Environment(Mapping[str, Any]):
    """Mapping of a program's settings: variables from several sources, of which a later one wins.

    Within one source `DEV_PORT` beats `PORT` in `Mode.DEV`; across sources it does not. Sources are read once, here.
    A text of `os.environ` is taken as it is; in all others, `${NAME}` and `${NAME:-default}` stand for other variables
    and `$$` for a dollar.

    Args:
        *sources: Paths of `.env` files (one that is not there is empty), mappings, `os.environ`.
        mode: The mode, or its value; None for none.
        schema: The type of each variable that is no text. A bool is one of true, yes, on, 1, false, no, off, 0; other
            types are pydantic's.
        parent: Where variables are looked for that are not here.
        interpolate: Let `$` have a meaning.
        secrets: Patterns of the names, in capitals, whose values are masked wherever they are shown. A variable that
            refers to a secret is one.

    Raises:
        ConfigurationError: An argument is of the wrong kind.
        ModeError: There is no such mode.
        InvalidSettingError: A source cannot be read.
    """

    def __init__(
        self,
        *sources: str | Path | Mapping[str, Any],
        mode: StrEnum | str | None = None,
        schema: Mapping[str, Any] | None = None,
        parent: Environment | None = None,
        interpolate: bool = True,
        secrets: Iterable[str] = SECRETS,
    ) -> None:
        check_bool("interpolate", interpolate)
        if isinstance(secrets, str) or not isinstance(secrets, Iterable):
            got = type(secrets).__name__
            raise ConfigurationError(f"secrets must be several patterns, such as a tuple of texts; got one {got}")
        if schema is not None:
            _check_mapping("schema", schema)
        if parent is not None and not isinstance(parent, Environment):
            raise ConfigurationError(f"parent must be an Environment or None, got {safe_repr(parent)}")
        self._known: type[StrEnum] = type(mode) if isinstance(mode, StrEnum) else Mode
        self._mode = parse_mode(mode, self._known)
        self._schema = dict(schema or {})
        self._parent = parent
        self._interpolate = interpolate
        self._patterns = tuple(secrets)
        self._sources: tuple[Source, ...] = tuple(map(source_of, sources))
        self._marks: dict[str, frozenset[StrEnum]] = {}
        self._system: dict[str, str | None] = {}
        """What `os.environ` had, before a change, of the variables that were changed there."""
        self._snapshots: list[Snapshot] = []

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any], **options: Any) -> Self:
        """Make an environment of nested mappings: `{"db": {"host": "x"}}` has `DB_HOST`; for options see the class."""
        _check_mapping("tree", tree)
        return cls._of(Source("a mapping", flattened(tree)), options)

    @classmethod
    def from_json(cls, path: str | Path, **options: Any) -> Self:
        """Make an environment of the object in a JSON file, as `from_dict` does of mappings.

        Raises:
            InvalidSettingError: The file cannot be read, or holds something else.
        """
        return cls._of(read_json(Path(path)), options)

    @classmethod
    def from_config(cls, path: str | Path, **options: Any) -> Self:
        """Make an environment of a TOML file, or of an INI file whose name ends in `.ini` or `.cfg`.

        Raises:
            InvalidSettingError: The file cannot be read, or holds something else.
        """
        return cls._of(read_config(Path(path)), options)

    @classmethod
    async def from_collection(cls, collection: Collection[Any], **options: Any) -> Self:
        """Make an environment of the entries of a collection, whose keys are the names.

        Raises:
            InvalidSettingError: A value is no text, number, bool, None or list of these.
        """
        texts = {check_variable(key): as_text(key, value) async for key, value in collection.items()}
        return cls._of(Source("a collection", texts), options)

    @classmethod
    def _of(cls, source: Source, options: Mapping[str, Any]) -> Self:
        made = cls(**options)
        made._sources = (source,)
        return made

    async def to_collection(self, collection: Collection[Any]) -> None:
        """Put every variable into a collection, as text, so that `from_collection` makes an equal environment of it.

        Secrets are put too: have the store encrypt them.
        """
        await collection.put_many({name: escaped(text) for name, text in self._texts().items()})

    # Reading.

    @property
    def mode(self) -> StrEnum | None:
        """The mode that holds for the running task."""
        for environment, mode in reversed(_overrides.get()):
            if environment is self:
                return mode
        return self._mode

    def __getitem__(self, name: str) -> Any:
        """Return the value of a variable.

        Raises:
            MissingSettingError: It is not set.
            InvalidSettingError: It does not fit its type, or refers to a variable that is not set.
            SettingCycleError: It refers to itself.
        """
        found = self._value(name, self.mode)
        if found is None:
            looked = ", ".join(source.name for source in self._sources) or "no source"
            raise MissingSettingError(f"{name} is not set; looked in {looked}")
        return found[0]

    def get(self, name: str, default: Any = None, mode: StrEnum | str | None = None) -> Any:
        """Return the value of a variable, or the default where it is not set.

        Args:
            name: The variable.
            default: What to return where it is not set, as it is.
            mode: The mode to ask for; None is the current one.

        Raises:
            ModeError: There is no such mode.
            InvalidSettingError: It does not fit its type, or refers to a variable that is not set.
            SettingCycleError: It refers to itself.
        """
        found = self._value(name, self.mode if mode is None else parse_mode(mode, self._known))
        return default if found is None else found[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name, self.mode) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names(self.mode))

    def __len__(self) -> int:
        return len(self._names(self.mode))

    def __repr__(self) -> str:
        sources = ", ".join(source.name for source in self._sources)
        mode = self.mode
        return f"Environment({sources}; mode={mode and mode.value!r}, {len(self)} variables)"

    @property
    def variables(self) -> Variables:
        """The values of all variables; its `repr` masks those of secrets."""
        return self._select(lambda _: True)

    @property
    def secrets(self) -> Variables:
        """The values of the secrets; its `repr` masks them."""
        return self._select(self._is_secret)

    @property
    def non_secrets(self) -> Variables:
        """The values of all variables that are no secrets."""
        return self._select(lambda name: not self._is_secret(name))

    @property
    def mode_variables(self) -> Variables:
        """The values of the variables that are there, or different, because of the mode."""
        mode = self.mode

        def depends(name: str) -> bool:
            found = self._find(name, mode)
            return name in self._marks or (found is not None and found.spelling != name)

        return self._select(depends)

    @property
    def mode_mappings(self) -> dict[str, frozenset[StrEnum]]:
        """The modes of each variable that `mark_as_mode_var` was called for."""
        return dict(self._marks)

    def filter(self, *patterns: str, search_in: Literal["names", "values", "both"] = "names") -> dict[str, str]:
        """Return the variables, as texts, of which the name or the value matches a pattern such as `DB_*`.

        Secrets are masked, and their values match nothing.
        """
        check_choice("search_in", search_in, {"names", "values", "both"})

        def chosen(name: str, text: str) -> bool:
            asked = [name] * (search_in != "values") + [text] * (search_in != "names" and not self._is_secret(name))
            return any(fnmatchcase(word, pattern) for word in asked for pattern in patterns)

        return {name: self._shown(name, text) for name, text in self._texts().items() if chosen(name, text)}

    def filter_with_predicate(self, predicate: Callable[[str, str], bool]) -> dict[str, str]:
        """Return the variables, as texts, for whose name and text a function returns True; it sees secrets masked."""
        shown = {name: self._shown(name, text) for name, text in self._texts().items()}
        return {name: text for name, text in shown.items() if predicate(name, text)}

    def explain(self, name: str) -> Explanation:
        """Tell where the value of a variable comes from."""
        places = list(self._places(name, self.mode))
        if not places:
            inherited = (
                self._parent.explain(name) if self._parent is not None and self._is_seen(name, self.mode) else None
            )
            return inherited or Explanation(name, None, None, None)
        value, problem = None, None
        try:
            text = self._text(name, self.mode)
            value = None if text is None else self._shown(name, text)
        except SettingError as error:
            problem = str(error)
        first, others = places[0], tuple((place.source.name, place.spelling) for place in places[1:])
        return Explanation(name, value, first.source.name, first.spelling, others, problem)

    def format_debug(self) -> str:
        """Return a table of all variables with their sources, for people; secrets are masked."""
        lines = [repr(self)]
        for name in self:
            told = self.explain(name)
            value = f"({told.problem})" if told.problem else told.value
            spelled = "" if told.spelling in {name, None} else f" as {told.spelling}"
            lines.append(f"{name} = {value}    [{told.source}{spelled}]")
        return "\n".join(lines)

    def to_settings(self, settings: type[S]) -> S:
        """Make an object of a class of settings: a dataclass, or a pydantic model.

        The variable of a field is its name in capitals. A field without one gets its default.

        Raises:
            ConfigurationError: It is not such a class.
            MissingSettingError: A field has neither a variable nor a default.
            InvalidSettingError: A variable does not fit its field, or the class refuses them together.
        """

        def look_up(name: str) -> tuple[str, bool] | None:
            text = self._text(name, self.mode)
            return None if text is None else (text, self._is_secret(name))

        return make_settings(settings, look_up)

    # Changing.

    def set(
        self,
        variables: Mapping[str, Any],
        *,
        modes: Iterable[StrEnum | str] | None = None,
        system_env: bool = False,
    ) -> None:
        """Set variables, over all sources.

        Args:
            variables: Their values.
            modes: Set them for these modes alone, as `DEV_PORT` does for `Mode.DEV`.
            system_env: Set them in `os.environ` too, for programs that are started.

        Raises:
            InvalidSettingError: A name or a value cannot be one; nothing was set.
            ModeError: There is no such mode.
        """
        _check_mapping("variables", variables)
        texts = {check_variable(name): as_text(name, value) for name, value in variables.items()}
        named = self._spelled(texts, modes)
        kept = list(self._sources)
        if not kept or kept[-1].name != CHANGES:
            kept.append(Source(CHANGES, {}))
        kept[-1] = kept[-1].with_texts({spelling: texts[name] for spelling, name in named})
        self._sources = tuple(kept)
        if system_env:
            for spelling, name in named:
                self._change_system(spelling, texts[name])

    def delete(self, name: str, *, modes: Iterable[StrEnum | str] | None = None) -> bool:
        """Remove a variable from every source of this environment; say whether it was there.

        What a parent has of it shows again. `os.environ` loses what `set(system_env=True)` put there.

        Args:
            name: The variable.
            modes: Remove what these modes have alone.
        """
        gone = {spelling for spelling, _ in self._spelled([name], modes)}
        was_there = any(gone & source.texts.keys() for source in self._sources)
        self._sources = tuple(source.without(gone) for source in self._sources)
        for spelling in gone & self._system.keys():
            self._change_system(spelling, None)
        return was_there

    def mark_as_mode_var(self, name: str, mode: StrEnum | str) -> None:
        """Let a variable be there in a mode alone, and in others that it is marked for."""
        parsed = parse_mode(mode, self._known)
        if parsed is not None:
            self._marks[check_variable(name)] = self._marks.get(name, frozenset()) | {parsed}

    @contextmanager
    def with_mode(self, mode: StrEnum | str | None) -> Iterator[Self]:
        """Let another mode hold in a block, for the task that runs it and those that it starts."""
        token = _overrides.set((*_overrides.get(), (self, parse_mode(mode, self._known))))
        try:
            yield self
        finally:
            _overrides.reset(token)

    def mark(self, mode: StrEnum | str | None) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Return a decorator that lets a mode hold while a function runs, also an `async def` one."""
        parsed = parse_mode(mode, self._known)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if inspect.iscoroutinefunction(function):

                @wraps(function)
                async def in_mode(*args: P.args, **kwargs: P.kwargs) -> Any:
                    with self.with_mode(parsed):
                        return await cast("Any", function)(*args, **kwargs)

                return cast("Callable[P, R]", in_mode)

            @wraps(function)
            def in_mode_at_once(*args: P.args, **kwargs: P.kwargs) -> R:
                with self.with_mode(parsed):
                    return function(*args, **kwargs)

            return in_mode_at_once

        return decorate

    def snapshot(self) -> Snapshot:
        """Keep the state: sources, mode, marks, and what was set in `os.environ`."""
        system = {name: os.environ.get(name) for name in self._system}
        self._snapshots.append(Snapshot(self._mode, self._sources, dict(self._marks), system))
        return self._snapshots[-1]

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """All snapshots, the oldest first."""
        return tuple(self._snapshots)

    def rollback(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot.

        Raises:
            ConfigurationError: It is of another environment.
        """
        if not any(own is snapshot for own in self._snapshots):
            raise ConfigurationError("this snapshot is not one of this environment")
        self._mode, self._sources, self._marks = snapshot.mode, snapshot._sources, dict(snapshot._marks)
        for name, before in self._system.items():
            _set_system(name, snapshot._system.get(name, before))

    def write_env(self, path: str | Path, *, append: bool = False) -> None:
        """Write all variables to a `.env` file, from which an environment in the same mode reads them back equal.

        A new file can be read by its owner alone, since secrets are written as they are. A failure leaves the old one.

        Args:
            path: The file.
            append: Keep what is in the file, where these variables then win.

        Raises:
            InvalidSettingError: A name cannot stand in such a file, or the file cannot be written; nothing was written.
        """
        write_env(Path(path), self._texts(), append=append)

    # Looking up.

    def _spelled(self, names: Iterable[str], modes: Iterable[StrEnum | str] | None) -> list[tuple[str, str]]:
        if modes is None:
            return [(name, name) for name in names]
        if isinstance(modes, str):
            raise ConfigurationError("modes must be several modes, such as a list; got one")
        parsed = [parse_mode(mode, self._known) for mode in modes]
        return [(prefix(mode) + name, name) for name in names for mode in parsed if mode is not None]

    def _is_seen(self, name: str, mode: StrEnum | None) -> bool:
        return name not in self._marks or mode in self._marks[name]

    def _places(self, name: str, mode: StrEnum | None) -> Iterator[_Found]:
        if self._is_seen(name, mode):
            for source in reversed(self._sources):
                for spelling in spellings(name, mode):
                    if spelling in source.texts:
                        yield _Found(source, spelling)

    def _find(self, name: str, mode: StrEnum | None) -> _Found | None:
        found = next(self._places(name, mode), None)
        if found is None and self._parent is not None and self._is_seen(name, mode):
            return self._parent._find(name, mode)
        return found

    def _text(self, name: str, mode: StrEnum | None, trail: tuple[str, ...] = ()) -> str | None:
        found = self._find(name, mode)
        if found is None or found.source.literal or not self._interpolate:
            return None if found is None else found.text
        return expand(name, found.text, lambda other, names: self._text(other, mode, names), trail)

    def _value(self, name: str, mode: StrEnum | None) -> tuple[Any] | None:
        text = self._text(name, mode)
        if text is None:
            return None
        kind = self._kind(name)
        value, problem = convert(text, kind)
        if problem:
            del text, value
            raise refusal(name, kind, problem, secret=self._is_secret(name))
        return (value,)

    def _kind(self, name: str) -> Any:
        if name in self._schema or self._parent is None:
            return self._schema.get(name, str)
        return self._parent._kind(name)

    def _names(self, mode: StrEnum | None) -> dict[str, None]:
        names = self._parent._names(mode) if self._parent is not None else {}
        start = None if mode is None else prefix(mode)
        for source in self._sources:
            for spelling in source.texts:
                other = start is not None and spelling.startswith(start) and spelling != start
                names[spelling[len(start or "") :] if other else spelling] = None
        return {name: None for name in names if self._is_seen(name, mode)}

    def _texts(self) -> dict[str, str]:
        mode = self.mode
        found = {name: self._text(name, mode) for name in self._names(mode)}
        return {name: text for name, text in found.items() if text is not None}

    def _select(self, chosen: Callable[[str], bool]) -> Variables:
        names = [name for name in self if chosen(name)]
        return Variables({name: self[name] for name in names}, frozenset(filter(self._is_secret, names)))

    def _is_secret(self, name: str) -> bool:
        """Tell whether a variable, or one that it refers to, has the name of a secret."""
        waiting, seen = [name], set[str]()
        while waiting:
            name = waiting.pop()
            if is_secret_name(name, self._patterns):
                return True
            found = self._find(name, self.mode)
            if name not in seen and found is not None and not found.source.literal and self._interpolate:
                waiting += references(found.text)
            seen.add(name)
        return self._parent is not None and self._parent._is_secret(name)

    def _shown(self, name: str, text: str) -> str:
        return MASK if self._is_secret(name) else text

    def _change_system(self, name: str, text: str | None) -> None:
        self._system.setdefault(name, os.environ.get(name))
        _set_system(name, text)


def _set_system(name: str, text: str | None) -> None:
    if text is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = text


def _check_mapping(argument: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{argument} must be a mapping, got {type(value).__name__}")
