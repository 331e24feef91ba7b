"""Pictures of results.json, as SVG beside it: `make plots`."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure

rcParams["svg.hashsalt"] = "pyrun"  # the same picture of the same numbers
HERE = Path(__file__).parent
COLOURS = {"pyrun": "#2a6fbb", "runc": "#999999", "crun": "#d98032"}
LIGHT = ("state", "start", "kill", "delete")


def main() -> None:
    samples: dict[str, Any] = json.loads((HERE / "results.json").read_text())
    curve("mounts", "binds", "ms of create (median)", samples["mounts"])
    curve("callers", "callers at once", "creates a second (median)", samples["callers"])
    crowd(samples["crowd"])
    verbs(samples["verbs"])


def curve(name: str, x: str, y: str, rows: dict[str, dict[str, list[float]]]) -> None:
    figure = Figure(figsize=(6, 3.6))
    axes = figure.subplots()
    for runtime, colour in COLOURS.items():
        middle = [statistics.median(row[runtime]) for row in rows.values()]
        axes.plot([int(key) for key in rows], middle, marker="o", color=colour, label=runtime)
    axes.set(xlabel=x, ylabel=y, ylim=(0, None))
    axes.legend()
    save(figure, name)


def crowd(rows: dict[str, dict[str, list[float]]]) -> None:
    numbers = sorted({int(row.split(", ")[1].split()[0]) for row in rows if row.startswith("state")})
    figure = Figure(figsize=(11, 3.2))
    all_axes = figure.subplots(1, len(LIGHT), sharey=True)
    for verb, axes in zip(LIGHT, all_axes, strict=True):
        for runtime, colour in COLOURS.items():
            known = [number for number in numbers if runtime in rows[f"{verb}, {number} others"]]
            middle = [statistics.median(rows[f"{verb}, {number} others"][runtime]) for number in known]
            axes.plot(known, middle, marker="o", color=colour, label=runtime)
        axes.set(title=verb, xlabel="others alive")
    all_axes[0].set(ylabel="ms (median)", ylim=(0, None))  # shared, and by all that is in them
    all_axes[0].legend()
    save(figure, "crowd")


def verbs(rows: dict[str, dict[str, list[float]]]) -> None:
    names = [row for row in rows if " " not in row]
    figure = Figure(figsize=(8, 3.6))
    axes = figure.subplots()
    for i, (runtime, colour) in enumerate(COLOURS.items()):
        low = [min(rows[name][runtime]) for name in names]
        above = [statistics.median(rows[name][runtime]) - least for name, least in zip(names, low, strict=True)]
        places = [place + 0.27 * (i - 1) for place in range(len(names))]
        axes.bar(places, low, 0.25, color=colour, label=runtime)
        axes.bar(places, above, 0.25, bottom=low, color=colour, alpha=0.4)
    axes.set(ylabel="ms: minimum, and median above it")
    axes.set_xticks(range(len(names)), names)
    axes.legend()
    save(figure, "verbs")


def save(figure: Figure, name: str) -> None:
    figure.tight_layout()
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
