"""Predict label files for image files: every case ends as a complete file or with its reason.

Serves `flare predict` and the notebooks. Outputs lie as `ID.nii.gz` at the top of the output folder, in the geometry of
their image; everything else is in its `.flare` folder. A rerun repeats only what is missing or was made otherwise.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from flare_core.batch import BatchReport, map_cases
from flare_core.cases.bad_input import BadInput
from flare_core.cases.nifti import case_id, read_image, write_labels
from flare_core.inference.submission import Submission
from flare_core.storage import file_hash, write_file

log = logging.getLogger(__name__)


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
    """What became of one case: its label file, the seconds it took, and whether it was there already."""

    path: Path
    seconds: float
    reused: bool


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
            name = _name_of(path)
            if name in found:
                raise BadRequest(f"two images share the case id {name!r}: {found[name]} and {path}; rename one")
            found[name] = path
    if not found:
        raise BadRequest(f"no .nii or .nii.gz file in {', '.join(map(str, inputs))}")
    return sorted(found.items())


def refuse_inside(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output folder inside a folder of inputs.

    Raises:
        BadRequest: naming both.
    """
    out = Path(out).resolve()
    for folder in (Path(item).resolve() for item in inputs if Path(item).is_dir()):
        if folder in (out, *out.parents):
            raise BadRequest(f"{out} lies in the input folder {folder}; choose another output folder")


def _is_image(path: Path) -> bool:
    """Say whether a file in a folder is an image by its name (hidden files are not)."""
    return path.name.endswith((".nii", ".nii.gz")) and not path.name.startswith(".")


def _name_of(path: Path) -> str:
    """Return the case id, or the whole file name where it is no good as an id (the case then fails by itself)."""
    try:
        return case_id(path)
    except BadInput:
        return path.name


def predict_files(
    images: list[tuple[str, Path]], out: Path, submission: Submission, model_hash: str, reading: Reading = Reading()
) -> BatchReport:
    """Predict one label file an image.

    Args:
        images: from `find_images`.
        out: output folder, made if missing.
        submission: what predicts.
        model_hash: identifies it (`submission_hash`): a label file made by another model is replaced.
        reading: how images are read.
    Returns:
        A report with a `Prediction` or a reason for every case.
    Raises:
        BadRequest: if `out` cannot be written to or would overwrite inputs.
    """
    out = Path(out)
    _check_output(out, images)
    report = map_cases(
        lambda item: _predict_case(*item, out, submission, model_hash, reading), [(i[0], i) for i in images]
    )
    summary = {
        "found": report.found,
        "done": {name: round(p.seconds, 2) for name, p in report.results.items()},
        "failed": report.failures,
    }
    write_file(out / ".flare" / "summary.json", json.dumps(summary, indent=2) + "\n")
    return report


def _check_output(out: Path, images: list[tuple[str, Path]]) -> None:
    """Refuse an output folder that is a file, holds the inputs, or cannot be written to."""
    folders = {path.resolve().parent for _, path in images}
    if out.resolve() in folders:
        raise BadRequest(f"{out} is the folder of the input images; choose another output folder")
    try:
        write_file(out / ".flare" / "writable", "")
        (out / ".flare" / "writable").unlink()
    except OSError as error:
        raise BadRequest(f"cannot write to {out}: {error.strerror}; choose another output folder") from None


def _predict_case(
    name: str, path: Path, out: Path, submission: Submission, model_hash: str, reading: Reading
) -> Prediction:
    """Predict one case, unless its label file is there and was made from the same image by the same model."""
    start = time.perf_counter()
    target, record = out / f"{name}.nii.gz", out / ".flare" / f"{name}.json"
    if not path.is_file():
        raise BadInput(path, "no such image file")
    case_id(path)  # a name that cannot become an output's is this case's failure
    made_from = {"image": file_hash(path), "model": model_hash, "precision": submission.precision}
    made_from |= {key: str(value) for key, value in asdict(reading).items() if value is not None}
    if target.is_file() and record.is_file() and json.loads(record.read_text()).get("made_from") == made_from:
        return Prediction(target, 0.0, reused=True)
    image = read_image(path, volume=reading.volume, assume_spacing_mm=reading.assume_spacing_mm)
    labels = submission(image.data, image.spacing_mm)
    write_labels(target, labels, image.geometry)
    seconds = time.perf_counter() - start
    content = {"made_from": made_from, "seconds": round(seconds, 3), "warnings": list(image.warnings)}
    write_file(record, json.dumps(content, indent=2) + "\n")
    return Prediction(target, seconds, reused=False)
