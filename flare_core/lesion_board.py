"""Put how many lesions each submission finds, and invents, beside each other.

Serves notebook 07 and `flare lesions`. As on the scoreboard, a system that is predicted here is counted now, the others
came along with the package, and every row says which.
"""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd

from flare_core import paths
from flare_core.evaluation.flare_rules import FLARE23
from flare_core.evaluation.lesions import lesion_summary
from flare_core.inference.submission import load_submission, submission_hash
from flare_core.recipe import AS_PUBLISHED
from flare_core.retrain import update_rows
from flare_core.scoreboard import (
    CAME_ALONG,
    MADE_NOW,
    evaluate_validation,
    has_predictions,
    predict_validation,
)
from flare_core.systems import SYSTEMS
from flare_core.workspace import Workspace


def record_lesions(work: Workspace) -> pd.DataFrame:
    """Predict the validation cases, count their lesions and write the rows to `lesions.csv`.

    Args:
        work: whose submission and dataset.
    Returns:
        A row a case: case, lesions, found, predicted, false_positives, and whose they are.
    Raises:
        RuntimeError: if a case could not be predicted.
    """
    report = predict_validation(work)
    if report.failures:
        raise RuntimeError(f"{work.system}: validation cases failed: {report.failures}")
    seed = load_submission(work.submission).facts["run_seed"]
    own = {"system": work.system, "variant": AS_PUBLISHED, "seed": seed}
    table = evaluate_validation(work, FLARE23).lesions_table()
    table = table.assign(**own, profile=work.profile, submission=submission_hash(work.submission)[:12])
    table["recorded"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    update_rows(table, work.results / "lesions.csv", own)
    return table


def lesion_board(profile: str, data: str = "", root: Path = paths.ROOT) -> pd.DataFrame:
    """Return the lesions of every system that has been counted at a profile.

    Args:
        profile, data, root: as for `Workspace`.
    Returns:
        A row a system: cases, lesions in all of them (and for all seeds of a training), how many were found, the
        sensitivity, false positives a case, and whether it was counted now. No system gives no row.
    """
    file = Workspace(profile=profile, data=data, root=root).results / "lesions.csv"
    kept = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["system", "variant"])
    rows = {}
    for work in (Workspace(system, profile, data, root) for system in SYSTEMS):
        if has_predictions(work):
            table, made = evaluate_validation(work, FLARE23).lesions_table(), MADE_NOW
        else:
            table, made = kept, CAME_ALONG
            table = table[(table["system"] == work.system) & (table["variant"] == AS_PUBLISHED)]
        if len(table):
            rows[work.system] = lesion_summary(table).to_dict() | {"counted": made}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")
