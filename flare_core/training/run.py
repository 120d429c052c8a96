"""One run of a system: where its trainings lie, what they depend on, the pseudo-labels between them, its submission.

Serves `flare train`; `schedule.py` says what is trained when. Every training has a folder named after what it depends
on (stage value, seed, data, teacher), so equal trainings of different experiments are done once, and a rerun goes on
where the last one stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import flare_core
from flare_core.batch import SERIAL, Engine
from flare_core.cases.case import Case
from flare_core.cases.dataset import Dataset, Entry
from flare_core.cases.nifti import read_labels
from flare_core.cases.sampling import PreparedCase
from flare_core.inference.network import TrainedNetwork, load_network
from flare_core.inference.submission import Submission, save_submission
from flare_core.output_lock import only_run
from flare_core.recipe import Stage, System, encode, fingerprint
from flare_core.storage import file_hash, write_file
from flare_core.training.loop import Workers, train
from flare_core.training.prepare import NothingToTrain, is_prepared, prepare_cases
from flare_core.training.processes import device_name
from flare_core.training.pseudo_labels import write_pseudo_labels
from flare_core.training.selection import PseudoLabels

log = logging.getLogger(__name__)

PARTS_VERSION = 1  # raise it by hand when a part changes its behavior without changing its fields


@dataclass(frozen=True)
class Run:
    """Where and on what a system is trained.

    Attributes:
        system: the value, already at its profile.
        profile: its name, for the record.
        dataset: where the cases are.
        folder: everything is written below it.
        seed: of the folds and of every training.
        device: torch device.
        variant: name of the ablation that `system` is, "" for the system itself.
        trainings: where the trainings lie, for runs that share them; None: in `folder`.
        engine: who brings cases onto a stage's grid before it is trained.
    """

    system: System
    profile: str
    dataset: Dataset
    folder: Path
    seed: int = 0
    device: str = "cpu"
    variant: str = ""
    trainings: Path | None = None
    engine: Engine = SERIAL

    @property
    def submission(self) -> Path:
        """Where the submission goes."""
        return self.folder / f"submission_{self.variant}" if self.variant else self.folder / "submission"

    def stage_folder(self, stage: Stage) -> Path:
        """Return the folder of a stage: its name and what it depends on."""
        return (self.trainings or self.folder) / f"{stage.name}-{self._identity(stage)[:8]}"

    def labels_folder(self, stage: Stage) -> Path:
        """Return where a stage's pseudo-labels lie: stages that the same teacher teaches in the same way share them."""
        teacher = self.system.stage(stage.labels.teacher)
        parts = [self._identity(teacher), teacher.trained_folds, encode(stage.labels.inference), stage.labels.never]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return (self.trainings or self.folder) / f"pseudo_labels-{digest[:8]}"

    def _identity(self, stage: Stage) -> str:
        """Return a digest of everything that decides what a fold of this stage learns."""
        entries = stage.cases(self.dataset.training)
        cases = [(e.id, sorted(e.annotated or ()), _content(e.image), _content(e.labels)) for e in entries]
        recipe = fingerprint(replace(stage, purpose="", trained_folds=()))
        parts: list[Any] = [PARTS_VERSION, recipe, self.seed, self.dataset.name, cases]
        for teacher in self.teachers(stage):
            parts += [self._identity(teacher), teacher.trained_folds]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def needed_stages(self) -> list[Stage]:
        """Return the stages that the inference needs, teachers and starts included, in training order."""
        needed = set(self.system.inference.stages)
        for stage in reversed(self.system.stages):
            if stage.name in needed:
                needed |= _teachers(stage)
        return [stage for stage in self.system.stages if stage.name in needed]

    def teachers(self, stage: Stage) -> list[Stage]:
        """Return the stages whose trained networks a stage needs: its teacher and its start, if it has them."""
        return [self.system.stage(name) for name in sorted(_teachers(stage))]


