"""Values of numpy and pandas whose digests are kept in tests/golden/content."""

import numpy as np
import pandas as pd

from tests.golden.content_values import Color

FIELDS = np.dtype([("a", "u1"), ("b", ">f8"), ("c", "<i2", (2,))], align=True)
DAYS = pd.date_range("2024-03-30", periods=3, freq="D")

ARRAYS: dict[str, object] = {
    "ndarray": np.arange(6, dtype="<f8").reshape(2, 3),
    "ndarray big-endian": np.arange(6, dtype=">i4"),
    "ndarray of no dimension": np.array(1, "<u2"),
    "ndarray empty": np.empty((0, 3), "<f4"),
    "ndarray bool": np.array([True, False]),
    "ndarray text": np.array(["a", "é🙂"]),
    "ndarray bytes": np.array([b"a", b"bc"]),
    "ndarray times": np.array(["2024-02-29", "NaT"], "<M8[ns]"),
    "ndarray fields": np.array([(1, 2.5, (3, 4)), (5, 6.5, (7, 8))], FIELDS),
    "ndarray objects": np.array([[1, "a"], [None, Color.RED]], object),
    "dtype": np.dtype("<f8"),
    "dtype fields": FIELDS,
    "float64": np.float64(1.0),
    "int8": np.int8(-1),
    "datetime64": np.datetime64("2024-02-29T12:00", "s"),
    "str_": np.str_("a"),
    "DataFrame": pd.DataFrame({"n": [1, 2], "x": [0.5, np.nan]}, index=pd.Index([10, 20], name="id")),
    "DataFrame of extension types": pd.DataFrame(
        {
            "text": pd.array(["a", None], dtype="string"),
            "whole": pd.array([1, None], dtype="Int64"),
            "kind": pd.Categorical(["x", "y"], categories=["y", "x"], ordered=True),
            "when": pd.to_datetime(["2024-02-29", None]).as_unit("ns").tz_localize("Europe/Berlin"),
        }
    ),
    "Series": pd.Series([True, False], name="flag"),
    "RangeIndex": pd.RangeIndex(3),
    "Index": pd.Index([1, 2], dtype="int64"),
    "DatetimeIndex": DAYS.as_unit("ns"),
    "MultiIndex": pd.MultiIndex.from_product([[1, 2], [True, False]], names=["n", None]),
    "PeriodIndex": pd.period_range("2024-01-01", periods=2, freq="D"),
    "IntervalIndex": pd.interval_range(0, 2),
    "Timestamp": pd.Timestamp("2024-02-29T12:00:00.123456789"),
    "Timestamp of a zone": pd.Timestamp("2024-02-29", tz="Europe/Berlin").as_unit("ns"),
    "Timedelta": pd.Timedelta(5, "ns"),
    "Period": pd.Period("2024-02-29", "D"),
    "Interval": pd.Interval(0, 1, closed="both"),
    "NaT": pd.NaT,
    "NA": pd.NA,
}
