"""Train the submissions of a profile from scratch and write what the notebooks and the README show.

Serves `make retrain` (mini) and the notebooks' smoke runs. Everything comes from the embedded cohort: trainings go to
`runs/`, submissions to `weights/`, and tables (scores, learning curves, pseudo-label quality) to `data/results/`.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from flare_core import readme
from flare_core.batch import map_cases
from flare_core.cases.dataset import Dataset
from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti import read_labels
from flare_core.evaluation.evaluate import Evaluation, evaluate_folders
from flare_core.evaluation.flare_rules import FLARE23
from flare_core.evaluation.metrics import dsc
from flare_core.evaluation.tables import write_csv
from flare_core.inference.predict import predict_files
from flare_core.inference.submission import load_submission, submission_hash
from flare_core.paths import results_of, run_of, submission_of
from flare_core.systems import SYSTEMS
from flare_core.training.run import Run, train_system
from flare_core.training.selection import PseudoLabels
from flare_core.workspace import COHORTS, embedded_cohort

log = logging.getLogger(__name__)

AS_PUBLISHED = "as_published"


def provide_cohort(profile: str) -> Dataset:
    """Return the profile's cohort, written once.

    Raises:
        ValueError: if the profile has no embedded cohort (`paper` runs on the real release).
    """
    if profile not in COHORTS:
        raise ValueError(f"profile {profile!r} has no embedded cohort; name a dataset, or use {', '.join(COHORTS)}")
    return Dataset.load(embedded_cohort(profile))


def retrain(profile: str, *, jobs: int = 1, seed: int = 0, systems: Collection[str] = ()) -> None:
    """Train, score and ship systems and their ablations at a profile; finished parts are not repeated.

    Args:
        profile: `mini` or `smoke`.
        jobs: folds trained at the same time.
        seed: of the trainings.
        systems: keys of those to train; none means all. The tables keep the rows of the others.
    """
    dataset, chosen = provide_cohort(profile), tuple(systems or SYSTEMS)
    scores, summaries, histories, quality = [], [], [], []
    for key in chosen:
        shrunk = SYSTEMS[key].at(profile)
        variants = {AS_PUBLISHED: shrunk} | {name: shrunk.ablated(name) for name in shrunk.ablations}
        for variant, value in variants.items():
            trainings = run_of("trainings", profile)  # systems and ablations share what is equal
            run = Run(value, profile, dataset, run_of(key, profile), seed, variant=variant, trainings=trainings)
            submission = train_system(run, jobs=jobs)
            labels = {"system": key, "variant": variant, "profile": profile, "seed": seed}
            evaluation = score(submission, dataset, run.folder / f"predictions_{variant}")
            scores.append(evaluation.scores_table().assign(**labels))
            summaries.append(evaluation.summary_table().assign(**labels))
            histories.append(learning_history(run).assign(**labels))
            quality.append(pseudo_label_quality(run).assign(**labels))
        ship(run_of(key, profile) / f"submission_{AS_PUBLISHED}", submission_of(key, profile))
    out = results_of(profile)
    update_results(pd.concat(scores), out / "scores.csv", chosen)
    update_results(pd.concat(summaries), out / "summary.csv", chosen)
    update_results(pd.concat(histories), out / "history.csv", chosen)
    update_results(_concatenated(quality), out / "pseudo_labels.csv", chosen)
    if profile == "mini":
        readme.update()


def update_results(table: pd.DataFrame, path: Path, systems: Collection[str]) -> Path:
    """Write a result table whose rows replace those of some systems in the file; the others stay.

    Args:
        table: with a column `system`.
        path: the file; rows of systems that no longer exist go, the others are in the order of `SYSTEMS`.
        systems: keys of the systems that the table speaks of (it may have no row of one).
    """
    order = list(SYSTEMS)
    if path.is_file():
        known = pd.read_csv(path)
        kept = known[known["system"].isin(set(order) - set(systems))]
        table = _concatenated([table, kept])
    return write_csv(table.sort_values("system", key=lambda keys: keys.map(order.index), kind="stable"), path)


def _concatenated(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return tables in one; empty ones, whose columns have no types, are left out (all empty: the first one)."""
    return pd.concat([table for table in tables if len(table)] or tables[:1])


def score(submission: Path, dataset: Dataset, out: Path) -> Evaluation:
    """Predict the validation cases and score them by FLARE23's rules.

    Raises:
        RuntimeError: if a case could not be predicted.
    """
    images = [(entry.id, entry.image) for entry in dataset.validation]
    report = predict_files(images, out, load_submission(submission), submission_hash(submission))
    if report.failures:
        raise RuntimeError(f"validation cases failed: {report.failures}")
    return evaluate_folders(out, dataset.root / "labelsVal", FLARE23)


def learning_history(run: Run) -> pd.DataFrame:
    """Return the epochs of every training of a run: stage, fold, epoch, step, learning_rate, loss, dice_*, seconds."""
    tables = []
    for stage in run.needed_stages():
        for fold in stage.trained_folds:
            table = pd.read_csv(run.stage_folder(stage) / f"fold{fold}" / "history.csv")
            tables.append(table.assign(stage=stage.name, fold=fold))
    return pd.concat(tables)


def pseudo_label_quality(run: Run) -> pd.DataFrame:
    """Compare every pseudo-labeled target with the cohort's truth.

    Returns:
        Rows (stage, case, target, source, voxels, dsc); empty if the run filled nothing. A target that is absent from
        both has DSC 1, as in FLARE's rules.
    """
    truths = {entry.id: entry.truth for entry in run.dataset.training if entry.truth is not None}
    tables = []
    for stage in run.needed_stages():
        if not isinstance(stage.labels, PseudoLabels):
            continue
        folder = run.stage_folder(stage) / "pseudo_labels"
        table = pd.read_csv(folder / "provenance.csv")
        table = table[(table.source == "pseudo") & table.case.isin(truths)]
        report = map_cases(
            lambda case, folder=folder: _case_quality(folder / "labelsTr" / f"{case}.nii.gz", truths[case]),
            [(case, case) for case in sorted(table.case.unique())],
            title="pseudo-label quality",
        )
        found = [report.results[row.case][row.target] for row in table.itertuples()]
        tables.append(table.assign(stage=stage.name, dsc=found))
    columns = ["stage", "case", "target", "source", "voxels", "dsc"]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def _case_quality(filled: Path, truth: Path) -> dict[str, float]:
    """Return the DSC of every target of one case, rounded to four digits."""
    prediction, reference = read_labels(filled).data, read_labels(truth).data
    scores = {}
    for target in TARGETS:
        masks = reference == target.id, prediction == target.id
        scores[target.name] = round(dsc(*masks), 4) if masks[0].any() or masks[1].any() else 1.0
    return scores


def ship(submission: Path, target: Path) -> None:
    """Copy a submission folder to where `flare predict --model` and the notebooks take it from."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(submission, target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    log.info("shipped %s: %.1f MB", json.dumps(target.name), size / 1e6)
