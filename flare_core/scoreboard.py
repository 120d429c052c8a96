"""Predict the validation cases of a system and put the scores of all systems beside each other.

Serves notebooks 06, 07 and 11. A system whose predictions lie in its run folder, made by the networks that are there
now, is scored now; for the others the committed tables serve, and every row says which.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from flare_core import paths
from flare_core.batch import BatchReport
from flare_core.cases.dataset import Entry
from flare_core.cases.labels import BY_NAME, ORGAN_NAMES, TUMOR
from flare_core.cases.nifti import Volume, read_labels
from flare_core.evaluation.evaluate import Evaluation, Pair, evaluate_pairs
from flare_core.evaluation.flare_rules import FLARE23, Rules
from flare_core.evaluation.slices import CaseView, middle_voxel
from flare_core.inference.backends import choose_compute
from flare_core.inference.predict import predict_files
from flare_core.inference.submission import load_submission, submission_hash
from flare_core.recipe import AS_PUBLISHED, variant_title
from flare_core.systems import SYSTEMS
from flare_core.teaching import only
from flare_core.workspace import Workspace

MADE_NOW, CAME_ALONG = "made now", "came along"
SCORES = ["case", "target", "dsc", "nsd", "system"]
SUMMARY = ["row", "cases", "dsc", "nsd", "false_positive_ml", "system", "made"]


@dataclass(frozen=True, eq=False)
class PredictedCase:
    """A validation case with a prediction; both label maps hold only targets that the system predicts."""

    id: str
    image: Volume
    reference: Volume
    prediction: Volume

    def view(self, title: str = "") -> CaseView:
        """Return it for drawing; its id is the title unless another one is given."""
        image = self.image
        return CaseView(title or self.id, image.data, image.spacing_mm, self.reference.data, self.prediction.data)

    def lowest_target(self, dsc: Mapping[str, float]) -> str:
        """Return the target with the lowest score among those that the annotator drew (none drawn: among all)."""
        scores = dict(dsc)  # a pandas series iterates over values
        drawn = [name for name in scores if (self.reference.data == BY_NAME[name].id).any()]
        return min(drawn or scores, key=scores.get)

    def middle_of(self, target: str) -> tuple[int, ...]:
        """Return the voxel in the middle of a target, as drawn or else as predicted (neither: of the volume).

        Raises:
            ValueError: if there is no such target.
        """
        if target not in BY_NAME:
            raise ValueError(f"no target {target!r}; choose from {', '.join(BY_NAME)}")
        maps = (self.reference.data, self.prediction.data)
        found = filter(None, (middle_voxel(labels, BY_NAME[target].id) for labels in maps))
        return next(found, tuple(size // 2 for size in self.image.data.shape))


def shown_entry(entries: Sequence[Entry]) -> Entry:
    """Return the first case whose reference shows a tumor, else the first with a reference, else the first."""
    labeled = [entry for entry in entries if entry.is_labeled]
    return next((entry for entry in labeled if has_tumor(entry)), (labeled or entries)[0])


def has_tumor(entry: Entry) -> bool:
    """Say whether a case's label file shows a tumor (no file: no)."""
    return entry.is_labeled and bool((read_labels(entry.labels, label_map=entry.label_ids).data == TUMOR.id).any())


def predict_validation(work: Workspace, entries: Iterable[Entry] | None = None) -> BatchReport:
    """Predict the validation cases (or some of them); what the same networks have predicted already is kept."""
    chosen = work.dataset().validation if entries is None else entries
    images = [(entry.id, entry.image) for entry in chosen]
    return predict_files(images, work.predictions, load_submission(work.submission), submission_hash(work.submission))


def has_predictions(work: Workspace) -> bool:
    """Say whether every validation case is predicted by the networks that are there now."""
    try:
        networks = submission_hash(work.submission)
    except FileNotFoundError:
        return False
    for entry in work.dataset().validation:
        record = work.predictions / ".flare" / f"{entry.id}.json"
        if not record.is_file() or not (work.predictions / f"{entry.id}.nii.gz").is_file():
            return False
        if json.loads(record.read_text()).get("made_from", {}).get("model") != networks:
            return False
    return True


