"""Draw what predictions cost: memory over time, time and memory over size, accuracy against time, where the time goes.

Serves notebook 08. Every function takes tidy tables (`efficiency_table.COLUMNS`) and returns a figure; `style.save`
writes it. Units: s, and what the tables call MB are MiB, drawn as GiB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from flare_core.evaluation.efficiency_table import STAGES, as_text
from flare_core.evaluation.style import ACCENT, FAINT, INK, MUTED, SECOND, SERIES, PaperFigure, new_figure, styled
from flare_core.recipe import Limits

STAGE_TITLES = dict.fromkeys(STAGES, "") | {
    "start": "start (Python, libraries)",
    "read": "read",
    "resample": "resample",
    "network": "network",
    "reduce": "scores to labels",
    "postprocess": "post-process",
    "write": "write",
    "other": "not told apart",
}
MOST_PANELS_A_ROW = 3
MEASURE_TITLES = {"seconds": "Time (s)", "peak_mb": "Peak memory (GiB)", "area_mb_s": "Area (GiB s)"}
NO_LIMITS: Mapping[str, Limits] = {}
LIMITS = {"seconds": "time_s", "peak_mb": "memory_mib"}
MADE_NOW = "made now"


@styled
def memory_over_time(samples: pd.DataFrame, rows: pd.DataFrame, submissions: Sequence[str]) -> PaperFigure:
    """Show the memory of every case over its time, one panel a submission.

    Args:
        samples: columns `run`, `time_s`, `memory`, `mb`; of each run the memory that its row counts is drawn.
        rows: the measured rows, with `run`, `submission`, `slices` and `memory`.
        submissions: which ones, in order; one without rows gets no panel.
    Returns:
        A line a case, darker with more slices; axes are shared.
    Raises:
        ValueError: if no submission has a row.
    """
    shown = [name for name in submissions if (rows["submission"] == name).any()]
    if not shown:
        raise ValueError("memory over time needs at least one measured case")
    columns = min(MOST_PANELS_A_ROW, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = new_figure(max(5.2, 0.8 + 3.2 * columns), 0.8 + 2.3 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    colors = _size_colors(rows["slices"])
    for axes, name in zip(panels.flat, shown, strict=False):
        for row in rows[rows["submission"] == name].sort_values("slices").itertuples():
            part = samples[(samples["run"] == row.run) & (samples["memory"] == row.memory)]
            axes.plot(part["time_s"], part["mb"] / 1024, color=colors[row.slices], linewidth=1.4)
        axes.set_title(name)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    drawn = samples[samples["run"].isin(rows["run"])]
    panels[0, 0].set(xlim=(0, 1.03 * drawn["time_s"].max()), ylim=(0, 1.08 * drawn["mb"].max() / 1024))
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel("Time since the process was started (s)", fontsize=9)
    figure.supylabel(_memory_words(rows), fontsize=9)
    marks = [Line2D([], [], color=color, linewidth=2.4) for color in colors.values()]
    figure.legend(marks, [f"{size:.0f}" for size in colors], title="Slices", loc="outside right upper")
    return figure


def _size_colors(slices: pd.Series) -> dict[float, tuple[float, float, float]]:
    """Return a color of one sequence a size, light to dark: readable in gray and for every color vision."""
    sizes = sorted(slices.dropna().unique())
    palette = seaborn.color_palette("viridis_r", 256)
    places = np.linspace(40, 255, len(sizes)) if len(sizes) > 1 else [170]
    return {size: palette[int(place)] for size, place in zip(sizes, places, strict=True)}


def _memory_words(rows: pd.DataFrame) -> str:
    """Say which memory is drawn."""
    words = {"host": "Memory of the process (GiB)", "gpu": "GPU memory (GiB)"}
    kinds = set(rows["memory"])
    return words[kinds.pop()] if len(kinds) == 1 else "Memory: GPU where used (GiB)"


@styled
def cost_over_slices(
    rows: pd.DataFrame,
    published: pd.DataFrame,
    submissions: Sequence[str],
    limits: Mapping[str, Limits] = NO_LIMITS,
    profile: str = "",
) -> PaperFigure:
    """Show time, peak and area over the number of slices: ours beside what the papers print.

    Args:
        rows: measured rows with `made`; those made now are ringed, the others joined by a line for each processor and
            options of the prediction.
        published: columns `system`, `slices`, `seconds`, `peak_mb`, `area_mb_s`, `flag`; rows without slices are left
            out. A value that its `flag` names is drawn as printed, but crossed out.
        submissions: one column of panels each, in order.
        limits: what a submission's challenge tolerates, drawn as a dashed line.
        profile: whose networks ours are; the legend names it, since the papers' are of another size.
    Returns:
        Three rows of panels with logarithmic axes that each row shares.
    Raises:
        ValueError: if there is no submission.
    """
    if not submissions:
        raise ValueError("a picture of costs needs at least one submission")
    figure = new_figure(max(6.0, 1.1 + 1.75 * len(submissions)), 6.4)
    panels = figure.subplots(len(MEASURE_TITLES), len(submissions), sharex=True, sharey="row", squeeze=False)
    ours = rows.rename(columns={"area_sum_mb_s": "area_mb_s"})
    ours["way"] = (as_text(ours["processor"]) + " " + as_text(ours["options"])).str.strip()
    ways = list(dict.fromkeys(ours["way"]))
    colors = dict(zip(ways, [ACCENT, "#009e73", "#cc79a7", MUTED] * len(ways), strict=False))
    for column, name in enumerate(submissions):
        own = ours[ours["submission"] == name].sort_values("slices")
        printed = published[published["system"] == name].sort_values("slices")
        for line, (measure, title) in enumerate(MEASURE_TITLES.items()):
            axes, unit = panels[line, column], 1 if measure == "seconds" else 1024
            if name in limits and measure in LIMITS:
                limit = getattr(limits[name], LIMITS[measure]) / unit
                axes.axhline(limit, color=MUTED, linewidth=0.8, linestyle=(0, (5, 3)), zorder=0)
            _printed_points(axes, printed.dropna(subset=["slices", measure]), measure, unit)
            _own_points(axes, own, measure, unit, colors)
            _size_axes(axes, title if column == 0 else "")
        panels[0, column].set_title(name, fontsize=9)
        panels[-1, column].set_xlabel("Slices")
    entries = _own_entries(colors, ours, f"ours ({profile} networks)" if profile else "ours")
    entries += _printed_entries(published[published["system"].isin(submissions)], bool(limits))
    figure.legend([mark for _, mark in entries], [name for name, _ in entries], loc="outside lower center", ncols=2)
    return figure


def _printed_points(axes: Axes, printed: pd.DataFrame, measure: str, unit: float) -> None:
    """Draw a paper's points; misprints as crosses."""
    is_wrong = printed["flag"] == measure
    style = {"color": SECOND, "linewidth": 1, "linestyle": ":"}
    axes.plot(printed["slices"], printed[measure] / unit, **style, zorder=1)
    for part, mark in ((printed[~is_wrong], {"marker": "D", "s": 15}), (printed[is_wrong], {"marker": "x", "s": 22})):
        axes.scatter(part["slices"], part[measure] / unit, color=SECOND, zorder=2, **mark)


