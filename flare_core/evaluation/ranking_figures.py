"""Draw how sure the places of a ranking are.

Serves notebook 10. `ranking.rank` makes what is drawn; `style.save` writes it.

References:
    Wiesenfarth et al. 2021 (bubbles of bootstrapped places).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flare_core.evaluation.ranking import Ranking
from flare_core.evaluation.style import ACCENT, INK, MUTED, PaperFigure, new_figure, styled

LARGEST = 420  # points squared: every resample gives this place


@styled
def rank_intervals(rankings: Sequence[Ranking], title: str = "") -> PaperFigure:
    """Show the places of submissions under one or several schemes, a panel each.

    Args:
        rankings: of the same submissions.
        title: above the figure.
    Returns:
        A row a submission, in the order of the first ranking; a bubble's area is the share of resamples that gave the
        place, the bar the 95 % interval, the diamond the place itself.
    Raises:
        ValueError: if there is no ranking.
    """
    if not rankings:
        raise ValueError("a picture of rankings needs at least one")
    names = list(rankings[0].table().index)
    figure = new_figure(2.0 + 2.6 * len(rankings), 1.5 + 0.45 * len(names))
    panels = figure.subplots(1, len(rankings), sharey=True, squeeze=False)[0]
    for axes, ranking in zip(panels, rankings, strict=True):
        table = ranking.table()
        for row, name in enumerate(names):
            places = ranking.resampled[:, ranking.overall.index.get_loc(name)]
            at, counts = np.unique(places, return_counts=True)
            axes.scatter(at, [row] * len(at), s=LARGEST * counts / len(places), color=ACCENT, alpha=0.35, linewidth=0)
            axes.plot(table.loc[name, ["from", "to"]], [row, row], color=ACCENT, linewidth=2)
            axes.scatter(table.loc[name, "place"], row, marker="D", s=30, facecolor="white", edgecolor=INK, zorder=5)
        axes.set(xlim=(0.5, len(names) + 0.5), xticks=range(1, len(names) + 1), xlabel="Place")
        axes.set_title(ranking.scheme.name, fontsize=9)
        axes.grid(axis="x")
        axes.tick_params(left=False)
    panels[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, weight="bold")
    legend = "diamond: place; bar: 95 % interval over resampled cases; bubble: share of resamples"
    figure.supxlabel(legend, fontsize=7, color=MUTED)
    return figure
