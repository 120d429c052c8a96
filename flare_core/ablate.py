"""Use trained networks in other ways and score what that changes: experiments that train nothing.

Serves `flare ablate` and the verdicts on the papers' claims. Every experiment is a system with one of its ablations
(`System.ablated`); the system itself is predicted beside them, on the same machine, so that comparisons are paired.
What needs a training is predicted, too, where `flare retrain --ablations` has made its submission.

Scores are those of `retrain.record`; what a prediction cost is counted in windows and voxels, which do not depend on
what else the machine does. Seconds are kept only where they are asked for. Nothing is predicted twice.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pandas as pd

from flare_core import readme
from flare_core.cases.dataset import Dataset, Entry
from flare_core.cases.nifti import read_labels
from flare_core.evaluation.case_facts import PAIRS, false_tumor_ml, located_share, reference_facts, split_dsc
from flare_core.evaluation.evaluate import evaluate_folders
from flare_core.evaluation.flare_rules import FLARE23
from flare_core.evaluation.tables import write_csv
from flare_core.inference.predict import predict_files
from flare_core.inference.submission import Submission, load_submission, submission_hash
from flare_core.machine import processor_name
from flare_core.paths import results_of, run_of, submission_of
from flare_core.recipe import AS_PUBLISHED, fingerprint
from flare_core.retrain import provide_cohort, update_results
from flare_core.systems import SYSTEMS
from flare_core.training.run import Run

log = logging.getLogger(__name__)

COUNTS = ("windows", "network_voxels")
SECONDS = ("seconds", "network_s", "postprocess_s", "stage_s")


def ablate(profile: str, systems: Collection[str] = (), *, timed: bool = False) -> None:
    """Predict, score and record every experiment of some systems, and judge the claims anew.

    Writes `inference_scores.csv`, `inference_facts.csv` and `cases.csv` of the profile; rows of an experiment are
    replaced as soon as it is done (timed: as soon as all of its system and seed are), other rows stay.

    Args:
        profile: one with an embedded cohort.
        systems: keys; none means all that have a submission.
        timed: predict again and keep the seconds; let nothing else run meanwhile. Every case is predicted by all
            experiments of a system and seed in turn, beginning with another one than the case before, so that what the
            machine does, and who reads an image first, meets all of them alike.
    Raises:
        FileNotFoundError: if none of the systems has a submission at the profile.
        RuntimeError: if a case could not be predicted.
    """
    dataset, results = provide_cohort(profile), results_of(profile)
    runs = [run for key in dict.fromkeys(systems or SYSTEMS) for run in experiments(key, profile, dataset)]
    if not runs:
        names = ", ".join(systems or SYSTEMS)
        raise FileNotFoundError(f"no submission of {names} at the profile {profile}: train them with flare retrain")
    write_csv(case_table(dataset.validation), results / "cases.csv")
    for _, group in groupby(runs, key=lambda run: (run.system.key, run.seed, "" if timed else run.variant)):
        pairs = [(run, submission_for(run)) for run in group]
        _predict(pairs, timed)
        for run, submission in pairs:
            _record(run, submission, results, timed)
    if profile != "smoke":
        readme.update()


def experiments(key: str, profile: str, dataset: Dataset) -> Iterator[Run]:
    """Yield the system and each of its ablations that can be predicted, once for every seed that was trained.

    Each is a run whose `folder` is the submission that holds its networks.
    """
    system, places = SYSTEMS[key].at(profile), {}
    for folder in (submission_of(key, profile), *sorted(run_of(key, profile).glob("seed*/submission"))):
        if (folder / "submission.json").is_file():
            seed = json.loads((folder / "submission.json").read_text())["run_seed"]
            places.setdefault(seed, folder)
    for seed, folder in sorted(places.items()):
        yield Run(system, profile, dataset, folder, seed, variant=AS_PUBLISHED)
        for name in system.ablations:
            own = run_of(key, profile) / f"seed{seed}" / f"submission_{name}" if system.trains(name) else folder
            if (own / "submission.json").is_file():
                yield Run(system.ablated(name), profile, dataset, own, seed, variant=name)


def submission_for(run: Run) -> Submission:
    """Return an experiment as something that predicts: its inference with the networks that its submission holds.

    Raises:
        FileNotFoundError: if a stage's networks are neither in the submission nor among its teachers.
    """
    parts = [load_submission(folder) for folder in (run.folder, *sorted(run.folder.glob("teachers/*")))]
    there = {stage: networks for part in reversed(parts) for stage, networks in part.networks.items()}
    missing = [stage for stage in run.system.inference.stages if stage not in there]
    if missing:
        raise FileNotFoundError(f"{run.folder} holds no network of {', '.join(missing)}")
    networks = {stage: there[stage] for stage in run.system.inference.stages}
    return replace(parts[0], inference=run.system.inference, networks=networks)


def case_table(entries: Collection[Entry]) -> pd.DataFrame:
    """Return what the references say of the cases: rows case, target, volume_ml, touches_tumor, is_low."""
    rows = []
    for entry in entries:
        truth = read_labels(entry.labels)
        rows += [{"case": entry.id, **row} for row in reference_facts(truth.data, truth.spacing_mm)]
    return pd.DataFrame(rows)


def _predict(pairs: Sequence[tuple[Run, Submission]], timed: bool) -> None:
    """Predict the validation cases by experiments with the same cases; timed: case by case, and all of it again.

    Raises:
        RuntimeError: if a case could not be predicted.
    """
    for run, _ in pairs:
        log.info("%s %s, seed %d", run.system.key, run.variant, run.seed)
        if timed:
            shutil.rmtree(_folder(run), ignore_errors=True)
    images = [(entry.id, entry.image) for entry in pairs[0][0].dataset.validation]
    for number, part in enumerate([[image] for image in images] if timed else [images]):
        first = number % len(pairs)
        for run, submission in (*pairs[first:], *pairs[:first]):
            recipe = f"{submission_hash(run.folder)}, {fingerprint(run.system.inference)}"
            report = predict_files(part, _folder(run), submission, recipe)
            if report.failures:
                raise RuntimeError(f"{run.system.key} {run.variant}: cases failed: {report.failures}")


def _folder(run: Run) -> Path:
    """Return where an experiment's predictions lie."""
    return run_of(run.system.key, run.profile) / f"seed{run.seed}" / "inference" / run.variant


