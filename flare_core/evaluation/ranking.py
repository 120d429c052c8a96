"""Rank submissions as FLARE does: rank on every case and metric first, then average the ranks.

Serves notebook 10, after scores and costs are known. Ranking first lets seconds and percent count alike, and no case
can cost more than the last place on it.

What is published of the scheme, and what is not:
    FLARE21: rank all teams on each case and metric, average the ranks, divide by the number of teams.
    FLARE22: five metrics; the two of resources have half a weight; of memory only what exceeds 2048 MB counts.
    FLARE23, FLARE24: DSC, NSD, time and area of memory, "within tolerances" of 15 s (45 s) and 4 GB. How the tolerances
    enter and what the metrics weigh was not found; here all weigh alike, and what is below a tolerance counts as equal,
    as FLARE22 words it for memory and the same organizers' NeurIPS 2022 cell challenge for time.

References:
    flare.grand-challenge.org/Evaluation; flare22.grand-challenge.org/Evaluation; neurips22-cellseg.grand-challenge.org;
    nvauto, stmt, efficient_nnunet and dkfz, section 3.1 (tolerances).
    Wiesenfarth et al. 2021, "Methods and open-source toolkit for analyzing and visualizing challenge results"
    (bootstrapped ranks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from flare_core.cases.labels import ORGAN_NAMES, TUMOR
from flare_core.evaluation.memory import PERIOD_S

ACCURACY = ("organ DSC", "organ NSD", "tumor DSC", "tumor NSD")
COSTS = ("time", "memory area")
EQUAL_WEIGHTS = dict.fromkeys((*ACCURACY, *COSTS), 1.0)


@dataclass(frozen=True)
class RankingScheme:
    """How ranks come about.

    Attributes:
        name: for people.
        time_s: time below which a case costs nothing.
        memory_mb: memory below which a moment costs nothing; the area above it is ranked.
        weights: of the metrics in the mean rank; one of weight 0 is left out.
    """

    name: str
    time_s: float = 0.0
    memory_mb: float = 0.0
    weights: Mapping[str, float] = field(default_factory=lambda: dict(EQUAL_WEIGHTS))


FLARE23_RANKING = RankingScheme("FLARE23: 15 s and 4 GB tolerated", 15.0, 4096.0)
NO_TOLERANCE = RankingScheme("nothing tolerated")
HALF_COSTS = RankingScheme("nothing tolerated, costs count half", weights=EQUAL_WEIGHTS | dict.fromkeys(COSTS, 0.5))


def measurements(
    scores: pd.DataFrame, costs: pd.DataFrame, samples: pd.DataFrame, scheme: RankingScheme
) -> pd.DataFrame:
    """Bring scores and costs to one form.

    Args:
        scores: rows (system, case, target, dsc, nsd), as in the challenge (both sides empty: 1).
        costs: rows of an efficiency table (submission, case, seconds, run, memory), one a submission and case.
        samples: the memory samples of these rows (run, memory, mb).
        scheme: whose tolerances are taken off.
    Returns:
        Rows (submission, case, metric, value), larger values better: costs are negative. Organs that a submission does
        not segment have no row.
    """
    organs = scores[scores["target"].isin(ORGAN_NAMES)].groupby(["system", "case"], sort=False)[["dsc", "nsd"]].mean()
    tumors = scores[scores["target"] == TUMOR.name].set_index(["system", "case"])[["dsc", "nsd"]]
    parts = [
        part[metric].rename("value").reset_index().assign(metric=f"{what} {metric.upper()}")
        for what, part in (("organ", organs), ("tumor", tumors))
        for metric in ("dsc", "nsd")
    ]
    above = samples.assign(mb=(samples["mb"] - scheme.memory_mb).clip(lower=0))
    areas = above.groupby(["run", "memory"])["mb"].sum() * PERIOD_S
    known = costs.set_index(["run", "memory"])
    area = areas.reindex(known.index).to_numpy()
    for metric, value in (("time", (costs["seconds"] - scheme.time_s).clip(lower=0)), ("memory area", area)):
        rows = {"system": costs["submission"], "case": costs["case"], "value": -np.asarray(value), "metric": metric}
        parts.append(pd.DataFrame(rows))
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    return table.rename(columns={"system": "submission"})[["submission", "case", "metric", "value"]]


@dataclass(frozen=True, eq=False)
class Ranking:
    """Who is where, and how sure that is.

    Attributes:
        scheme: how.
        mean_ranks: a row a submission, a column a metric: mean rank over its cases (1 is best).
        cases: metric to the number of cases ranked.
        overall: submission to the weighted mean of its row; equal ones share a place.
        resampled: places in resamples of the cases, array of shape (resamples, submissions), in the order of `overall`.
    """

    scheme: RankingScheme
    mean_ranks: pd.DataFrame
    cases: Mapping[str, int]
    overall: pd.Series
    resampled: np.ndarray

    @property
    def places(self) -> pd.Series:
        """Place of each submission; ties share the better one."""
        return pd.Series(_places(self.overall.to_numpy()[None])[0], self.overall.index)

    def table(self) -> pd.DataFrame:
        """Return a row a submission, the best first: place, its 95 % interval, mean rank, and that of each metric."""
        low, high = np.quantile(self.resampled, (0.025, 0.975), axis=0, method="inverted_cdf")
        table = pd.DataFrame({"place": self.places, "from": low, "to": high}).astype(int)
        table["mean rank"], table["score"] = self.overall, self.overall / len(self.overall)
        return table.join(self.mean_ranks).sort_values("mean rank", kind="stable").rename_axis("submission")


def rank(
    table: pd.DataFrame, scheme: RankingScheme, submissions: Sequence[str], resamples: int = 2000, seed: int = 0
) -> Ranking:
    """Rank submissions on every case and metric, average, and repeat with resampled cases.

    On a case, equal values share the mean of their ranks; a submission without a value is behind all that have one. A
    metric that nobody has is left out. Metrics of the same cases are resampled together, so that a hard case is hard in
    all of them.

    Args:
        table: from `measurements`.
        scheme: weights; its tolerances must be off the values already.
        submissions: whom to rank.
        resamples: bootstrap samples of the cases.
        seed: of the bootstrap.
    Raises:
        ValueError: if there is no submission or nothing to rank.
    """
    ranks = {}
    for metric, weight in scheme.weights.items():
        rows = table[table["metric"] == metric]
        if weight and len(rows):
            values = rows.pivot(index="case", columns="submission", values="value").reindex(columns=list(submissions))
            ranks[metric] = pd.DataFrame(
                rankdata(-values.fillna(-np.inf).to_numpy(), axis=1), values.index, values.columns
            )
    if not ranks or not len(submissions):
        raise ValueError("nothing to rank: no submission has a value of any metric with a weight")
    weights = np.array([scheme.weights[metric] for metric in ranks])
    means = pd.DataFrame({metric: part.mean() for metric, part in ranks.items()})
    overall = pd.Series(means.to_numpy() @ weights / weights.sum(), means.index)
    random, drawn, resampled = np.random.default_rng(seed), {}, 0.0
    for part, weight in zip(ranks.values(), weights, strict=True):
        cases = tuple(part.index)
        if cases not in drawn:
            drawn[cases] = random.multinomial(len(cases), np.full(len(cases), 1 / len(cases)), size=resamples)
        resampled = resampled + weight / weights.sum() * (drawn[cases] @ part.to_numpy() / len(cases))
    return Ranking(scheme, means, {name: len(part) for name, part in ranks.items()}, overall, _places(resampled))


def _places(means: np.ndarray) -> np.ndarray:
    """Return places along the last axis, ties sharing the better one; means that differ by rounding alone are ties."""
    return rankdata(np.round(means, 9), method="min", axis=1).astype(int)