def _own_points(axes: Axes, own: pd.DataFrame, measure: str, unit: float, colors: dict[str, str]) -> None:
    """Draw our points: lines of what came along, rings around what was made now."""
    now = own["made"] == MADE_NOW
    for way, part in own[~now].groupby("way", sort=False):
        means = part.groupby("slices")[measure].mean() / unit
        axes.plot(means.index, means, color=colors[way], marker="o", markersize=3.6, zorder=3)
    ring = {"s": 44, "facecolor": "none", "edgecolor": INK, "linewidth": 1.2}
    axes.scatter(own[now]["slices"], own[now][measure] / unit, zorder=4, **ring)


def _size_axes(axes: Axes, ylabel: str) -> None:
    """Give a panel logarithmic axes with plain numbers."""
    axes.set(xscale="log", yscale="log", ylabel=ylabel)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_locator(FixedLocator([50, 100, 200, 500]))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain)
        axis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=7)
    axes.grid(axis="y")


def _own_entries(colors: dict[str, str], ours: pd.DataFrame, whose: str) -> list[tuple[str, Line2D]]:
    """Return words and mark of every way in which ours were measured."""
    came_along = ours[ours["made"] != MADE_NOW]["way"].unique()
    entries = [
        (f"{whose}, {name}", Line2D([], [], color=colors[name], marker="o", markersize=3.6)) for name in came_along
    ]
    if (ours["made"] == MADE_NOW).any():
        ring = {"marker": "o", "markersize": 7, "markerfacecolor": "none", "markeredgecolor": INK}
        entries.append((f"{whose}, one case measured anew for this figure", Line2D([], [], linestyle="", **ring)))
    return entries


def _printed_entries(printed: pd.DataFrame, is_limited: bool) -> list[tuple[str, Line2D]]:
    """Return words and marks of what the papers print, and say what the crossed points are."""
    diamond = Line2D([], [], color=SECOND, linestyle=":", marker="D", markersize=4)
    entries = [("printed in the paper: published networks, GPU memory", diamond)]
    wrong = printed[printed["flag"] == "area_mb_s"].dropna(subset="slices")
    if len(wrong):
        words = f"area as printed by {', '.join(wrong['system'].unique())}: ten times too large"
        entries.append((words, Line2D([], [], color=SECOND, linestyle="", marker="x", markersize=5)))
    if is_limited:
        dashes = Line2D([], [], color=MUTED, linewidth=0.8, linestyle=(0, (5, 3)))
        entries.append(("tolerated by the challenge", dashes))
    return entries


