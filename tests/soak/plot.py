"""The picture of a soak: `python -m tests.soak.plot RESULT.json PICTURE.svg`."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

GAUGES = {"descriptors": "tab:green", "threads": "tab:red", "tasks": "tab:purple"}


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw latencies and gauges over time; the same result gives the same bytes."""
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True, height_ratios=[2, 1, 1])
    minutes = [part["until"] / 60 for part in result["parts"]]
    for name, color in (("p50", "tab:blue"), ("p99", "tab:orange"), ("p99.9", "tab:red")):
        values = [part[name] * 1000 for part in result["parts"]]
        above.plot(minutes, values, label=name, color=color, drawstyle="steps-pre", linewidth=1.2)
    above.set(yscale="log", ylabel="latency (ms)")
    times = [sample["at"] / 60 for sample in result["samples"]]
    middle.plot(times, [sample["memory"] for sample in result["samples"]], label="RSS", color="tab:blue")
    middle.set(ylabel="memory (MiB)", ylim=(0, None))
    for gauge, color in GAUGES.items():
        below.plot(times, [sample[gauge] for sample in result["samples"]], label=gauge, color=color, linewidth=0.9)
    below.set(ylabel="count", xlabel="minutes", ylim=(0, None))
    for axes in (above, middle, below):
        for disturbance in result["disturbances"]:
            axes.axvline(disturbance["begin"] / 60, color="lightgrey", linewidth=0.7, zorder=0)
        axes.legend(loc="upper right", ncols=3, fontsize="small")
    with mpl.rc_context({"svg.hashsalt": "satchel", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2]))
