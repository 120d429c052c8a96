"""Train the submissions of a profile from scratch and write what the notebooks and the README show.

Serves `make retrain` (mini) and the notebooks' smoke runs. Everything comes from the embedded cohort: trainings go to
`runs/`, submissions to `weights/`, and tables (scores, learning curves, pseudo-label quality) to `data/results/`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flare_core import model_cards, readme
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
from flare_core.output_lock import only_run
from flare_core.paths import WEIGHTS, results_of, run_of, submission_of
from flare_core.recipe import AS_PUBLISHED
from flare_core.scoreboard import existing
from flare_core.storage import write_file
from flare_core.systems import SYSTEMS
from flare_core.training.run import Run, assemble
from flare_core.training.schedule import train_runs
from flare_core.training.selection import PseudoLabels
from flare_core.workspace import COHORTS, embedded_cohort

log = logging.getLogger(__name__)


def provide_cohort(profile: str) -> Dataset:
    """Return the profile's cohort, written once.

    Raises:
        ValueError: if the profile has no embedded cohort (`paper` runs on the real release).
    """
    if profile not in COHORTS:
        raise ValueError(f"profile {profile!r} has no embedded cohort; name a dataset, or use {', '.join(COHORTS)}")
    return Dataset.load(embedded_cohort(profile))


def retrain(
    profile: str,
    *,
    jobs: int = 1,
    seeds: Sequence[int] = (0,),
    systems: Collection[str] = (),
    ablations: Collection[str] | None = (),
    alone: bool = False,
) -> None:
    """Train, score and ship systems; what is finished is not repeated, a rerun goes on from the last epoch.

    The tables get the rows of a system, variant and seed as soon as its trainings are there; other rows stay.

    Args:
        profile: one with an embedded cohort.
        jobs: trainings done at the same time.
        seeds: of the trainings; the first one's networks are shipped.
        systems: keys of those to train, the most urgent first; none means all.
        ablations: names of those to train, too; None means all. One that needs no training is left to `ablate`.
        alone: train the ablations without the systems themselves, whose networks and rows stay.
    Raises:
        ValueError: if none of the systems has an ablation of that name, or `alone` comes without any.
        Unfinished: if a training failed; the others are done and scored.
    """
    keys = systems or tuple(SYSTEMS)
    known = {name for key in keys for name in SYSTEMS[key].ablations}
    if unknown := set(ablations or ()) - known:
        hint = " (systems are named before --ablations)" if unknown & set(SYSTEMS) else ""
        raise ValueError(f"no ablation {', '.join(sorted(unknown))}; choose from {', '.join(sorted(known))}{hint}")
    if alone and ablations is not None and not ablations:
        raise ValueError("nothing to train: name the ablations that are to be trained alone (--ablations)")
    dataset, runs = provide_cohort(profile), []
    for seed in seeds:
        for key in keys:
            shrunk = SYSTEMS[key].at(profile)
            names = [name for name in shrunk.ablations if ablations is None or name in ablations]
            variants = {name: shrunk.ablated(name) for name in names if shrunk.trains(name)}
            if ablations and (left := [name for name in names if name not in variants]):
                log.info("%s: %s need no training; flare ablate predicts them", key, ", ".join(left))
            for variant, system in (variants if alone else {AS_PUBLISHED: shrunk} | variants).items():
                folder = run_of(key, profile) / f"seed{seed}"
                trainings = run_of("trainings", profile)  # systems and ablations share what is equal
                runs.append(Run(system, profile, dataset, folder, seed, variant=variant, trainings=trainings))
    for run in train_runs(runs, jobs=jobs):
        record(run)
        if run.variant == AS_PUBLISHED and run.seed == seeds[0]:
            ship(run.submission, submission_of(run.system.key, profile))
    if profile in ("mini", "study"):
        readme.update()
        model_cards.update()


def record(run: Run) -> None:
    """Assemble a run's submission, score it, and write its rows of the result tables."""
    assemble(run, run.submission)
    evaluation = score(run.submission, run.dataset, run.folder / f"predictions_{run.variant}")
    history = learning_history(run)
    labels = {"system": run.system.key, "variant": run.variant, "profile": run.profile, "seed": run.seed}
    labels |= {"steps": history.groupby(["stage", "fold"])["step"].max().sum(), "device": devices(run)}
    labels |= {"submission": submission_hash(run.submission)[:12], "recorded": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    tables = {
        "scores": evaluation.scores_table(),
        "summary": evaluation.summary_table(),
        "lesions": evaluation.lesions_table(),
        "history": history,
        "pseudo_labels": pseudo_label_quality(run),
    }
    for name, table in tables.items():
        update_results(table.assign(**labels), results_of(run.profile) / f"{name}.csv", run)


def update_results(table: pd.DataFrame, path: Path, run: Run) -> Path:
    """Write a run's rows into a result table, in place of those of its system, variant and seed; see `update_rows`."""
    return update_rows(table, path, {"system": run.system.key, "variant": run.variant, "seed": run.seed})


def update_rows(table: pd.DataFrame, path: Path, own: Mapping[str, Any]) -> Path:
    """Write rows into a result table, in place of those that have the same values in some columns; the others stay.

    Of two commands that write at once one waits for the other.

    Args:
        table: the rows (there may be none), with columns `system`, `variant` and `seed`.
        path: the file; rows of systems and ablations that no longer exist go, the others are in the order of `SYSTEMS`.
        own: column to value, the same in all of `table`: whose rows these are.
    """
    order = list(SYSTEMS)
    ranks = {"system": order.index, "variant": lambda name: (name != AS_PUBLISHED, name), "seed": int}
    with only_run(path.parent, wait=True):
        if path.is_file():
            known = existing(pd.read_csv(path))
            same = known[list(own)].eq(list(own.values())).all(axis=1)
            table = _concatenated([table, known[~same]])
        table = table.sort_values(list(ranks), key=lambda column: column.map(ranks[column.name]), kind="stable")
        return write_csv(table, path)


def devices(run: Run) -> str:
    """Return the names of the devices that trained a run's networks."""
    folders = [run.stage_folder(stage) / f"fold{fold}" for stage in run.needed_stages() for fold in stage.trained_folds]
    records = [json.loads((folder / "model" / "model.json").read_text()) for folder in folders]
    return "; ".join(sorted({record["device"] for record in records}))


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
        folder = run.labels_folder(stage)
        table = pd.read_csv(run.stage_folder(stage) / "provenance.csv")
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
    """Copy a submission folder, with its card if it is shipped, to where `flare predict --model` takes it from.

    What is there stays until all of the new one is; both lie in `.NAME.aside` while they change places.
    """
    aside = target.with_name(f".{target.name}.aside")
    if (aside / "older").exists() and not target.exists():  # an earlier one was killed between its two last steps
        os.rename(aside / "older", target)
    shutil.rmtree(aside, ignore_errors=True)
    fresh = aside / target.name
    shutil.copytree(submission, fresh)
    if target.parent == WEIGHTS:
        write_file(fresh / "README.md", model_cards.card(target.name, aside))
    if target.exists():
        os.rename(target, aside / "older")
    os.rename(fresh, target)
    shutil.rmtree(aside)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    log.info("shipped %s: %.1f MB", json.dumps(target.name), size / 1e6)
