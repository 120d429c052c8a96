"""Predict cases in several processes: each loads the submission for its first case and keeps it.

Serves `flare predict --workers`, where many cores or a cluster are there. On one GPU, and on a few cores, one process
that reads and writes meanwhile (`predict_files`) is the better choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from flare_core.batch import BatchReport, Engine, Reused, map_cases
from flare_core.inference.backends import Compute
from flare_core.inference.planner import Planner
from flare_core.inference.predict import CaseSteps, Prediction, Reading, check_output
from flare_core.inference.submission import Submission, load_submission, submission_hash
from flare_core.output_lock import only_run


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

    @cached_property
    def name(self) -> str:
        """What label files are said to be made by: the hash of the folder's content, and settings that matter."""
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
    check_output(out, images)
    task = PredictCase(model, out, reading)
    with only_run(out):
        cases = [(name, (name, path.resolve())) for name, path in images]
        return map_cases(task, cases, title="predict", engine=engine, folder=out)


@dataclass(frozen=True)
class PredictCase:
    """One case from image to label file, in whatever process it is called."""

    model: Model
    out: Path
    reading: Reading

    def __call__(self, case: tuple[str, Path]) -> Prediction | Reused:
        """Predict a case, given as its id and its image."""
        steps = CaseSteps(self.out, _planner(self.model), self.model.name, self.reading)
        return steps.write(steps.compute(steps.read(case)))


@lru_cache(maxsize=1)
def _planner(model: Model) -> Planner:
    """Load the submission and plan for it, once a process."""
    return Planner(model.load(), model.max_memory)