@styled
def accuracy_against_time(table: pd.DataFrame, submissions: Sequence[str]) -> PaperFigure:
    """Show accuracy against time, with the area under the memory-time curve as the size of the bubble.

    Args:
        table: columns `submission`, `measure` (one panel each), `dsc` (a fraction), `seconds`, `area_mb_s`, `sizes`.
        submissions: order of the colors.
    Returns:
        One panel a measure, on the same axes; up and left is better, and a small bubble.
    Raises:
        ValueError: if there is no row.
    """
    if table.empty:
        raise ValueError("accuracy against time needs a submission that is measured and scored")
    measures = list(dict.fromkeys(table["measure"]))
    figure = new_figure(1.6 + 3.9 * len(measures), 3.8)
    panels = figure.subplots(1, len(measures), sharex=True, sharey=True, squeeze=False)[0]
    colors = dict(zip(submissions, seaborn.color_palette(SERIES, len(submissions)), strict=True))
    largest, top = table["area_mb_s"].max(), table["dsc"].max()
    for axes, measure in zip(panels, measures, strict=True):
        part = table[table["measure"] == measure].sort_values("area_mb_s", ascending=False)
        sizes = 60 + 1100 * part["area_mb_s"] / largest
        axes.scatter(part["seconds"], part["dsc"], s=sizes, color=[colors[n] for n in part["submission"]], alpha=0.55,
                     edgecolor=INK, linewidth=0.8, clip_on=False)  # fmt: skip
        axes.scatter(part["seconds"], part["dsc"], s=5, color=INK, clip_on=False)
        axes.set(title=measure, xlabel="Mean time a case (s)", xlim=(0, 1.2 * table["seconds"].max()))
        axes.set_ylim(0, 1.0 if top > 0.5 else max(0.05, 1.3 * top))
        without = [name for name in submissions if name in set(table["submission"]) - set(part["submission"])]
        words = f"not predicted by {', '.join(without)}" if without else ""
        axes.text(0.03, 0.04, words, transform=axes.transAxes, fontsize=8, color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 4, 5, 10)))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(axis="x", pad=18)  # a bubble on the floor stays whole and hides no number
        axes.grid(axis="both")
    panels[0].set_ylabel("DSC on the validation cases")
    dot = {"linestyle": "", "marker": "o", "markersize": 8, "markeredgecolor": INK}
    marks = [Line2D([], [], color=colors[name], **dot) for name in submissions]
    areas = table.groupby("submission")["area_mb_s"].first() / 1024
    words = [f"{name}, {areas[name]:.1f}" if name in areas else name for name in submissions]
    figure.legend(marks, words, title="Area (GiB s)", loc="outside right upper")
    return figure


@styled
def where_time_goes(rows: pd.DataFrame, slices: Sequence[int], submissions: Sequence[str]) -> PaperFigure:
    """Show where the time of a case goes, from starting Python to the written label file.

    Args:
        rows: measured rows with `<stage>_s` columns (`efficiency_table.STAGES`); a stage that no prediction tells apart
            is missing, and a row that tells nothing is one bar of its whole time.
        slices: which sizes, one panel each; bars of one panel share its axis.
        submissions: one bar each and size, from top to bottom; the mean where there are several rows.
    Returns:
        Stacked horizontal bars in the order of the data flow, with the whole time at their ends.
    Raises:
        ValueError: if there is no size.
    """
    if not len(slices):
        raise ValueError("where the time goes needs at least one size")
    names = [f"{stage}_s" for stage in STAGES]
    means = rows.groupby(["slices", "submission"])[[*names, "seconds"]].mean()
    means["other_s"] = means["other_s"].fillna(0) + (means["seconds"] - means[names].sum(axis=1)).clip(lower=0)
    figure = new_figure(8.6, 0.9 + len(slices) * (0.75 + 0.27 * len(submissions)))
    panels = figure.subplots(len(slices), 1, squeeze=False)[:, 0]
    colors = dict(zip(names, (*SERIES, FAINT), strict=True))
    used = [name for name in names if (means.loc[list(slices), name].fillna(0) > 0).any()]
    for axes, size in zip(panels, slices, strict=True):
        part = means.loc[size].reindex(submissions)
        ends = np.zeros(len(submissions))
        for name in used:
            widths = part[name].fillna(0).to_numpy()
            axes.barh(
                range(len(submissions)),
                widths,
                left=ends,
                color=colors[name],
                edgecolor="white",
                linewidth=0.5,
                height=0.74,
            )
            ends += widths
        for line, seconds in enumerate(part["seconds"]):
            words = f" {seconds:.1f} s" if np.isfinite(seconds) else " not measured"
            axes.text(ends[line], line, words, va="center", fontsize=7.5, color=INK if np.isfinite(seconds) else MUTED)
        axes.set(title=f"{size} slices", yticks=range(len(submissions)), yticklabels=submissions)
        axes.set(ylim=(len(submissions) - 0.4, -0.6), xlim=(0, 1.1 * max(ends.max(), 0.1)))
        axes.tick_params(left=False)
        axes.grid(axis="x")
    panels[-1].set_xlabel("Seconds")
    marks = [Patch(facecolor=colors[name], edgecolor=FAINT) for name in used]
    words = [STAGE_TITLES[name.removesuffix("_s")] for name in used]
    figure.legend(marks, words, loc="outside lower center", ncols=4)
    return figure