def predicted_case(work: Workspace, case: str) -> PredictedCase:
    """Load a validation case with its prediction.

    Raises:
        FileNotFoundError: if it is not predicted.
        ValueError: if there is no such case, or one without reference labels.
    """
    entry = next((entry for entry in work.dataset().validation if entry.id == case), None)
    if entry is None or not entry.is_labeled:
        raise ValueError(f"no validation case {case!r} with reference labels in {work.dataset().name}")
    file = work.predictions / f"{case}.nii.gz"
    if not file.is_file():
        raise FileNotFoundError(f"no prediction {file}; run notebook 06_inference for {work.system} first")
    loaded = entry.load()
    labels, prediction = (only(v, work.targets) for v in (loaded.labels, read_labels(file, may_be_empty=True)))
    return PredictedCase(case, loaded.image, labels, prediction)


def predicted_by_all(work: Workspace, case: str) -> dict[str, PredictedCase]:
    """Return a validation case as every submission that is there predicts it, the workspace's own first.

    What is missing is predicted now, with torch: OpenVINO's graphs would take longer to build than one case to predict.
    """
    found = {work.system: predicted_case(work, case)}
    (entry,) = (entry for entry in work.dataset().validation if entry.id == case)
    for other in (replace(work, system=system) for system in SYSTEMS if system != work.system):
        try:
            networks = submission_hash(other.submission)
        except FileNotFoundError:
            continue
        submission = load_submission(other.submission, choose_compute("torch"))
        predict_files([(case, entry.image)], other.predictions, submission, networks)
        found[other.system] = predicted_case(other, case)
    return found


def evaluate_validation(work: Workspace, rules: Rules, *, write: bool = False) -> Evaluation:
    """Score a system's predictions of the labeled validation cases.

    Args:
        work: whose predictions.
        rules: which rules.
        write: leave `scores.csv` and `scores_summary.csv` in the run folder.
    Raises:
        FileNotFoundError: if there are no predictions.
        ValueError: if no validation case is labeled.
    """
    dataset = work.dataset()
    pairs = [Pair.of(entry, work.predictions) for entry in dataset.validation if entry.is_labeled]
    if not pairs:
        raise ValueError(f"{dataset.root}: expected reference labels of validation cases, none in labelsVal")
    if not any(pair.prediction.is_file() for pair in pairs):
        raise FileNotFoundError(
            f"no prediction of a labeled case in {work.predictions}; run notebook 06_inference for {work.system} first"
        )
    return evaluate_pairs(pairs, rules, work.run / "scores.csv" if write else None)


