"""Draw what tables of cases and trainings say: label subsets, volumes, learning curves.

Serves the notebooks that tell of many cases; scores are drawn in `score_figures`. Every function takes a tidy table and
returns a figure; `style.save` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from flare_core.cases.labels import TARGET_NAMES
from flare_core.evaluation.style import (
    ACCENT,
    COLORS,
    FAINT,
    INK,
    MUTED,
    SERIES,
    SHORT_TITLES,
    TITLES,
    PaperFigure,
    new_figure,
    styled,
)

INCOMPARABLE = "losses of different objectives are not comparable"
WIDE_SPAN = 8  # trainings whose largest losses differ more share a logarithmic axis
DASHES = ("-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)))  # of several trainings, beside SERIES
EDGED = (withStroke(linewidth=1.9, foreground=MUTED),)  # so that pale targets show on white


@styled
def label_subsets(subsets: Sequence[tuple[Collection[str], int]], title: str = "Annotated targets") -> PaperFigure:
    """Show which sets of targets are annotated together, and in how many cases (nvauto, Table 1).

    Args:
        subsets: pairs (names of the targets annotated, number of cases); the empty set stands for unlabeled cases.
        title: above the figure.
    Returns:
        Bars of case counts over a matrix of dots, one column a subset, largest first; bars at the right count the cases
        in which a target is annotated.
    Raises:
        ValueError: if there is no subset.
    """
    if not subsets:
        raise ValueError("a subset chart needs at least one subset; analyze a dataset that has cases")
    ordered = sorted(subsets, key=lambda pair: (-pair[1], -len(pair[0]), sorted(pair[0])))
    counts = np.array([count for _, count in ordered])
    figure = new_figure(max(5.5, 2.9 + 0.42 * len(ordered)), 4.8)
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.9), width_ratios=(max(2.0, 0.42 * len(ordered)), 1.1))
    bars, dots = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    totals = figure.add_subplot(grid[1, 1])
    columns = np.arange(len(ordered))
    _subset_bars(bars, counts)
    bars.set_title(f"{title}: {counts.sum():,} cases, {len(ordered)} subsets")
    reached = []
    for row, name in enumerate(TARGET_NAMES):
        shown = np.array([name in targets for targets, _ in ordered])
        dots.scatter(columns[~shown], np.full((~shown).sum(), row), s=22, color=FAINT)
        dots.scatter(columns[shown], np.full(shown.sum(), row), s=34, color=COLORS[name], edgecolor=INK, linewidth=0.5)
        total = int(counts[shown].sum())
        reached.append(total)
        totals.barh(row, total, color=COLORS[name], edgecolor=INK, linewidth=0.4, height=0.7)
        totals.text(total, row, f" {total:,}", va="center", fontsize=7)
    rows = range(len(TARGET_NAMES))
    dots.set(yticks=rows, yticklabels=[TITLES[name] for name in TARGET_NAMES], ylim=(13.6, -0.6))
    dots.set(xticks=columns, xticklabels=[len(targets) for targets, _ in ordered])
    dots.set(xlim=(-0.6, len(ordered) - 0.4), xlabel="Subsets, by number of annotated targets")
    totals.set(yticks=[], ylim=(13.6, -0.6), xlabel="Cases annotated", xlim=(0, max(1, *reached) * 1.35))
    totals.xaxis.set_major_locator(MaxNLocator(2, integer=True))
    for axis in (bars.yaxis, totals.xaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    for axes in (dots, totals):
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False, bottom=axes is totals)
    dots.spines["bottom"].set_visible(False)
    return figure


def _subset_bars(axes: Axes, counts: np.ndarray) -> None:
    """Draw one bar a subset with its count."""
    axes.bar(np.arange(len(counts)), counts, color=ACCENT, width=0.6)
    for column, count in enumerate(counts):
        axes.text(column, count, f"{count:,}", ha="center", va="bottom", fontsize=7)
    axes.set(ylabel="Cases", xticks=[], xlim=(-0.6, len(counts) - 0.4), ylim=(0, counts.max() * 1.15))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))


@styled
def volumes(table: pd.DataFrame, adult_ml: Mapping[str, tuple[float, float]] | None = None) -> PaperFigure:
    """Show how large each target is over the cases, on a logarithmic axis.

    Args:
        table: columns `target` and `volume_ml`; volumes of 0 (absent or not annotated) are left out.
        adult_ml: published adult range (low, high) of each target, drawn as a gray band behind its points.
    Returns:
        One row a target with every case as a point and the median as a line.
    """
    present = table[table["volume_ml"] > 0]
    names = [name for name in TARGET_NAMES if (present["target"] == name).any()]
    figure = new_figure(6.8, 0.6 + 0.32 * max(len(names), 3))
    axes = figure.add_subplot()
    for row, name in enumerate(names):
        values = present.loc[present["target"] == name, "volume_ml"]
        if adult_ml and name in adult_ml:
            low, high = adult_ml[name]
            axes.barh(row, high - low, left=low, height=0.72, color=FAINT, zorder=0)
        scatter_points(axes, values, row, COLORS[name])
        axes.plot([values.median()] * 2, [row - 0.36, row + 0.36], color=INK, linewidth=1.8, zorder=4)
        axes.annotate(f"n = {len(values)}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="x")
    axes.set(yticks=range(len(names)), yticklabels=[TITLES[name] for name in names], ylim=(len(names) - 0.5, -0.5))
    band = ", gray band: published adult range" if adult_ml else ""
    axes.set(xlabel=f"Volume (ml), line: median{band}")
    return figure


@styled
def learning_curves(histories: Mapping[str, pd.DataFrame], title: str = "") -> PaperFigure:
    """Show loss, learning rate and Dice over the steps of one or more trainings.

    Args:
        histories: name of the training to its history, with columns `step`, `loss`, `lr`, and where it was measured
            `validation_dice` and `dice_<channel>`; rows without a value are skipped.
        title: above the figure.
    Returns:
        Left: loss (thin: as logged, thick: smoothed; logarithmic where the largest losses of trainings differ much)
        with the learning rate below; right: Dice on the cases of the fold that the training leaves out, with the single
        channels as thin colored lines if there is one training, and on a narrower scale if there are several. Where no
        training was validated, the left part alone.
    Raises:
        ValueError: if there is no history.
    """
    if not histories:
        raise ValueError("learning curves need at least one history")
    is_validated = any("validation_dice" in h and h["validation_dice"].notna().any() for h in histories.values())
    figure = new_figure(9 if is_validated else 6, 4)
    grid = figure.add_gridspec(2, 2 if is_validated else 1, height_ratios=(3, 1))
    loss, rate = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    looks = _looks(len(histories))
    for (name, history), look in zip(histories.items(), looks, strict=True):
        logged = history.dropna(subset="loss")
        loss.plot(logged["step"], logged["loss"], color=look["color"], alpha=0.25, linewidth=0.7)
        loss.plot(logged["step"], _smoothed(logged["loss"]), label=name, **look)
        rate.plot(history["step"], history["lr"], **look)
    if _span([history["loss"] for history in histories.values()]) > WIDE_SPAN:
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        loss.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        loss.yaxis.set_minor_formatter(NullFormatter())
    loss.set(title="Training loss (thin: as logged)", xticklabels=[])
    rate.set(xlabel="Step (LR: learning rate)", ylabel="LR", ylim=(0, None))
    rate.yaxis.set_major_locator(MaxNLocator(2))
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    for axes in (loss, rate):
        axes.grid(axis="y")
    if len(histories) > 1:
        rows = math.ceil(len(histories) / (4 if is_validated else 3))
        columns = math.ceil(len(histories) / rows)  # rows of equal length
        place = {"loc": "outside lower center", "ncols": columns, "handlelength": 3.2, "title_fontsize": 8}
        figure.legend(*loss.get_legend_handles_labels(), title=INCOMPARABLE, **place)
    if is_validated:
        _dice_curves(figure.add_subplot(grid[:, 1]), histories, looks)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    return figure


def _looks(count: int) -> list[dict[str, Any]]:
    """Return color and dashes of every training."""
    if count == 1:
        return [{"color": ACCENT}]
    return [{"color": SERIES[n % len(SERIES)], "linestyle": DASHES[n % len(DASHES)]} for n in range(count)]


def _span(losses: Sequence[pd.Series]) -> float:
    """Return how many times larger one training's largest loss is than another's (0: a loss is not positive)."""
    largest = [loss.max() for loss in losses if loss.min() > 0]
    return max(largest) / min(largest) if len(largest) == len(losses) else 0.0


def _dice_curves(axes: Axes, histories: Mapping[str, pd.DataFrame], looks: Sequence[dict[str, Any]]) -> None:
    """Draw the held-out Dice of every training, and of every channel if there is one training."""
    for (name, history), look in zip(histories.items(), looks, strict=True):
        if "validation_dice" in history:
            scored = history.dropna(subset="validation_dice")
            axes.plot(scored["step"], scored["validation_dice"], marker="o", markersize=3, label=name, **look)
    if len(histories) == 1:
        _channel_curves(axes, next(iter(histories.values())))
    last = max(history["step"].max() for history in histories.values())
    axes.set(title="Dice on the held-out fold", xlabel="Step", xlim=(0, 1.03 * last), ylim=_tenths(histories))
    axes.grid(axis="y")


def _tenths(histories: Mapping[str, pd.DataFrame]) -> tuple[float, float]:
    """Return the tenths around several trainings' Dice, so that one can tell them apart; of one, 0 and 1."""
    if len(histories) == 1:
        return 0, 1
    dice = pd.concat([h["validation_dice"] for h in histories.values() if "validation_dice" in h])
    return max(0, math.floor(10 * dice.min() - 0.1) / 10), min(1, math.ceil(10 * dice.max() + 0.1) / 10)


