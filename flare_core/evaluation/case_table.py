"""Put scores and volumes of targets into tables: of one case, and the volumes of all cases of an evaluation.

Serves notebooks 07 and 11 and `flare view`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti import Volume
from flare_core.evaluation.flare_rules import Rules, score_case

if TYPE_CHECKING:
    from flare_core.evaluation.evaluate import Evaluation


def volumes_of(evaluation: Evaluation) -> pd.DataFrame:
    """Return the volumes that an evaluation met: columns `case`, `target`, `reference_ml`, `prediction_ml`.

    NaN where a target is not annotated, or a prediction is missing.
    """
    scores = [(case, s) for case, result in evaluation.cases.items() for s in result.scores]
    rows = [(case, s.target, s.reference_ml, s.prediction_ml) for case, s in scores]
    return pd.DataFrame(rows, columns=["case", "target", "reference_ml", "prediction_ml"])


def case_table(reference: Volume | None, prediction: Volume | None, rules: Rules) -> pd.DataFrame:
    """Return a row for every target that one of the label maps shows, in FLARE's order.

    Args:
        reference, prediction: label maps on one RAS+ grid; both may be missing.
        rules: which rules score; arrays are compared in the order of the reference's file.
    Returns:
        Columns `dsc`, `nsd` (NaN where the rules score nothing; both only if both maps are there), `reference_ml` and
        `prediction_ml` (each only if its map is there), by `target`. No row where nothing is labeled.
    """
    maps = {"reference_ml": reference, "prediction_ml": prediction}
    maps = {name: volume for name, volume in maps.items() if volume is not None}
    table = pd.DataFrame(index=pd.Index([target.name for target in TARGETS], name="target"))
    if len(maps) == 2:
        stored = reference.geometry.from_ras(prediction.data)
        scores = {s.target: s for s in score_case(rules, reference.stored(), stored, reference.geometry.zooms_mm)}
        for metric in ("dsc", "nsd"):
            table[metric] = [getattr(scores.get(name), metric, np.nan) for name in table.index]
    for name, volume in maps.items():
        voxels = np.bincount(volume.data.ravel(), minlength=len(TARGETS) + 1)
        table[name] = voxels[1:] * volume.geometry.voxel_ml
    return table[(table[list(maps)] > 0).any(axis=1)]
