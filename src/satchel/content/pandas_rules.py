"""Rules for frames, series, indexes and scalars of pandas: this module imports it.

How a column is kept in memory does not count; its dtype, its items and its labels do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it has no types of its own

from .walk import Rule, rule_of_parts


def rule_of_pandas(kind: type) -> Rule | None:
    """Return the rule of a class of pandas's; None for one without."""
    if issubclass(kind, pd.Index):
        return _index
    return _RULES.get(kind) or (_extension if issubclass(kind, pd.api.extensions.ExtensionArray) else None)


def _frame(frame: Any) -> list[object]:
    columns = [_items(frame.iloc[:, position]) for position in range(frame.shape[1])]
    return [frame.columns, frame.index, columns, frame.attrs]


def _series(series: Any) -> list[object]:
    return [series.name, series.index, _items(series), series.attrs]


def _labels(index: Any) -> list[object]:
    kind = type(index).__name__
    if isinstance(index, pd.RangeIndex):
        return [kind, index.name, range(index.start, index.stop, index.step)]
    if isinstance(index, pd.MultiIndex):
        return [kind, list(index.names), [_items(index.get_level_values(level)) for level in range(index.nlevels)]]
    return [kind, index.name, _items(index), getattr(index, "freqstr", None)]


def _items(column: Any) -> object:
    """Return the items of a series or an index: an array of numpy's, or one of pandas's own."""
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


def _extension_parts(array: Any) -> list[object]:
    dtype = array.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return ["category", array.codes, array.categories, array.ordered]
    if isinstance(dtype, pd.DatetimeTZDtype):
        return ["datetime", dtype.unit, str(dtype.tz), array.asi8]  # pandas 2 has other objects for zones
    missing = np.asarray(array.isna())
    return [str(dtype), missing, np.asarray(array[~missing], dtype=object)]


def _timestamp(value: Any) -> list[object]:
    return [value.asm8, None if value.tzinfo is None else str(value.tzinfo), value.fold]


_index = rule_of_parts(b"pandas.Index:", _labels)
_extension = rule_of_parts(b"pandas.array:", _extension_parts)
_RULES: dict[type, Rule] = {
    pd.DataFrame: rule_of_parts(b"pandas.DataFrame:", _frame),
    pd.Series: rule_of_parts(b"pandas.Series:", _series),
    pd.Timestamp: rule_of_parts(b"pandas.Timestamp:", _timestamp),
    pd.Timedelta: rule_of_parts(b"pandas.Timedelta:", lambda value: [value.asm8]),
    pd.Period: rule_of_parts(b"pandas.Period:", lambda value: [value.freqstr, value.ordinal]),
    pd.Interval: rule_of_parts(b"pandas.Interval:", lambda value: [value.left, value.right, value.closed]),
    type(pd.NaT): rule_of_parts(b"pandas.NaT:", lambda _: []),
    type(pd.NA): rule_of_parts(b"pandas.NA:", lambda _: []),
}
