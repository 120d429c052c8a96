"""Score one predicted label file against its reference file.

Serves the evaluation step, case by case (`evaluate.py`: folders and tables). Arrays are compared as stored, or the same
places of the body, as the rules say; a prediction that is missing or cannot be scored scores 0.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from flare_core.cases.bad_input import BadInput
from flare_core.cases.geometry import Geometry, corner_distance_mm
from flare_core.cases.nifti import Volume, case_id, check_same_grid, read_labels
from flare_core.evaluation.flare_rules import Rules, TargetScore, score_case, unusable_values

log = logging.getLogger(__name__)

_SAME_PLACE = 0.01  # voxels; less than this between two grids is rounding in the header


@dataclass(frozen=True)
class CaseResult:
    """What came of one case.

    Attributes:
        case: its id.
        scores: one a target of the rules.
        warnings: one line each; the scores stand.
        problem: why the prediction could not be scored (all its scores are then 0), or None.
    """

    case: str
    scores: tuple[TargetScore, ...]
    warnings: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class LabelMaps:
    """What the values of foreign label files mean.

    Attributes:
        reference, prediction: value to target id, as for `read_labels`; None: the files hold target ids.
    """

    reference: Mapping[int, int] | None = None
    prediction: Mapping[int, int] | None = None


FLARE_VALUES = LabelMaps()


def evaluate_case(
    prediction: Path,
    reference: Path,
    rules: Rules,
    annotated: Collection[str] | None = None,
    case: str | None = None,
    maps: LabelMaps = FLARE_VALUES,
) -> CaseResult:
    """Score one prediction file against its reference file.

    Args:
        prediction: label file with target ids; where no file lies, the prediction is missing.
        reference: label file; its header gives the spacing.
        rules: which rules.
        annotated: targets that the reference's annotator marked; None: see `flare_rules.score_case`.
        case: id to report; by default the one in the reference's file name.
        maps: what the values of the files mean.
    Returns:
        Its scores; all 0, with the reason, if the prediction is missing, unreadable or on another grid. The official
        rules compare arrays as stored, whatever the affines say; the others the same places of the body.
    Raises:
        BadInput: if the reference cannot be read.
    """
    truth = read_labels(reference, label_map=maps.reference)
    case = case_id(reference) if case is None else case
    labels, spacing_mm = truth.stored(), truth.geometry.zooms_mm
    if rules.is_geometry_strict:
        labels, spacing_mm = truth.data, truth.spacing_mm
    warnings, problem, predicted = list(truth.warnings), None, None
    try:
        found = _read_prediction(prediction, maps.prediction)
        difference = check_same_grid(truth, found) if rules.is_geometry_strict else _check_shapes(found, truth.geometry)
        warnings += [*found.warnings, *difference]
        if values := unusable_values(rules, found.data):
            raise BadInput(prediction, values)
        predicted = found.data if rules.is_geometry_strict else found.stored()
    except (BadInput, OSError) as error:
        problem = str(error).partition("\n")[0]
    if rules.annotated_only and annotated is None:
        warnings.append("annotated targets are not given; taken to be those that the reference shows")
        log.warning("evaluate: %s: %s", case, warnings[-1])
    return CaseResult(case, score_case(rules, labels, predicted, spacing_mm, annotated), tuple(warnings), problem)


def _read_prediction(path: Path, label_map: Mapping[int, int] | None) -> Volume:
    if not Path(path).exists():
        raise BadInput(path, "prediction missing, scored 0; predict this case")
    return read_labels(path, label_map=label_map)


def _check_shapes(prediction: Volume, reference: Geometry) -> tuple[str, ...]:
    """Return a warning if grids lie apart by their headers; raise BadInput on other shapes."""
    found = prediction.geometry
    if found.shape != reference.shape:
        raise BadInput(
            prediction.path,
            f"prediction has shape {found.shape}, its reference {reference.shape}; "
            "scored 0, predict on the reference's grid",
        )
    apart_mm = corner_distance_mm(reference.shape, found.affine, reference.affine)
    if apart_mm <= _SAME_PLACE * min(reference.zooms_mm):
        return ()
    line = (
        f"prediction and reference lie up to {apart_mm:.2f} mm apart by their headers (turned or mirrored axes?); "
        "these rules compare arrays as stored"
    )
    log.warning("%s: %s", prediction.path, line)
    return (line,)
