"""Draw the verdicts: every effect with its interval, the published one beside it, where the claim would hold.

Serves notebook 09 and the README.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from flare_core.evaluation.claims import CONTRADICTED, INCONCLUSIVE, NOT_TESTED, REPRODUCED, Finding, overall, shown
from flare_core.evaluation.style import ACCENT, FAINT, INK, MUTED, SECOND, PaperFigure, new_figure, styled

LOOKS = {REPRODUCED: ("o", ACCENT), CONTRADICTED: ("X", SECOND), INCONCLUSIVE: ("s", MUTED)}
PALE = 0.5
POINTS, TIMES = (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50), (0.1, 0.2, 0.5, 1, 2, 4, 8)
TITLES = {
    "points": "Points (hundredths) of a score, share or growth; logarithmic beyond 1",
    "times": "Ratio",
    "ml": "Difference in ml",
}


@styled
def forest(findings: Sequence[Finding]) -> PaperFigure:
    """Show the effect of every test with its 95 % interval, one panel a unit.

    Args:
        findings: at least one; those of one claim stand together.
    Returns:
        A row a test: ours as a mark of its verdict's shape and color (open and pale where its claim as a whole has
        another verdict), the interval as a line, the published effect as a white diamond, and shaded where the claim
        would hold. What is not tested says so.
    Raises:
        ValueError: if there is no finding.
    """
    if not findings:
        raise ValueError("a forest plot needs at least one finding")
    panels = {unit: [f for f in findings if f.unit == unit] for unit in TITLES}
    panels = {unit: rows for unit, rows in panels.items() if rows}
    heights = [len(rows) + 0.2 for rows in panels.values()]  # as many units as `_panel` shows
    figure = new_figure(8.6, 0.4 + 0.5 * len(panels) + 0.23 * sum(heights))
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    verdicts = {name: overall([f for f in findings if f.claim == name]) for name in {f.claim for f in findings}}
    for panel, (unit, rows) in zip(axes, panels.items(), strict=True):
        _panel(panel, rows, unit, verdicts)
    marks = [
        Line2D([], [], marker=marker, color=color, markersize=6, label=verdict)
        for verdict, (marker, color) in LOOKS.items()
    ]
    open_mark = {"color": MUTED, "markerfacecolor": "white", "alpha": PALE}
    marks.append(Line2D([], [], marker="o", markersize=6, label="open: this test, not its claim", **open_mark))
    marks.append(_diamond(label="published"))
    marks.append(Patch(facecolor=FAINT, label="the claim holds"))
    figure.legend(handles=marks, loc="outside upper left", ncols=3)
    return figure


def _panel(axes: Axes, rows: Sequence[Finding], unit: str, verdicts: Mapping[str, str]) -> None:
    """Draw the tests that share a unit; `verdicts` are those of whole claims."""
    scale = 100 if unit == "points" else 1
    _scale(axes, rows, unit, scale)
    left, right = axes.get_xlim()
    axes.axvline(1 if unit == "times" else 0, color=MUTED, linewidth=0.8, zorder=1)
    for row, finding in enumerate(rows):
        start = left if finding.above is None else scale * finding.above
        stop = right if finding.below is None else scale * finding.below
        axes.barh(row, stop - start, left=start, height=0.84, color=FAINT, zorder=0)
        if finding.published is not None:
            axes.add_line(_diamond([scale * finding.published], [row - 0.17]))
        if finding.effect is None:
            axes.annotate(NOT_TESTED, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=7)
            continue
        marker, color = LOOKS[finding.verdict]
        is_whole = finding.verdict == verdicts[finding.claim]
        look = {"facecolor": color, "edgecolor": "white"} if is_whole else {"facecolor": "white", "edgecolor": color}
        color = to_rgba(color, 1 if is_whole else PALE)
        axes.plot([scale * finding.low, scale * finding.high], [row + 0.12] * 2, color=color, linewidth=2, zorder=6)
        axes.scatter(scale * finding.effect, row + 0.12, marker=marker, s=44, zorder=7, **look)
        text = shown(finding.effect, unit)
        axes.annotate(text, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    axes.set(yticks=range(len(rows)), yticklabels=[f"{f.claim}: {f.test}" for f in rows])
    axes.set(xlim=(left, right), ylim=(len(rows) - 0.4, -0.6), xlabel=TITLES[unit])
    axes.tick_params(axis="y", labelsize=7, left=False)
    axes.spines["left"].set_visible(False)


def _scale(axes: Axes, rows: Sequence[Finding], unit: str, scale: float) -> None:
    """Set the axis of a panel so that everything drawn lies on it."""
    values = [scale * v for f in rows for v in (f.low, f.high, f.published, f.above, f.below) if v is not None]
    if unit == "ml":
        reach = 1.15 * max(1.0, *map(abs, values))
        axes.set_xlim(-reach, reach)
        return
    if unit == "times":
        axes.set_xscale("log")
        axes.set_xlim(min([0.4, *values]) / 1.15, max([2.5, *values]) * 1.15)
    else:
        axes.set_xscale("symlog", linthresh=1, linscale=0.6)
        reach = 1.3 * max(10.0, *map(abs, values))
        axes.set_xlim(-reach, reach)
    left, right = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator([v for v in (TIMES if unit == "times" else POINTS) if left < v < right]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _diamond(x: Sequence[float] = (), y: Sequence[float] = (), label: str = "") -> Line2D:
    """Return the mark of a published effect."""
    look = {"marker": "D", "linestyle": "", "markersize": 6, "markerfacecolor": "white", "markeredgecolor": INK}
    return Line2D(x, y, label=label, zorder=5, **look)
