"""Measure how the shipped mini networks, which have only seen the procedural cohort, agree with labels of a real CT.

    python benchmarks/real_ct.py IMAGE LABELS

Writes data/results/mini/real_ct.csv (target, dsc, nsd, volumes, system) and pictures for the README: the real CT with
contours, and the cohort beside it. The labels are TotalSegmentator's output, read by no radiologist: agreement, not
accuracy.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from flare_core.cases.cohort import generate_case
from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti import read_image, read_labels
from flare_core.evaluation.case_figures import case_grid, comparison
from flare_core.evaluation.evaluate import evaluate_files
from flare_core.evaluation.flare_rules import STRICT
from flare_core.evaluation.slices import CaseView
from flare_core.evaluation.style import save
from flare_core.evaluation.tables import write_csv
from flare_core.inference.predict import predict_files
from flare_core.inference.submission import load_submission, submission_hash
from flare_core.paths import FIGURES, results_of, submission_of
from flare_core.systems import SYSTEMS

SHOWN = "nvauto"  # whose labels are drawn
NEIGHBORS = ((400001, "validation"), (400004, "validation"))  # shown beside the real one: seed, group


def measure(image: Path, labels: Path, prediction: Path) -> pd.DataFrame:
    """Return agreement and volumes of every target that the labels show (strict rules: no slice range)."""
    scores = evaluate_files(prediction, labels, STRICT).scores_table().set_index("target")
    reference, predicted = read_labels(labels), read_labels(prediction).data
    voxel_ml = float(np.prod(reference.spacing_mm)) / 1000
    rows = []
    for target in TARGETS:
        volumes = [round(float((data == target.id).sum()) * voxel_ml, 1) for data in (reference.data, predicted)]
        rows.append((target.name, *scores.loc[target.name, ["dsc", "nsd"]], *volumes))
    table = pd.DataFrame(rows, columns=["target", "dsc", "nsd", "reference_ml", "predicted_ml"])
    return table[table.reference_ml > 0].reset_index(drop=True)


def draw(image: Path, labels: Path, prediction: Path) -> None:
    """Write the two pictures."""
    ct = read_image(image)
    real = CaseView(
        "Real CT",
        np.ascontiguousarray(ct.data),
        ct.spacing_mm,
        np.ascontiguousarray(read_labels(labels).data),
        np.ascontiguousarray(read_labels(prediction).data),
    )
    title = f"{SHOWN}, profile mini: trained on synthetic cases alone"
    save(comparison([real], "coronal", title=title), "real_ct_coronal", FIGURES)
    save(comparison([real], "axial", title=title), "real_ct_axial", FIGURES)
    made = [(seed, generate_case(seed, group, "mini")) for seed, group in NEIGHBORS]
    cases = [CaseView(f"Cohort, seed {seed}", case.image_hu, case.spacing_mm, case.truth) for seed, case in made]
    save(case_grid([*cases, replace(real, prediction=None)]), "cohort_beside_real_ct", FIGURES)


def main() -> int:
    """Predict, measure, draw; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("labels", type=Path)
    options = parser.parse_args()
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for key in (key for key, system in SYSTEMS.items() if system.segments_organs):
            model = submission_of(key, "mini")
            out = Path(folder) / key
            report = predict_files([("real_ct", options.image)], out, load_submission(model), submission_hash(model))
            if report.failures:
                print(report.failures, file=sys.stderr)
                return 1
            tables.append(measure(options.image, options.labels, out / "real_ct.nii.gz").assign(system=key))
        draw(options.image, options.labels, Path(folder) / SHOWN / "real_ct.nii.gz")
    table = pd.concat(tables)
    write_csv(table, results_of("mini") / "real_ct.csv")
    print(table.to_string(index=False))
    print(table.groupby("system", sort=False)[["dsc", "nsd"]].mean())
    return 0


if __name__ == "__main__":
    sys.exit(main())
