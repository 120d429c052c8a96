"""Draw whether predicted volumes are right: Bland-Altman plots of every target.

Serves notebook 07.

Reference:
    Bland and Altman 1986 (limits of agreement); differences are relative, since volumes span three decades.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from flare_core.cases.labels import TARGET_NAMES
from flare_core.evaluation.style import COLORS, INK, MUTED, TITLES, PaperFigure, new_figure, styled

LIMITS_SD = 1.96
FARTHEST = 2  # volumes cannot be further off than this multiple of their mean
FEWEST_FOR_LIMITS = 3


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Return how far predicted volumes are off, a row a target and case in which it is drawn or predicted.

    Args:
        table: columns `case`, `target`, `reference_ml`, `prediction_ml`.
    Returns:
        The rows with both volumes known and not both 0, with `mean_ml` and `off`: the difference as a fraction of the
        mean of both volumes, from -2 (not predicted at all) to 2 (predicted where nothing is).
    """
    known = table.dropna(subset=["reference_ml", "prediction_ml"])
    both = known["reference_ml"] + known["prediction_ml"]
    known, both = known[both > 0], both[both > 0]
    return known.assign(mean_ml=both / 2, off=(known["prediction_ml"] - known["reference_ml"]) / (both / 2))


@styled
def volume_agreement(table: pd.DataFrame, title: str = "") -> PaperFigure:
    """Show predicted against reference volumes (Bland-Altman), one panel a target.

    Args:
        table: as for `agreement`.
        title: above the figure.
    Returns:
        Points are cases: the mean of both volumes against their difference in percent of it. The line is the bias, the
        dashed ones the limits of agreement (1.96 standard deviations, from three cases on), their numbers above. A
        limit that no case can reach is drawn at the bound, ±200 %, and the figure says so.
    Raises:
        ValueError: if no volume is known.
    """
    points = agreement(table)
    names = [name for name in TARGET_NAMES if (points["target"] == name).any()]
    if not names:
        raise ValueError("expected at least one target with a volume")
    columns = min(5, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(max(4.2, 2.3 * columns), max(3.9, 1.95 * rows + 0.75))
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels.ravel()[len(names) :]:
        axes.set_axis_off()
    reached = [
        _draw_target(axes, points[points["target"] == name], name)
        for axes, name in zip(panels.ravel(), names, strict=False)
    ]
    for axes in panels[:, 0]:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.supylabel("Predicted minus reference volume, in % of their mean", fontsize=8)
    note = "" if all(reached) else f"\nLimits beyond ±{100 * FARTHEST} % are drawn at it: no case can be further off"
    figure.supxlabel(f"Mean of both volumes (ml){note}", fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    return figure


def _draw_target(axes: Axes, points: pd.DataFrame, name: str) -> bool:
    """Draw one target's cases, bias and limits; say whether cases can lie at the limits."""
    off = points["off"]
    bias = off.mean()
    axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
    axes.axhline(bias, color=INK, linewidth=1.4, zorder=2)
    words = f"bias {100 * bias:+.0f} %"
    limits = ()
    if len(off) >= FEWEST_FOR_LIMITS:
        reach = LIMITS_SD * off.std(ddof=1)
        limits = (bias - reach, bias + reach)
        drawn = np.clip(limits, -FARTHEST, FARTHEST)
        axes.axhspan(*drawn, color=COLORS[name], alpha=0.12, linewidth=0, zorder=0)
        for limit in drawn:
            axes.axhline(limit, color=INK, linewidth=0.9, linestyle="--", zorder=2)
        words += f", limits {100 * limits[0]:+.0f} to {100 * limits[1]:+.0f} %"
    axes.scatter(points["mean_ml"], off, s=16, color=COLORS[name], edgecolor=INK, linewidth=0.4, zorder=3)
    axes.set_xscale("log")
    low, high = points["mean_ml"].min(), points["mean_ml"].max()
    axes.set(xlim=(low / 1.5, high * 1.5), ylim=(-2.15, 2.15), yticks=(-2, -1, 0, 1, 2))
    ticks = np.geomspace(low, high, 3) if high > 1.2 * low else [math.sqrt(low * high)]
    axes.set_xticks([float(f"{tick:.2g}") for tick in ticks])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.set_title(f"{TITLES[name]} ({len(off)})", fontsize=8, pad=12)
    axes.text(0, 1.02, words, transform=axes.transAxes, fontsize=6, color=MUTED, va="bottom")
    return all(abs(limit) <= FARTHEST for limit in limits)
