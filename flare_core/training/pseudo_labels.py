"""Fill the targets that nobody annotated with a teacher's prediction; what a person drew always wins.

Serves the second training rounds. One rule for every paper: take the prediction for the targets that are to be filled,
erase it where the case's own annotation speaks of a target, and lay the real labels over it.

References:
    nvauto, section 2.3 (only missing labels are replaced, the tumor never).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from flare_core.batch import SERIAL, BatchReport, Engine, Reused, map_cases
from flare_core.cases.dataset import Dataset, Entry
from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti import write_labels
from flare_core.inference.stored_network import BadModel
from flare_core.inference.submission import PARTS, Submission, load_submission, submission_hash
from flare_core.output_lock import only_run
from flare_core.recipe import decode
from flare_core.storage import STATE, file_hash, write_file
from flare_core.training.selection import SELECTIONS, CautiousPseudoLabels, PseudoLabels

TEACHERS = "teachers/*/submission.json"
POLICIES = (*SELECTIONS, PseudoLabels, CautiousPseudoLabels, *PARTS)


def fill_missing(
    real: np.ndarray | None, predicted: np.ndarray, annotated: Iterable[str], never: Iterable[str] = ()
) -> np.ndarray:
    """Return the real labels with every unannotated target filled from a prediction.

    Args:
        real: uint8 target ids (X, Y, Z) as a person drew them; None for an unlabeled case.
        predicted: the same from the teacher.
        annotated: names of the targets that the person looked for.
        never: targets that are not filled.
    Returns:
        uint8 array of the same shape: real labels wherever there are any; elsewhere the predicted target if it is
        neither annotated nor in `never`; else background.
    Raises:
        ValueError: if the shapes differ.
    """
    if real is not None and real.shape != predicted.shape:
        raise ValueError(f"real labels have shape {real.shape}, the prediction {predicted.shape}; use the same grid")
    kept = np.arange(256, dtype=np.uint8)
    settled = set(annotated) | set(never)
    kept[[target.id for target in TARGETS if target.name in settled]] = 0
    filled = kept[predicted]
    return filled if real is None else np.where(real > 0, real, filled)


def write_pseudo_labels(
    entries: Sequence[Entry],
    predict: Callable[[np.ndarray, tuple[float, float, float]], np.ndarray],
    out: Path,
    *,
    never: tuple[str, ...],
    teacher: str,
    provenance: Path | None = None,
    engine: Engine = SERIAL,
) -> BatchReport:
    """Write the filled label map of every entry and say where each target of it comes from.

    A case whose targets are all settled is copied without asking the teacher. Cases that are there from the same
    teacher are kept.

    Args:
        entries: labeled or unlabeled training cases.
        predict: the teacher: image in HU and spacing to target ids.
        out: gets `labelsTr/ID.nii.gz`.
        never: targets that are not filled.
        teacher: identifies the teacher.
        provenance: CSV file for the rows (case, target, source: real, pseudo or none, voxels); None: in `out`.
        engine: who fills; with dask the teacher travels with every case, so it should be a `StoredTeacher`.
    Returns:
        A report with the provenance rows of each case.
    """
    fill = partial(_write_case, predict=predict, out=out, never=never, teacher=teacher)
    cases = [(entry.id, entry) for entry in entries]
    report = map_cases(fill, cases, title="pseudo-labels", engine=engine, folder=out)
    if report.stopped:
        return report
    rows = [row for rows in report.results.values() for row in rows]
    table = pd.DataFrame(rows, columns=["case", "target", "source", "voxels"])
    write_file(provenance or out / "provenance.csv", table.to_csv(index=False))
    return report


@dataclass(frozen=True)
class StoredTeacher:
    """A teacher that is loaded where it is first needed, once a process."""

    folder: Path
    sha256: str

    def __call__(self, image_hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """Return the target ids of an image, as the submission does."""
        return _loaded(self)(image_hu, spacing_mm)


@lru_cache(maxsize=1)
def _loaded(teacher: StoredTeacher) -> Submission:
    return load_submission(teacher.folder)


def fill_dataset(trained: Path, dataset: Dataset, out: Path, *, engine: Engine = SERIAL) -> BatchReport:
    """Fill the cases that a recipe trains on from the teacher that its run or submission carries.

    Args:
        trained: a run folder or a submission folder with `teachers/STAGE`.
        dataset: with its annotation known (`with_inferred_annotation`).
        out, engine: as for `write_pseudo_labels`.
    Returns:
        The report of `write_pseudo_labels`.
    Raises:
        BadModel: if there is no teacher, more than one, or one that does not say what it teaches.
    """
    found = sorted(path.parent for root in (trained, trained / "submission") for path in root.glob(TEACHERS))
    if len(found) != 1:
        advice = "name a run or submission with one; a method without pseudo-labels has none"
        raise BadModel(
            f"{trained}: expected one teacher (teachers/STAGE/submission.json), found {len(found)}; {advice}"
        )
    try:
        taught = load_submission(found[0]).facts["teaches"]
        cases, labels = decode(taught["cases"], POLICIES), decode(taught["labels"], POLICIES)
    except (KeyError, ValueError) as error:
        raise BadModel(f"{found[0]}/submission.json does not say whom it teaches what: {error}") from None
    teacher, entries = StoredTeacher(found[0], submission_hash(found[0])), cases(dataset.training)
    with only_run(out):
        return write_pseudo_labels(entries, teacher, out, never=labels.never, teacher=teacher.sha256, engine=engine)


def _write_case(
    entry: Entry, predict: Callable, out: Path, never: tuple[str, ...], teacher: str
) -> list[dict] | Reused:
    """Write one case and return its provenance rows."""
    path, record = out / "labelsTr" / f"{entry.id}.nii.gz", out / STATE / f"{entry.id}.json"
    sources = [source for source in (entry.image, entry.labels) if source is not None]
    settings = {"annotated": sorted(entry.annotated or ()), "never": list(never)}
    made_from = {"teacher": teacher, "files": [file_hash(source) for source in sources], **settings}
    if (rows := _rows_if_made_from(made_from, path, record)) is not None:
        return Reused(rows)
    case = entry.load()
    real = case.labels.data if case.labels is not None else None
    missing = [t.name for t in TARGETS if t.name not in case.annotated and t.name not in never]
    predicted = predict(case.image.data, case.image.spacing_mm) if missing else np.zeros(real.shape, np.uint8)
    filled = fill_missing(real, predicted, case.annotated, never)
    counts = np.bincount(filled.ravel(), minlength=len(TARGETS) + 1)
    rows = [
        {
            "case": entry.id,
            "target": target.name,
            "source": "real" if target.name in case.annotated else "pseudo" if target.name in missing else "none",
            "voxels": int(counts[target.id]),
        }
        for target in TARGETS
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, filled, case.image.geometry)
    write_file(record, json.dumps({"made_from": made_from, "labels": file_hash(path), "rows": rows}))
    return rows


def _rows_if_made_from(made_from: dict, path: Path, record: Path) -> list[dict] | None:
    """Return the rows of a label file that is whole and was made from this, else None."""
    try:
        known = json.loads(record.read_text())
        return known["rows"] if known["made_from"] == made_from and known["labels"] == file_hash(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