@dataclass(frozen=True, eq=False)
class Scoreboard:
    """The scores of several systems under FLARE23's rules.

    Attributes:
        scores: rows (case, target, dsc, nsd, system), for the targets that each system predicts.
        summary: rows (row, cases, dsc, nsd, false_positive_ml, system, made).
        tumor_cases: ids of the validation cases that show a tumor.
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    tumor_cases: frozenset[str]

    @property
    def systems(self) -> list[str]:
        """Keys of the systems that have scores, in their order."""
        return list(dict.fromkeys(self.scores["system"]))

    def table(self) -> pd.DataFrame:
        """Return a row a system: organs (NaN: not predicted), tumors where there are any, false alarms elsewhere."""
        rows = {}
        for system, part in self.summary.groupby("system", sort=False):
            by_row = part.set_index("row")
            organs, found, free = (by_row.loc[n] for n in ("organs", "tumor_bearing_cases", "tumor_free_cases"))
            is_organ_system = SYSTEMS[system].segments_organs
            rows[system] = {
                "scores": part["made"].iloc[0],
                "organ DSC": organs["dsc"] if is_organ_system else np.nan,
                "organ NSD": organs["nsd"] if is_organ_system else np.nan,
                "tumor DSC": found["dsc"],
                "tumor NSD": found["nsd"],
                "cases with tumor": int(found["cases"]),
                "false tumor (ml)": free["false_positive_ml"],
                "cases without": int(free["cases"]),
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")

    def means(self) -> pd.DataFrame:
        """Return a row a system and case for drawing: columns system, case, measure, score.

        The measures are the mean over the organs, and the tumor in cases that have one, each as DSC and NSD.
        """
        organs = self.scores[self.scores["target"].isin(ORGAN_NAMES)]
        by_case = organs.groupby(["system", "case"], sort=False)[["dsc", "nsd"]].mean().reset_index()
        is_found = (self.scores["target"] == TUMOR.name) & self.scores["case"].isin(self.tumor_cases)
        parts = [("Organs", by_case), ("Tumor if any", self.scores[is_found])]
        tables = [
            part[["system", "case"]].assign(measure=f"{title}, {metric.upper()}", score=part[metric])
            for title, part in parts
            for metric in ("dsc", "nsd")
        ]
        return pd.concat(tables, ignore_index=True)


def ranked_cases(scores: pd.DataFrame, tumor_cases: Collection[str]) -> pd.Series:
    """Return the mean DSC of every case, worst first.

    Args:
        scores: columns case, target, dsc, of one system.
        tumor_cases: where no organ is scored, only these cases are ranked (if any of them is there).
    """
    if not scores["target"].isin(ORGAN_NAMES).any() and scores["case"].isin(tumor_cases).any():
        scores = scores[scores["case"].isin(tumor_cases)]
    return scores.groupby("case")["dsc"].mean().sort_values(kind="stable")


def scoreboard(profile: str, data: str = "", root: Path = paths.ROOT) -> Scoreboard:
    """Gather the scores of every system that has any at a profile.

    Args:
        profile, data, root: as for `Workspace`; with `data` only what was predicted from it counts.
    Raises:
        FileNotFoundError: if there is nothing to show.
    """
    works = [Workspace(system, profile, data, root) for system in SYSTEMS]
    kept = committed(works[0], "scores"), committed(works[0], "summary")
    scores, summaries = [], []
    for work in works:
        if has_predictions(work):
            evaluation = evaluate_validation(work, FLARE23, write=True)
            found, made = (evaluation.scores_table(), evaluation.summary_table()), MADE_NOW
        else:
            found, made = tuple(_of(table, work.system) for table in kept), CAME_ALONG
        scores.append(found[0][found[0]["target"].isin(work.targets)].assign(system=work.system))
        summaries.append(found[1].assign(system=work.system, made=made))
    if not sum(map(len, scores)):
        raise FileNotFoundError(
            f"no scores at the profile {profile}: run notebook 06_inference or `make retrain` first"
        )
    tumor_cases = frozenset(entry.id for entry in works[0].dataset().validation if has_tumor(entry))
    tables = (pd.concat([t for t in parts if len(t)], ignore_index=True) for parts in (scores, summaries))
    return Scoreboard(*(t[columns] for t, columns in zip(tables, (SCORES, SUMMARY), strict=True)), tumor_cases)


def committed(work: Workspace, name: str) -> pd.DataFrame:
    """Return a table of the trainings that made the networks (`retrain`), of all systems; empty if there is none.

    Several seeds of one training are averaged.
    """
    file = work.results / f"{name}.csv"
    if not file.is_file():
        return pd.DataFrame(columns=["target", "row", "system", "variant"])
    return mean_over_seeds(existing(pd.read_csv(file)))


def existing(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of systems and ablations that exist; an ablation may have been renamed since they were made."""
    names = [(key, name) for key, system in SYSTEMS.items() for name in (AS_PUBLISHED, *system.ablations)]
    return table[pd.MultiIndex.from_frame(table[["system", "variant"]]).isin(names)]


def mean_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of scores or a summary with the seeds of one training averaged; what tells them apart goes."""
    measures = [name for name in ("dsc", "nsd", "false_positive_ml") if name in table]
    apart = ("seed", "steps", "device", "submission", "recorded")
    keys = [name for name in table.columns if name not in (*measures, *apart)]
    return table.groupby(keys, sort=False, dropna=False)[measures].mean().reset_index()


def ablation_scores(work: Workspace) -> pd.DataFrame:
    """Return the committed scores of a system and its ablations, `system` naming the variant; none if it has none."""
    table = committed(work, "scores")
    table = table[(table["system"] == work.system) & table["target"].isin(work.targets)]
    segments_tumors = table["variant"].map(lambda name: SYSTEMS[work.system].ablated(name).segments_tumors).astype(bool)
    table = table[segments_tumors | (table["target"] != TUMOR.name)]
    named = table.assign(system=table["variant"].map(variant_title))
    return named if named["variant"].nunique() > 1 else named.iloc[:0]


def _of(table: pd.DataFrame, system: str) -> pd.DataFrame:
    """Return a system's own rows of a committed table."""
    return table[(table["system"] == system) & (table["variant"] == AS_PUBLISHED)]