def _channel_curves(axes: Axes, history: pd.DataFrame) -> None:
    """Draw the Dice of single channels, named at the right end and moved apart where they would overlap."""
    ends = {}
    for column in history.columns:
        names = column.removeprefix("dice_").split("+")
        scored = history.dropna(subset=column)
        if not column.startswith("dice_") or not set(names) <= set(TARGET_NAMES) or scored.empty:
            continue
        color, title = COLORS[names[0]], _channel_title(names)
        look = {"linewidth": 1.2, "marker": ".", "markersize": 3, "path_effects": EDGED}
        axes.plot(scored["step"], scored[column], color=color, zorder=1, **look)
        ends[title] = (scored[column].iloc[-1], color)
    if "validation_dice" in history and history["validation_dice"].notna().any():
        axes.lines[0].set(linewidth=2.4, zorder=3)
        ends["Mean"] = (history["validation_dice"].dropna().iloc[-1], ACCENT)
    height = 0.0
    for place, (title, (value, color)) in enumerate(sorted(ends.items(), key=lambda item: item[1][0])):
        room = 1.0 - 0.052 * (len(ends) - 1 - place)  # leave room for those above
        height = min(max(value, height + 0.052 if place else value), room)
        weight = "bold" if title == "Mean" else None
        look = {"color": color, "va": "center", "fontsize": 7, "path_effects": EDGED}
        axes.annotate("■", (1.02, height), xycoords="axes fraction", **look)
        axes.annotate(title, (1.05, height), xycoords="axes fraction", va="center", fontsize=7, weight=weight)


def _channel_title(names: Sequence[str]) -> str:
    """Return the words for a channel: its target's, both sides' in one, or how many targets it unites."""
    if len(names) == 1:
        return SHORT_TITLES[names[0]]
    paired = SHORT_TITLES[names[0]].removeprefix("R ")
    return f"Both {paired}s" if len(names) == 2 else f"{len(names)} targets in one"


def scatter_points(
    axes: Axes, values: pd.Series, center: float, color: str, spread: float = 0.2, *, is_vertical: bool = False
) -> None:
    """Scatter values along one axis; along the other they are spread by rank order, without randomness."""
    golden = (np.arange(len(values)) * 0.618034) % 1 - 0.5  # evenly filled for any number of points
    across = center + 2 * spread * golden
    along = np.sort(values.to_numpy())
    x, y = (across, along) if is_vertical else (along, across)
    axes.scatter(x, y, s=12, color=color, edgecolor=INK, linewidth=0.3, alpha=0.85, zorder=3)


def _smoothed(values: pd.Series) -> pd.Series:
    """Return the running mean over a twentieth of the curve."""
    return values.rolling(max(1, len(values) // 20), center=True, min_periods=1).mean()
