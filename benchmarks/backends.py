"""Compare the labels of every backend with those of torch in float32, on the validation cases of the mini cohort.

    python benchmarks/backends.py

Every shipped submission predicts all cases with OpenVINO as `--backend auto` takes it (bfloat16 where the processor has
it), OpenVINO in float32, and torch as it is by itself. Required of each: 99 % of the foreground voxels (foreground to
either side, all cases together) with equal labels, and a mean DSC within 0.1 points of float32 torch's. DSC is
FLARE23's, mean over cases and over the targets that the system predicts. Nothing is timed here (`prediction.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from side_by_side import OWN, parser_of, write_table

from flare_core import __version__
from flare_core.cases.nifti import Volume, case_id, read_image, read_labels
from flare_core.evaluation.flare_rules import FLARE23, score_case
from flare_core.inference.backends import Compute
from flare_core.inference.submission import load_submission
from flare_core.paths import ROOT
from flare_core.workspace import Workspace, embedded_cohort

REFERENCE = Compute("torch", "cpu", exact=True)
BACKENDS = {
    "openvino auto": Compute("openvino", "cpu"),
    "openvino exact": Compute("openvino", "cpu", exact=True),
    "torch auto": Compute("torch", "cpu"),
}
EQUAL_FOREGROUND, DSC_POINTS = 0.99, 0.1


def labels_of(model: Path, images: Sequence[Volume], compute: Compute) -> tuple[list[np.ndarray], str]:
    """Return the label maps of all images and the precision that the networks were computed in."""
    submission = load_submission(model, compute)
    submission.prepare()
    return [submission(image.data, image.spacing_mm) for image in images], submission.precision


def mean_dsc(labels: Sequence[np.ndarray], references: Sequence[Volume], targets: Sequence[str]) -> float:
    """Return the mean DSC in points over cases and targets."""
    found = [
        score.dsc
        for one, reference in zip(labels, references, strict=True)
        for score in score_case(FLARE23, reference.stored(), reference.geometry.from_ras(one), reference.spacing_mm)
        if score.target in targets
    ]
    return 100 * float(np.mean(found))


def agreement(ours: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the shares of equal labels among all voxels and among those that are foreground to either side."""
    foreground, equal = [], []
    for one, other in zip(ours, exact, strict=True):
        seen = (one > 0) | (other > 0)
        foreground.append(np.count_nonzero(seen))
        equal.append(np.count_nonzero((one == other) & seen))
    voxels, different = sum(one.size for one in ours), sum(foreground) - sum(equal)
    worst = min((same / all_ for same, all_ in zip(equal, foreground, strict=True) if all_), default=1.0)
    return {
        "equal_voxels": round(1 - different / voxels, 6),
        "equal_foreground": round(1 - different / max(sum(foreground), 1), 5),
        "equal_foreground_worst_case": round(worst, 4),
    }


def compare(system: str, images: Sequence[Volume], references: Sequence[Volume]) -> list[dict[str, object]]:
    """Return the rows of one submission: a backend each."""
    model, targets = ROOT / "weights" / system, Workspace(system).targets
    exact, _ = labels_of(model, images, REFERENCE)
    expected = mean_dsc(exact, references, targets)
    rows = []
    for name, compute in BACKENDS.items():
        ours, precision = labels_of(model, images, compute)
        points = mean_dsc(ours, references, targets)
        rows.append(
            {
                "submission": system,
                "backend": name,
                "precision": precision,
                "tool": OWN,
                "version": __version__,
                "cases": len(images),
                **agreement(ours, exact),
                "mean_dsc": round(points, 3),
                "mean_dsc_float32_torch": round(expected, 3),
                "dsc_points_difference": round(points - expected, 3),
            }
        )
    return rows


def missed(row: dict[str, object]) -> str | None:
    """Say what a row misses of what is required; None if nothing."""
    found = []
    if row["equal_foreground"] < EQUAL_FOREGROUND:
        found.append(f"{row['equal_foreground']:.2%} of foreground voxels equal, {EQUAL_FOREGROUND:.0%} required")
    if abs(row["dsc_points_difference"]) > DSC_POINTS:
        found.append(f"mean DSC differs by {row['dsc_points_difference']:+.3f} points, {DSC_POINTS} allowed")
    return f"{row['submission']}, {row['backend']}: {'; '.join(found)}" if found else None


def main() -> int:
    """Compare all submissions, print and write the table; 1 if any backend misses what is required."""
    parser = parser_of(__doc__)
    parser.set_defaults(runs=1)
    parser.parse_args()
    cohort = embedded_cohort("mini")
    files = sorted((cohort / "imagesVal").iterdir())
    images = [read_image(file, dtype=None) for file in files]
    references = [read_labels(cohort / "labelsVal" / f"{case_id(file)}.nii.gz") for file in files]
    submissions = sorted(file.parent.name for file in (ROOT / "weights").glob("*/submission.json"))
    rows = [row for system in submissions for row in compare(system, images, references)]
    write_table("backends", rows)
    problems = [problem for problem in map(missed, rows) if problem]
    for problem in problems:
        print(f"missed: {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
