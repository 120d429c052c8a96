"""Predict label files for image files: every case ends as a complete file or with its reason.

Serves `flare predict` and the notebooks. Outputs lie as `ID.nii.gz` at the top of the output folder, in the geometry of
their image; everything else is in its `.flare` folder. A rerun repeats only what is missing or was made otherwise.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from flare_core.attempt import Reused, warnings_of_this_thread
from flare_core.batch import BatchReport, pipe_cases
from flare_core.cases.bad_input import BadInput
from flare_core.cases.nifti import Volume, case_id, case_name, check_case_id, read_image, read_place, write_labels
from flare_core.inference.planner import Plan, Planner, TooLarge
from flare_core.inference.submission import Submission
from flare_core.output_lock import only_run
from flare_core.storage import STATE, file_hash, write_file
from flare_core.timing import Timings

log = logging.getLogger(__name__)

VERSION = 1
"""Raised by hand when the same networks give other labels: what earlier versions predicted is then predicted again."""


class BadRequest(ValueError):
    """A request that is refused before any case starts; the message says what to change."""


@dataclass(frozen=True)
class Reading:
    """How image files are read that do not say everything: see `nifti.read_image`.

    Attributes:
        volume: which volume of a series to take; None refuses a series.
        assume_spacing_mm: voxel edges of the stored axes where a header has none.
    """

    volume: int | None = None
    assume_spacing_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Prediction:
    """What became of one case: its label file, the seconds of work it took, whether it was there already, its plan."""

    path: Path
    seconds: float
    reused: bool
    plan: Plan | None = None


def find_images(inputs: Iterable[Path]) -> list[tuple[str, Path]]:
    """Return (case id, path) of every image among files and folders (their top level), sorted by id.

    Raises:
        BadRequest: if an input does not exist, nothing is found, or two files share an id.
    """
    inputs = [Path(i) for i in inputs]
    found: dict[str, Path] = {}
    for item in inputs:
        if not item.exists():
            raise BadRequest(f"{item}: no such file or folder")
        files = sorted(p for p in item.iterdir() if _is_image(p)) if item.is_dir() else [item]
        for path in files:
            name = case_name(path)
            if name in found:
                raise BadRequest(f"two images share the case id {name!r}: {found[name]} and {path}; rename one")
            found[name] = path
    if not found:
        raise BadRequest(f"no .nii or .nii.gz file in {', '.join(map(str, inputs))}")
    return sorted(found.items())


def _is_image(path: Path) -> bool:
    """Say whether a file in a folder is an image by its name (hidden files are not)."""
    return path.name.endswith((".nii", ".nii.gz")) and not path.name.startswith(".")


def predict_files(
    images: list[tuple[str, Path]],
    out: Path,
    submission: Submission,
    model_hash: str,
    reading: Reading = Reading(),
    *,
    max_memory: int | None = None,
) -> BatchReport:
    """Predict one label file an image; the next image is read and the last map written meanwhile.

    Args:
        images: from `find_images`.
        out: output folder, made if missing.
        submission: what predicts.
        model_hash: identifies it (`submission_hash`): a label file made by another model is replaced.
        reading: how images are read.
        max_memory: bytes that the process may take; one case at a time is then in memory.
    Returns:
        A report with a `Prediction` or a reason for every case.
    Raises:
        BadRequest: if `out` cannot be written to or would overwrite inputs.
        TooLarge: if the networks need more memory than `max_memory` whatever the image.
    """
    out = Path(out)
    with held_output(out, images):
        planner, overlap = Planner(submission, max_memory), max_memory is None
        case, cases = CaseSteps(out, planner, model_hash, reading), [(name, (name, path)) for name, path in images]
        return pipe_cases(case.read, case.compute, case.write, cases, title="predict", overlap=overlap, folder=out)


@contextmanager
def held_output(out: Path, images: list[tuple[str, Path]]) -> Iterator[None]:
    """Hold an output folder until the block ends; refuse one that is a file, holds the inputs, or cannot be written to.

    Raises:
        BadRequest: if it is refused.
        OutputInUse: if another run holds it.
    """
    folders = {path.resolve().parent for _, path in images}
    if out.resolve() in folders:
        raise BadRequest(f"{out} is the folder of the input images; choose another output folder")
    with ExitStack() as held:
        try:
            held.enter_context(only_run(out))
            write_file(out / STATE / "writable", "")
            (out / STATE / "writable").unlink()
        except OSError as error:
            reason = error.strerror or error
            raise BadRequest(f"cannot write to {out}: {reason}; choose another output folder") from None
        yield


@dataclass
class Job:
    """A case on its way from image to label file.

    Attributes:
        name: case id.
        made_from: what its labels follow from.
        plan: how it is predicted.
        image: where the labels belong; its voxels are dropped once they are used. None: the label file is there.
        labels: uint8 target ids in RAS+, once they are computed.
        timings: seconds by step: read, resample, network, reduce, postprocess, write, and other.
        stages: seconds inside of networks, by their stage.
        windows: how many all networks together were shown.
        voxels: of these windows, each as often as it passed through a network.
        warnings: what was said of it while it was computed, each once; what reading found is in `image.warnings`.
    """

    name: str
    made_from: dict[str, str | int]
    plan: Plan | None = None
    image: Volume | None = None
    labels: np.ndarray | None = None
    timings: dict[str, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    windows: int = 0
    voxels: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CaseSteps:
    """The three steps of a case, each of which may run in a thread of its own.

    Attributes:
        out: output folder.
        planner: knows the submission and the memory limit.
        model_hash, reading: see `predict_files`.
    """

    out: Path
    planner: Planner
    model_hash: str
    reading: Reading

    def read(self, case: tuple[str, Path]) -> Job:
        """Read the image, unless the label file is there and was made from the same image in the same way."""
        name, path = case
        start = time.perf_counter()
        if not path.is_file():
            raise BadInput(path, "no such image file")
        case_id(path)  # a name that cannot become an output's is this case's failure
        check_case_id(name, path)
        submission, reading = self.planner.submission, self.reading
        made_from = {"version": VERSION, "image": file_hash(path), "model": self.model_hash}
        made_from["precision"] = submission.precision
        made_from["computed_by"] = str(submission.compute)
        made_from |= {key: str(value) for key, value in asdict(reading).items() if value is not None}
        job, record = Job(name, made_from), self._record(name)
        if _is_made_from(made_from, self.out / f"{name}.nii.gz", record):
            return job
        place = read_place(path, reading.assume_spacing_mm)
        try:
            job.plan = self.planner.plan(place.data.shape, place.spacing_mm, place.data.dtype.itemsize)
        except TooLarge as error:
            raise TooLarge(f"{path}: {error}") from None
        log.info("plan for %s: %s", name, job.plan)
        job.image = read_image(path, volume=reading.volume, assume_spacing_mm=reading.assume_spacing_mm, dtype=None)
        job.timings["read"] = time.perf_counter() - start
        return job

    def compute(self, job: Job) -> Job:
        """Predict the label map."""
        if job.image is None:
            return job
        start = time.perf_counter()
        with Timings().listening() as steps, warnings_of_this_thread(job.name) as said:
            predict = job.plan.applied(self.planner.submission)
            job.labels = predict(job.image.data, job.image.spacing_mm)
        image = job.image
        job.image = replace(image, data=np.broadcast_to(np.uint8(0), image.data.shape))
        job.timings |= steps.seconds
        job.stages = dict(steps.stages)
        job.windows, job.voxels = steps.counts["windows"], steps.counts["voxels"]
        job.warnings = tuple(dict.fromkeys(said))
        job.timings["other"] = time.perf_counter() - start - sum(steps.seconds.values())
        return job

    def write(self, job: Job) -> Prediction | Reused:
        """Write the label file, then the record that says what it was made from."""
        target = self.out / f"{job.name}.nii.gz"
        if job.image is None:
            return Reused(Prediction(target, 0.0, reused=True))
        start = time.perf_counter()
        write_labels(target, job.labels, job.image.geometry)
        job.timings["write"] = time.perf_counter() - start
        seconds = sum(job.timings.values())
        content = {
            "made_from": job.made_from,
            "labels": file_hash(target),
            "seconds": round(seconds, 3),
            "timings": {step: round(spent, 6) for step, spent in job.timings.items()},
            "stages": {stage: round(spent, 6) for stage, spent in job.stages.items()},
            "windows": job.windows,
            "network_voxels": job.voxels,
            "plan": asdict(job.plan),
            "warnings": [*job.image.warnings, *job.warnings],
        }
        write_file(self._record(job.name), json.dumps(content, indent=2) + "\n")
        return Prediction(target, seconds, reused=False, plan=job.plan)

    def _record(self, name: str) -> Path:
        return self.out / STATE / f"{name}.json"


def _is_made_from(made_from: dict[str, str | int], target: Path, record: Path) -> bool:
    """Say whether a label file is whole and was made from this; where nobody can say it is made again."""
    try:
        content = json.loads(record.read_text())
        return content["made_from"] == made_from and content["labels"] == file_hash(target)
    except (OSError, ValueError, KeyError, TypeError):
        return False
