"""Draw scores: of every target, of every system, and of pseudo-labels before and after a step.

Serves the notebooks that judge. Every function takes a tidy table and returns a figure; `style.save` writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from flare_core.cases.labels import ORGAN_NAMES, TARGET_NAMES, TUMOR
from flare_core.evaluation.figures import scatter_points
from flare_core.evaluation.style import (
    ACCENT,
    COLORS,
    INK,
    MUTED,
    SECOND,
    SERIES,
    SHORT_TITLES,
    TITLES,
    PaperFigure,
    new_figure,
    styled,
)

FEWEST_OF_A_SHAPE = 8


@styled
def pseudo_label_quality(table: pd.DataFrame, stages: tuple[str, str]) -> PaperFigure:
    """Show how well pseudo-labels agree with the truth before and after a step, target by target.

    Args:
        table: columns `case`, `target`, `stage` and `dsc`.
        stages: the two values of `stage` to compare, earlier first.
    Returns:
        Two dots a target (the means), joined by a line; targets without any value are left out. The axis says over
        how many cases the means are, a target; without any value it is empty.
    """
    table = table.dropna(subset="dsc")
    means = table.groupby(["target", "stage"])["dsc"].mean().unstack().reindex(columns=list(stages))
    counts = table.groupby("target")["case"].nunique()
    fewest = "" if counts.nunique() == 1 else f"{counts.min()} to "
    cases = f"{fewest}{counts.max()} case{'s' if counts.max() > 1 else ''}" if len(counts) else "no case"
    names = [name for name in TARGET_NAMES if name in means.index and means.loc[name].notna().any()]
    figure = new_figure(6.4, 1.1 + 0.3 * max(len(names), 3))
    axes = figure.add_subplot()
    for row, name in enumerate(names):
        before, after = means.loc[name]
        axes.plot([before, after], [row, row], color=COLORS[name], linewidth=4, alpha=0.55, solid_capstyle="butt")
        axes.scatter(before, row, s=42, facecolor="white", edgecolor=INK, zorder=3)
        axes.scatter(after, row, s=42, facecolor=COLORS[name], edgecolor=INK, zorder=3)
        change = 100 * (after - before)
        if np.isfinite(change):
            axes.annotate(f"{change:+.1f}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axes.set(yticks=range(len(names)), yticklabels=[TITLES[name] for name in names], ylim=(len(names) - 0.5, -0.5))
    axes.set(xlim=(0, 1.01), xlabel=f"Mean DSC over {cases} against the truth (right: change in points)")
    axes.grid(axis="x")
    marks = [Line2D([], [], marker="o", linestyle="", markeredgecolor=INK, color=color) for color in ("white", MUTED)]
    axes.legend(marks, stages, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


@styled
def target_scores(
    scores: pd.DataFrame, metric: str = "dsc", title: str = "", tumor_cases: Collection[str] = ()
) -> PaperFigure:
    """Show every case's score of every target.

    Args:
        scores: columns `case`, `target` and the metric; optionally `system`, for which two or more get a color each.
        metric: column to show, fractions from 0 to 1.
        title: above the figure.
        tumor_cases: the cases that have a tumor, where the rules give 1 to what is neither there nor predicted: the
            tumor's column shows these alone, and a line below says so; without any it shows all.
    Returns:
        One column a target: cases as points over their distribution, a bar from the first to the third quartile, the
        mean as a white diamond. Fewer than `FEWEST_OF_A_SHAPE` cases have no shape.
    """
    if tumor_cases:
        scores = scores[(scores["target"] != TUMOR.name) | scores["case"].isin(tumor_cases)]
    names = [name for name in TARGET_NAMES if (scores["target"] == name).any()]
    systems = list(dict.fromkeys(scores["system"])) if "system" in scores else [""]
    figure = new_figure(max(4.2, 1.0 + 0.62 * len(names) * max(1, 0.5 * len(systems))), 3.6)
    axes = figure.add_subplot()
    palette = [ACCENT, SECOND] if len(systems) == 2 else seaborn.color_palette(SERIES, len(systems))
    width = 0.8 / len(systems)
    for place, system in enumerate(systems):
        part = scores if not system else scores[scores["system"] == system]
        for column, name in enumerate(names):
            values = part.loc[part["target"] == name, metric].dropna()
            if values.empty:
                continue
            center = column - 0.4 + width * (place + 0.5)
            color = COLORS[name] if len(systems) == 1 else palette[place]
            _draw_spread(axes, values, center, width, color)
            scatter_points(axes, values, center, color, width * 0.28, is_vertical=True)
            axes.scatter(center, values.mean(), marker="D", s=30, facecolor="white", edgecolor=INK, zorder=5)
    axes.set(xticks=range(len(names)), xlim=(-0.6, len(names) - 0.4), ylim=(-0.03, 1.03))
    axes.set_xticklabels([SHORT_TITLES[name] for name in names], rotation=40, ha="right", rotation_mode="anchor")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    organs = scores[scores["target"].isin(ORGAN_NAMES)].groupby("target")[metric].mean().mean()
    summary = f"organ mean {100 * organs:.1f} %" if len(systems) == 1 and np.isfinite(organs) else ""
    axes.set(ylabel=metric.upper(), title="   ".join(part for part in (title, summary) if part))
    axes.grid(axis="y")
    if tumor_cases:
        axes.set_xlabel(_which_cases(scores, names), fontsize=7.5, color=MUTED)
    if len(systems) > 1:
        marks = [Line2D([], [], marker="o", linestyle="", color=color) for color in palette]
        axes.legend(marks, systems, ncols=len(systems), loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def _which_cases(scores: pd.DataFrame, names: Sequence[str]) -> str:
    """Say what a tumor's column shows, and what becomes of organs that are not there."""
    cases = scores.loc[scores["target"] == TUMOR.name, "case"].nunique()
    parts = [f"Tumor: the {cases} case{'' if cases == 1 else 's'} that have one."] if TUMOR.name in names else []
    parts += ["An organ that is neither there nor predicted counts as 100 %."] if set(names) - {TUMOR.name} else []
    return " ".join(parts)


