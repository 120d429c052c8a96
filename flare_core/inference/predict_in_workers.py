"""Predict cases in several processes: each loads the submission for its first case and keeps it.

Serves `flare predict --workers`, where many cores or a cluster are there. On one GPU, and on a few cores, one process
that reads and writes meanwhile (`predict_files`) is the better choice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from flare_core.batch import BatchReport, Engine, Reused, map_cases
from flare_core.inference.backends import Compute
from flare_core.inference.planner import Planner
from flare_core.inference.predict import CaseSteps, Prediction, Reading, held_output
from flare_core.inference.stored_network import BadModel
from flare_core.inference.submission import Submission, load_submission, submission_hash

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A submission that is not loaded yet, and how it is to be used.

    Attributes:
        folder: of the submission.
        compute: what computes its networks.
        skip_air_hu: leave out windows without a voxel above; None: look at all of them.
        max_memory: bytes that a process which predicts may take.
    """

    folder: Path
    compute: Compute
    skip_air_hu: float | None = None
    max_memory: int | None = None

    @property
    def name(self) -> str:
        """What label files are said to be made by: the hash of the folder's content now, and settings that matter."""
        without = "" if self.skip_air_hu is None else f", without air below {self.skip_air_hu:g}"
        return submission_hash(self.folder) + without

    def load(self) -> Submission:
        """Return the submission, ready to predict."""
        submission = load_submission(self.folder, self.compute)
        return submission if self.skip_air_hu is None else submission.skipping_air(self.skip_air_hu)


def predict_in_workers(
    images: list[tuple[str, Path]], out: Path, model: Model, reading: Reading, *, engine: Engine
) -> BatchReport:
    """Predict one label file an image, as `predict_files` does, by the workers of an engine.

    Args:
        images, out, reading: as for `predict_files`; workers see the same paths.
        model: what predicts.
        engine: who works.
    Returns:
        A report with a `Prediction` or a reason for every case.
    Raises:
        BadRequest: as `predict_files`.
    """
    out = Path(out).resolve()
    task = PredictCase(model, model.name, out, reading)
    with held_output(out, images):
        cases = [(name, (name, path.resolve())) for name, path in images]
        report = map_cases(task, cases, title="predict", engine=engine, folder=out)
    for name, prediction in report.results.items():
        if prediction.plan:  # workers have no terminal
            log.info("plan for %s: %s", name, prediction.plan)
    return report


@dataclass(frozen=True)
class PredictCase:
    """One case from image to label file, in whatever process it is called.

    Attributes:
        model, out, reading: see `predict_in_workers`.
        made_by: the model's name when the run began.
    """

    model: Model
    made_by: str
    out: Path
    reading: Reading

    def __call__(self, case: tuple[str, Path]) -> Prediction | Reused:
        """Predict a case, given as its id and its image."""
        steps = CaseSteps(self.out, _planner(self.model, self.made_by), self.made_by, self.reading)
        return steps.write(steps.compute(steps.read(case)))


@lru_cache(maxsize=1)
def _planner(model: Model, made_by: str) -> Planner:
    """Load the submission and plan for it, once a process: a worker that serves many runs sees when a folder changes.

    Raises:
        BadModel: if the folder does not hold what the run began with.
    """
    submission = model.load()
    if model.name != made_by:
        raise BadModel(f"{model.folder}: the submission has changed since this run began; run the same again")
    return Planner(submission, model.max_memory)
