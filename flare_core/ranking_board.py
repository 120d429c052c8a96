"""Rank the submissions of a profile, from their scores and the costs that came along or were made now.

Serves notebook 10 and the README.
"""

from __future__ import annotations

from collections.abc import Iterable

from flare_core.efficiency_board import efficiency_board
from flare_core.evaluation.ranking import Ranking, RankingScheme, measurements, rank
from flare_core.scoreboard import scoreboard
from flare_core.workspace import Workspace


def rankings(work: Workspace, schemes: Iterable[RankingScheme]) -> list[Ranking]:
    """Rank every submission that has scores, under each scheme; costs count where they were measured.

    Raises:
        FileNotFoundError: if no submission has scores.
    """
    scores, costs = scoreboard(work.profile, work.data, work.root), efficiency_board(work)
    shown = costs.shown[costs.shown["submission"].isin(scores.systems)]
    return [rank(measurements(scores.scores, shown, costs.samples, s), s, scores.systems) for s in schemes]