def _draw_spread(axes: Axes, values: pd.Series, center: float, width: float, color: str) -> None:
    """Draw how values are spread: a violin between the lowest and the highest one, and the middle half."""
    if len(values) >= FEWEST_OF_A_SHAPE and np.ptp(values) > 0:
        drawn = axes.violinplot([values], [center], widths=width * 0.95, showextrema=False)
        for body in drawn["bodies"]:
            body.set(alpha=None, facecolor=to_rgba(color, 0.25), edgecolor=MUTED, linewidth=0.6, zorder=1)
    low, high = np.quantile(values, (0.25, 0.75))
    axes.plot([center] * 2, [low, high], color=INK, alpha=0.45, linewidth=4, solid_capstyle="butt", zorder=2)


@styled
def system_scores(table: pd.DataFrame, systems: Sequence[str], title: str = "") -> PaperFigure:
    """Show every case's scores of several systems, one row a system and one panel a measure.

    Args:
        table: columns `system`, `case`, `measure` and `score` (fractions), measures in the order of their first row.
        systems: which ones, from top to bottom.
        title: above the figure.
    Returns:
        Cases as points, the mean as a white diamond and, in percent, as a number; a system without any score of a
        measure says so.
    Raises:
        ValueError: if there is no row.
    """
    if table.empty:
        raise ValueError("a picture of systems needs at least one score")
    measures = list(dict.fromkeys(table["measure"]))
    figure = new_figure(max(7.0, 1.2 + 2.4 * len(measures)), 1.1 + 0.44 * len(systems))
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(panels, measures, strict=True):
        part = table[table["measure"] == measure]
        color = COLORS["tumor"] if measure.lower().startswith("tumor") else ACCENT
        for row, system in enumerate(systems):
            values = part.loc[part["system"] == system, "score"].dropna()
            if values.empty:
                axes.text(0.5, row, "not predicted", ha="center", va="center", fontsize=7, color=MUTED)
                continue
            scatter_points(axes, values, row, color)
            axes.scatter(values.mean(), row, marker="D", s=34, facecolor="white", edgecolor=INK, zorder=5)
            axes.annotate(
                f"{100 * values.mean():.1f}", (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8
            )
        head = {"xycoords": "axes fraction", "va": "bottom", "fontsize": 7, "color": MUTED}
        axes.annotate("mean %", (1.02, 1.01), **head)
        axes.set(xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
        axes.set_title(measure, fontsize=9)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x")
        axes.tick_params(left=False)
    panels[0].set(yticks=range(len(systems)), yticklabels=systems, ylim=(len(systems) - 0.5, -0.5))
    figure.get_layout_engine().set(wspace=0.06)  # a panel's means must not stand at the next one's axis
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, weight="bold")
    return figure