def train_stage(run: Run, stage: Stage, folds: Iterable[int] = ()) -> None:
    """Train the folds of one stage, one after the other; finished ones are not repeated."""
    folder = run.stage_folder(stage)
    todo = [fold for fold in list(folds) or stage.trained_folds if not is_finished(folder / f"fold{fold}")]
    if todo:
        if Workers.join().rank == 0:
            prepare_stage(run, stage)
        wait_for_first_process()
    for fold in todo:
        train_fold(run, stage, fold)


def prepare_stage(run: Run, stage: Stage) -> dict[str, PreparedCase]:
    """Fill the missing labels of the stage's cases and bring them onto its grid; what is there is not made again."""
    write_file(run.stage_folder(stage) / "run.json", json.dumps(_record(run, stage), indent=2) + "\n")
    if isinstance(stage.labels, PseudoLabels):
        fill_labels(run, stage)
    return prepared_cases(run, stage)


def prepared_cases(run: Run, stage: Stage) -> dict[str, PreparedCase]:
    """Return the stage's cases on its grid, from filled labels that are there already.

    Raises:
        NothingToTrain: if the dataset has no case for the stage.
    """
    entries = stage.cases(run.dataset.training)
    if not entries:
        raise NothingToTrain(f"stage {stage.name}: no case of {run.dataset.name} qualifies ({stage.cases})")
    filled = run.labels_folder(stage) if isinstance(stage.labels, PseudoLabels) else None
    prepared = run.stage_folder(stage) / "prepared"
    return prepare_cases(stage, entries, partial(_teaching_case, filled=filled), prepared, engine=run.engine)


def left_out(run: Run, stages: Iterable[str] = ()) -> list[str]:
    """Return the cases that could not be prepared for stages (none named: all needed), which taught nothing there."""
    chosen = [run.system.stage(name) for name in stages] or run.needed_stages()
    missed: set[str] = set()
    for stage in chosen:
        cache = run.stage_folder(stage) / "prepared"
        entries = stage.cases(run.dataset.training) if cache.is_dir() else ()
        missed |= {entry.id for entry in entries if not is_prepared(cache, entry)}
    return sorted(missed)


def train_fold(run: Run, stage: Stage, fold: int) -> Path:
    """Train one fold of a prepared stage and return its model folder.

    Raises:
        NothingToTrain: if the fold leaves no case to train on.
    """
    folder = run.stage_folder(stage)
    prepared = prepared_cases(run, stage)
    held_out: set[str] = set()
    if stage.folds > 1:
        parts = run.dataset.folds(stage.cases(run.dataset.training), stage.folds, run.seed)
        held_out = {entry.id for entry in parts[fold]}
    training = [case for name, case in prepared.items() if name not in held_out]
    validation = [case for name, case in prepared.items() if name in held_out]
    if not training:
        raise NothingToTrain(
            f"stage {stage.name}, fold {fold}: {len(prepared)} cases in {stage.folds} folds leave none to train on; "
            "use more cases or fewer folds"
        )
    log.info("%s fold %d: %d training, %d validation cases", stage.name, fold, len(training), len(validation))
    facts = _facts(run, stage) | {"fold": fold, "training_cases": len(training), "device": device_name(run.device)}
    seed = int(np.random.SeedSequence([run.seed, fold]).generate_state(1)[0])
    start = _start_of(run, stage, fold)
    model = train(
        stage, training, validation, folder / f"fold{fold}", seed=seed, facts=facts, device=run.device, start=start
    )
    if Workers.join().rank == 0:
        write_file(folder / f"fold{fold}" / "finished", "")
    wait_for_first_process()
    return model


def _start_of(run: Run, stage: Stage, fold: int) -> Path | None:
    """Return the model folder that a fold starts from: the same fold of the stage named, else its first one."""
    if not stage.start:
        return None
    first = run.system.stage(stage.start)
    number = fold if fold in first.trained_folds else first.trained_folds[0]
    return run.stage_folder(first) / f"fold{number}" / "model"


