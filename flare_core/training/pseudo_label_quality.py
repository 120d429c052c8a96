"""Judge pseudo-labels by the truth that our cohort keeps and no training sees.

Serves notebook 05. Only targets that nobody annotated are judged: the others are copies of a person's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from flare_core.batch import map_cases
from flare_core.cases.dataset import Entry
from flare_core.evaluation.evaluate import evaluate_case
from flare_core.evaluation.flare_rules import STRICT

COLUMNS = ("case", "group", "target", "dsc", "nsd")


def score_pseudo_labels(entries: Sequence[Entry], folder: Path) -> pd.DataFrame:
    """Score every filled-in target of every case whose truth is known.

    Args:
        entries: training cases; those without `truth` (any real case) are left out.
        folder: written by `pseudo_labels.write_pseudo_labels`.
    Returns:
        One row a case and filled-in target with `COLUMNS`; a target that neither truth nor pseudo-label shows has NaN
        scores. Without any truth the table is empty.
    Raises:
        RuntimeError: if a case cannot be scored.
    """
    sources = pd.read_csv(folder / "provenance.csv").set_index(["case", "target"])["source"]
    judged = [(entry.id, entry) for entry in entries if entry.truth is not None]
    report = map_cases(
        lambda entry: evaluate_case(folder / "labelsTr" / f"{entry.id}.nii.gz", entry.truth, STRICT),
        judged,
        title="judge pseudo-labels",
    )
    problems = report.failures | {case: r.problem for case, r in report.results.items() if r.problem}
    if problems:
        raise RuntimeError("pseudo-labels could not be judged: " + "; ".join(f"{c}: {w}" for c, w in problems.items()))
    rows = [
        (case, entry.group, score.target, score.dsc, score.nsd)
        for case, entry in judged
        for score in report.results[case].scores
        if sources[case, score.target] == "pseudo"
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
