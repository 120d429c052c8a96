"""Judge every trained fold on the training cases that it did not learn from, as nvauto's table 4 does.

Serves `flare cross-validate` and notebook 10. The split of a stage follows from its cases and the seed of the run, so
what a shipped network has not seen is known without its training folder.

What the numbers are not: the cases of a fold also chose that network's best epoch (in the paper, too: "best model of
each fold"), and networks before it, such as nvauto's localizer and its first round, may have learned from them.

References:
    nvauto, sections 2 and 3 and table 4 (unlabeled classes are skipped in validation).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pandas as pd

from flare_core.batch import map_cases
from flare_core.cases.dataset import Dataset, Entry
from flare_core.cases.labels import TARGET_NAMES
from flare_core.evaluation.evaluate import Pair
from flare_core.evaluation.flare_rules import PARTIAL
from flare_core.inference.predict import predict_files
from flare_core.inference.submission import Submission, load_submission, submission_hash
from flare_core.machine import processor_name, usable_cores
from flare_core.recipe import AS_PUBLISHED, Stage
from flare_core.retrain import update_rows
from flare_core.workspace import Workspace

COLUMNS = ("case", "target", "dsc", "nsd", "stage", "fold")


def cross_validate(work: Workspace, stage: str = "") -> pd.DataFrame:
    """Predict and score what each fold of a stage held out, and write the rows to `cross_validation.csv`.

    Every network with the number of the fold predicts; a stage without it (nvauto's localizer has fold 0 alone) takes
    all that it has. Only annotated targets are scored (rules `partial`).

    Args:
        work: whose submission and dataset.
        stage: name; by default the last one of the inference that is split into folds.
    Returns:
        Rows (case, target, dsc, nsd, stage, fold, system, variant, seed, profile, device, submission,
        recorded), for the targets that the stage segments. Folds that are not trained have none.
    Raises:
        ValueError: if the stage is not split, tells no single target apart, or the networks learned from other cases
            than this dataset and seed give.
        RuntimeError: if a case could not be predicted or scored.
    """
    submission, dataset = load_submission(work.submission), work.annotated_dataset()
    chosen = split_stage(work, stage)
    tables = []
    for fold, entries in held_out(submission, chosen, dataset).items():
        name = f"{submission_hash(work.submission)}, {chosen.name} fold {fold}"
        out = work.folder / work.system / "cross_validation" / f"{chosen.name}_fold{fold}"
        images = [(entry.id, entry.image) for entry in entries]
        predicted = predict_files(images, out, only_fold(submission, fold), name)
        scored = map_cases(lambda entry, out=out: _scores(entry, out), [(e.id, e) for e in entries], title="score")
        if failures := predicted.failures | scored.failures:
            raise RuntimeError(f"{chosen.name}, fold {fold}: cases failed: {failures}")
        rows = [row for rows in scored.results.values() for row in rows]
        tables.append(pd.DataFrame(rows, columns=COLUMNS[:4]).assign(stage=chosen.name, fold=fold))
    own = {"system": work.system, "variant": AS_PUBLISHED, "seed": submission.facts["run_seed"], "stage": chosen.name}
    targets = {name for group in chosen.scheme.groups for name in group}
    table = pd.concat(tables, ignore_index=True)
    table = table[table["target"].isin(targets)].dropna(subset="dsc")
    table = table.assign(**own, profile=work.profile, device=f"{processor_name()}, {usable_cores()} cores")
    table["submission"] = submission_hash(work.submission)[:12]
    table["recorded"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    update_rows(table, work.results / "cross_validation.csv", own)
    return table


def split_stage(work: Workspace, name: str = "") -> Stage:
    """Return the stage to cross-validate.

    Raises:
        ValueError: if it is not one of the inference's, not split into folds, or segments no single target.
    """
    recipe = work.recipe()
    stages = [recipe.stage(stage) for stage in recipe.inference.stages]
    able = [s for s in stages if s.folds > 1 and all(len(group) <= 2 for group in s.scheme.groups)]
    found = [stage for stage in able if name in ("", stage.name)]
    if not found:
        there = ", ".join(stage.name for stage in able) or "no stage of it is"
        raise ValueError(f"{work.system}: expected a stage that is split into folds and tells targets apart: {there}")
    return found[-1]


def held_out(submission: Submission, stage: Stage, dataset: Dataset) -> dict[int, tuple[Entry, ...]]:
    """Return fold to the cases that its network did not learn from, for every fold of a stage in a submission.

    Raises:
        ValueError: if a network learned from another number of cases than the split leaves it.
    """
    cases = stage.cases(dataset.training)
    parts = dataset.folds(cases, stage.folds, submission.facts["run_seed"])
    found = {}
    for network in submission.networks[stage.name]:
        fold, learned = network.facts["fold"], network.facts["training_cases"]
        if learned != len(cases) - len(parts[fold]):
            raise ValueError(
                f"{stage.name}, fold {fold}: learned from {learned} cases, but {dataset.name} leaves it "
                f"{len(cases) - len(parts[fold])}; give the dataset that it was trained on"
            )
        found[fold] = parts[fold]
    return found


def only_fold(submission: Submission, fold: int) -> Submission:
    """Return the submission with one network a stage, that of the fold; a stage that has no such fold keeps all."""
    networks = {}
    for stage, members in submission.networks.items():
        networks[stage] = [network for network in members if network.facts["fold"] == fold] or members
    return replace(submission, networks=networks)


def fold_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score of each target in each fold, in the order of the targets.

    Args:
        rows: of one stage, from `cross_validate`.
    Returns:
        Columns `target`, `fold`, `dsc`, `nsd`, `cases`; a target that no case of a fold annotates has no row there.
    """
    means = rows.groupby(["target", "fold"]).agg(dsc=("dsc", "mean"), nsd=("nsd", "mean"), cases=("case", "nunique"))
    order = {name: place for place, name in enumerate(TARGET_NAMES)}
    return means.reset_index().sort_values(["target", "fold"], key=lambda c: c.map(order) if c.name == "target" else c)


def _scores(entry: Entry, predictions: Path) -> list[tuple]:
    """Return (case, target, dsc, nsd) of every target of a predicted case."""
    result = Pair.of(entry, predictions).score(PARTIAL)
    if result.problem:
        raise ValueError(result.problem)
    return [(entry.id, score.target, score.dsc, score.nsd) for score in result.scores]