def fill_labels(run: Run, stage: Stage) -> Path:
    """Write the pseudo-labels that a stage learns from and return their folder."""
    teacher = run.system.stage(stage.labels.teacher)
    out = run.labels_folder(stage)
    with only_run(out, wait=True):  # two stages that the same teacher teaches may be prepared at once
        report = write_pseudo_labels(
            stage.cases(run.dataset.training),
            teacher_submission(run, stage),
            out,
            never=stage.labels.never,
            teacher=run.stage_folder(teacher).name,
            provenance=run.stage_folder(stage) / "provenance.csv",
        ).whole()
    log.info("pseudo-labels from %s: %s", teacher.name, report)
    return out


def teacher_submission(run: Run, stage: Stage) -> Submission:
    """Return the teacher of a stage as something that predicts.

    Its facts say for which cases it fills labels and how, so that a teacher that is stored can fill them again.
    """
    name = stage.labels.teacher
    facts = _facts(run, None) | {"teaches": {"cases": encode(stage.cases), "labels": encode(stage.labels)}}
    return Submission(stage.labels.inference, {name: _networks(run, run.system.stage(name))}, facts)


def assemble(run: Run, folder: Path) -> Path:
    """Write the submission folder from the finished trainings, and every teacher as a submission in `teachers/STAGE`.

    Raises:
        FileNotFoundError: if a fold that the inference needs is not trained yet.
    """
    for stage in run.needed_stages():
        if isinstance(stage.labels, PseudoLabels):
            teacher = teacher_submission(run, stage)
            place = folder / "teachers" / stage.labels.teacher
            save_submission(place, teacher.inference, teacher.networks, teacher.facts)
    networks = {name: _networks(run, run.system.stage(name)) for name in run.system.inference.stages}
    return save_submission(folder, run.system.inference, networks, _facts(run, None))


def _networks(run: Run, stage: Stage) -> list[TrainedNetwork]:
    """Load the trained folds of a stage."""
    folders = [run.stage_folder(stage) / f"fold{fold}" for fold in stage.trained_folds]
    missing = [str(folder) for folder in folders if not is_finished(folder)]
    if missing:
        raise FileNotFoundError(f"stage {stage.name} is not trained: {', '.join(missing)} has no finished model")
    return [load_network(folder / "model", run.device) for folder in folders]


def _teachers(stage: Stage) -> set[str]:
    """Return the names of the stages whose trained networks a stage needs (at most two)."""
    names = {stage.start, stage.labels.teacher if isinstance(stage.labels, PseudoLabels) else ""}
    return names - {""}


def _content(path: Path | None) -> str:
    """Return a hash of a file: a changed case changes what a training depends on (empty for no file)."""
    return _hash_of(path, path.stat().st_mtime_ns) if path is not None else ""


@cache
def _hash_of(path: Path, _: int) -> str:
    """Return a file's hash, computed once a process while the file stays as it is."""
    return file_hash(path)


def is_finished(folder: Path) -> bool:
    """Say whether a fold's training reached its last epoch."""
    return (folder / "finished").is_file() and (folder / "model" / "model.json").is_file()


def _teaching_case(entry: Entry, filled: Path | None) -> Case:
    """Load a case with the labels that teach it."""
    case = entry.load()
    if filled is None:
        return case
    return replace(case, labels=read_labels(filled / "labelsTr" / f"{entry.id}.nii.gz"))


def wait_for_first_process() -> None:
    """Let the other processes wait until the first one has written what they are going to read."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _facts(run: Run, stage: Stage | None) -> dict[str, Any]:
    """Return what every model and submission of this run records."""
    facts = {"system": run.system.key, "profile": run.profile, "dataset": run.dataset.name, "run_seed": run.seed}
    if stage is not None:
        facts |= {"stage": stage.name, "recipe": fingerprint(stage)}
    else:
        facts |= {"recipe": fingerprint({"stages": run.system.stages, "inference": run.system.inference})}
    return facts | {"made_with": {"flare_core": flare_core.__version__, "torch": torch.__version__.split("+")[0]}}


def _record(run: Run, stage: Stage) -> dict[str, Any]:
    """Return the content of a stage's `run.json`."""
    return _facts(run, stage) | {"identity": run._identity(stage), "stage_value": encode(stage)}