def _record(run: Run, submission: Submission, results: Path, timed: bool) -> None:
    """Score one predicted experiment and write its rows."""
    name, out = submission_hash(run.folder), _folder(run)
    labels = {"system": run.system.key, "variant": run.variant, "profile": run.profile, "seed": run.seed}
    labels |= {"submission": name[:12], "processor": processor_name()}
    scores = evaluate_folders(out, run.dataset.root / "labelsVal", FLARE23).scores_table()
    update_results(scores.assign(**labels), results / "inference_scores.csv", run)
    facts = pd.concat([_facts(entry, out, run, submission, timed) for entry in run.dataset.validation])
    facts, path = facts.assign(**labels), results / "inference_facts.csv"
    if not timed and path.is_file():
        facts = pd.concat([facts, _seconds_of(pd.read_csv(path), labels)])
    update_results(facts, path, run)


def _facts(entry: Entry, out: Path, run: Run, submission: Submission, timed: bool) -> pd.DataFrame:
    """Return rows (case, target, quantity, value) of one predicted case; seconds of a stage have it as target."""
    truth, found = read_labels(entry.labels), read_labels(out / f"{entry.id}.nii.gz", may_be_empty=True)
    record = json.loads((out / ".flare" / f"{entry.id}.json").read_text())
    rows = [("", quantity, record[quantity]) for quantity in COUNTS]
    if run.system.segments_tumors:
        rows.append(("", "false_tumor_ml", round(false_tumor_ml(truth.data, found.data, truth.spacing_mm), 3)))
    for right, left in PAIRS if run.system.segments_organs else ():
        rows.append((right, "split_dsc", split_dsc(truth.data, found.data, right, left)))
    image = entry.load().image
    regions = run.system.inference.regions(image.data, image.spacing_mm, submission.networks)
    if "located region" in regions:
        shares = located_share(truth.data, regions["located region"])
        rows += [(target, "located_share", round(share, 4)) for target, share in shares.items()]
    if timed:
        rows.append(("", "seconds", record["seconds"]))
        rows += [("", f"{step}_s", record["timings"].get(step, 0.0)) for step in ("network", "postprocess")]
        rows += [(stage, "stage_s", seconds) for stage, seconds in record["stages"].items()]
    table = pd.DataFrame(rows, columns=["target", "quantity", "value"])
    table.insert(0, "case", entry.id)
    return table


def _seconds_of(known: pd.DataFrame, labels: dict) -> pd.DataFrame:
    """Return the seconds that were measured of the same experiment with the same networks."""
    keys = ["system", "variant", "seed", "submission"]
    same = known[keys].eq([labels[key] for key in keys])
    return known[same.all(axis=1) & known["quantity"].isin(SECONDS)]
