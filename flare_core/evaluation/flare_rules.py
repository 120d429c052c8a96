"""Score a prediction by the rules of a challenge: what empty masks, slice ranges, low overlap and rounding mean.

Serves the evaluation step, between the plain metrics and the score tables. Label maps are compared as stored, array
against array, because the official scripts do so.

The rule sets:
    FLARE23: the organizers' script for 13 organs and tumor. A target empty on both sides scores 1, on one side 0; the
        aorta, inferior vena cava and esophagus count only between the first and the last reference slice along the
        third stored axis, *the last one left out*; below a DSC of 0.2 the NSD is 0; all is rounded to four digits.
    FLARE24_TASK1: the tumor alone, 1 or 14 in either file. A prediction must be a tumor map (0 and 1, or 0 and 14), any
        other value scores it 0; a reference with values above 1 has its tumor as 14.
    PARTIAL: FLARE23's rules, only for the targets that the reference annotates (nvauto's cross-validation).
    STRICT: no slice range; a target empty on both sides has no score and is in no mean; grids must agree.

Departure: a tubular organ whose reference lies on a single slice leaves nothing to compare when the last slice is left
out, and the official script stops there. Here that one slice is compared.

References:
    JunMa11/FLARE, FLARE23/FLARE23_DSC_NSD_Eval.py and FLARE24/T1_FLARE24_DSC_NSD_Eval.py. (The organizers' scripts are
    not of one mind about the DSC below which NSD is 0: FLARE24's say 0.2, a stored revision of FLARE23's says 0.1.)
    nvauto, section 3 (unlabeled classes are skipped in validation).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flare_core.cases.labels import BY_NAME, ORGAN_NAMES, TARGET_NAMES, TUMOR
from flare_core.evaluation.lesions import LesionCounts, count_lesions
from flare_core.evaluation.metrics import Box, dsc, label_boxes, nsd

NAN = float("nan")


@dataclass(frozen=True)
class Rules:
    """One set of scoring rules.

    Attributes:
        name: what `flare evaluate --rules` calls it.
        targets: names of the targets scored, in table order.
        has_slice_range: tubular organs are compared only on the reference's slices, the last one left out.
        both_empty: score of a target that neither side shows; None gives it no score.
        nsd_needs_dsc: below this DSC the NSD is 0.
        annotated_only: targets that the reference does not annotate get no score.
        is_geometry_strict: compare the same places of the body, by the headers; else arrays as stored.
        is_binary: label maps show the tumor alone, as 1 or 14.
    """

    name: str
    targets: tuple[str, ...] = TARGET_NAMES
    has_slice_range: bool = True
    both_empty: float | None = 1.0
    nsd_needs_dsc: float = 0.2
    annotated_only: bool = False
    is_geometry_strict: bool = False
    is_binary: bool = False


FLARE23 = Rules("flare23")
FLARE24_TASK1 = Rules("flare24-task1", targets=(TUMOR.name,), has_slice_range=False, is_binary=True)
PARTIAL = replace(FLARE23, name="partial", annotated_only=True, is_geometry_strict=True)
STRICT = replace(FLARE23, name="strict", has_slice_range=False, both_empty=None, is_geometry_strict=True)
RULES = {rules.name: rules for rules in (FLARE23, FLARE24_TASK1, PARTIAL, STRICT)}


@dataclass(frozen=True)
class TargetScore:
    """The score of one target in one case.

    Attributes:
        target: its name.
        dsc, nsd: fractions rounded to four digits; NaN where the rules give no score.
        reference_ml: volume in the reference; NaN if the annotator did not mark this target.
        prediction_ml: volume in the prediction; NaN if there is no usable prediction.
        lesions: of the tumor, counted (no usable prediction predicts none); None for organs, and where the annotator
            did not mark tumors.
    """

    target: str
    dsc: float
    nsd: float
    reference_ml: float
    prediction_ml: float
    lesions: LesionCounts | None = None


def official_round(value: float) -> float:
    """Round to four digits as the official scripts do (NumPy's rounding of a float64); NaN stays NaN."""
    return float(np.round(np.float64(value), 4))


def score_case(
    rules: Rules,
    reference: np.ndarray,
    prediction: np.ndarray | None,
    spacing_mm: Sequence[float],
    annotated: Collection[str] | None = None,
) -> tuple[TargetScore, ...]:
    """Score every target of one case.

    Args:
        rules: which rules.
        reference, prediction: uint8 label maps of shape (X, Y, Z) as stored, values 0..14; a prediction of None is
            missing and scores 0 wherever the rules give a score.
        spacing_mm: the reference's header zooms along the stored axes.
        annotated: names of the targets that the reference's annotator marked; None means the targets that it shows for
            rules that ask for annotated targets only, else all.
    Returns:
        One score for each of `rules.targets`, in that order.
    Raises:
        ValueError: if the shapes differ.
    """
    if prediction is not None and prediction.shape != reference.shape:
        raise ValueError(
            f"prediction has shape {prediction.shape}, its reference {reference.shape}; predict on the reference's grid"
        )
    if rules.is_binary:
        reference = _tumor_labels(reference)
        usable = prediction is not None and unusable_values(rules, prediction) is None
        prediction = _tumor_labels(prediction) if usable else None
    boxes = label_boxes(reference), ({} if prediction is None else label_boxes(prediction))
    if annotated is None:
        shown = [name for name in TARGET_NAMES if BY_NAME[name].id in boxes[0]]
        annotated = shown if rules.annotated_only else TARGET_NAMES
    scores = []
    for name in rules.targets:
        label = BY_NAME[name].id
        masks = _masks(reference, prediction, label, (boxes[0].get(label), boxes[1].get(label)))
        score = _score_target(rules, name, masks, spacing_mm)
        if prediction is None:
            score = replace(score, dsc=0.0, nsd=0.0, prediction_ml=NAN)
        if name == TUMOR.name and name in annotated:
            score = replace(score, lesions=count_lesions(*masks))
        if name not in annotated:
            score = replace(score, reference_ml=NAN)
            if rules.annotated_only:
                score = replace(score, dsc=NAN, nsd=NAN)
        scores.append(score)
    return tuple(scores)


def unusable_values(rules: Rules, prediction: np.ndarray) -> str | None:
    """Say why the rules give a prediction 0 for its values alone, or None if they do not.

    Args:
        rules: which rules; only binary ones ask for certain values.
        prediction: uint8 label map of shape (X, Y, Z).
    """
    if not rules.is_binary:
        return None
    values = set(label_boxes(prediction))
    if values <= {1} or values <= {TUMOR.id}:
        return None
    return f"prediction holds {sorted(values)}, {rules.name} wants a tumor map of 0 and 1, or 0 and 14; scored 0"


def _tumor_labels(labels: np.ndarray) -> np.ndarray:
    """Return a map of tumor alone, as target id: 1 means tumor in a map that holds nothing above 1, else 14 does."""
    value = TUMOR.id if labels.max(initial=0) > 1 else 1
    return (labels == value) * np.uint8(TUMOR.id)


def _masks(
    reference: np.ndarray, prediction: np.ndarray | None, label: int, boxes: tuple[Box | None, Box | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Return both masks of one target, cropped to the box that holds both; of shape (0, 0, 0) if neither shows it."""
    present = [box for box in boxes if box is not None]
    box = tuple(
        slice(min(b[axis].start for b in present), max(b[axis].stop for b in present)) if present else slice(0)
        for axis in range(3)
    )
    first = reference[box] == label
    return first, (np.zeros_like(first) if prediction is None else prediction[box] == label)


def _score_target(
    rules: Rules, name: str, masks: tuple[np.ndarray, np.ndarray], spacing_mm: Sequence[float]
) -> TargetScore:
    """Return the score of one target whose annotation and prediction are both there."""
    values = _target_values(rules, name, masks, spacing_mm)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    volumes_ml = (np.count_nonzero(mask) * voxel_ml for mask in masks)
    return TargetScore(name, *(official_round(value) for value in values), *volumes_ml)


def _target_values(
    rules: Rules, name: str, masks: tuple[np.ndarray, np.ndarray], spacing_mm: Sequence[float]
) -> tuple[float, float]:
    """Return DSC and NSD of one target, not rounded."""
    reference, prediction = masks
    if not reference.any() and not prediction.any():
        both_empty = NAN if rules.both_empty is None else rules.both_empty
        return both_empty, both_empty
    if not reference.any() or not prediction.any():
        return 0.0, 0.0
    target = BY_NAME[name]
    if rules.has_slice_range and target.is_tubular:
        kept = slice_range(reference)
        reference, prediction = reference[:, :, kept], prediction[:, :, kept]
    overlap = dsc(reference, prediction)
    if overlap < rules.nsd_needs_dsc:
        return overlap, 0.0
    return overlap, nsd(reference, prediction, spacing_mm, target.tolerance_mm)


def slice_range(reference: np.ndarray) -> slice:
    """Return the slices along the third axis on which a tubular organ is compared.

    Args:
        reference: bool array of shape (X, Y, Z), not empty.
    Returns:
        From the first reference slice up to, not including, the last one; the slice itself if there is only one.
    Raises:
        ValueError: if the reference is empty.
    """
    slices = np.flatnonzero(reference.any(axis=(0, 1)))
    if not slices.size:
        raise ValueError("an empty reference has no slice range; score it by the rule for empty masks")
    return slice(int(slices[0]), max(int(slices[-1]), int(slices[0]) + 1))


@dataclass(frozen=True)
class SummaryRow:
    """One row of `scores_summary.csv`.

    Attributes:
        row: a target's name, `organs`, `tumor_bearing_cases` or `tumor_free_cases`.
        cases: how many cases the means are over.
        dsc, nsd: means of rounded scores, rounded again; NaN if no case has a score.
        false_positive_ml: mean predicted tumor volume; given for `tumor_free_cases` alone, else NaN.
    """

    row: str
    cases: int
    dsc: float
    nsd: float
    false_positive_ml: float = NAN


def summarize(rules: Rules, scores: Mapping[str, Sequence[TargetScore]]) -> tuple[SummaryRow, ...]:
    """Average over cases in the official order of rounding: each score, then each target's mean, then the organs' mean.

    Args:
        rules: the rules that gave the scores.
        scores: case id to its scores; cases without a score for a target do not enter its mean.
    Returns:
        One row a target, `organs` (mean of the organs' rounded means) where organs are scored, then the tumor over the
        cases whose reference shows one and over those whose reference is known to show none.
    """
    by_target = {name: [s for case in scores.values() for s in case if s.target == name] for name in rules.targets}
    rows = [_mean_row(name, found) for name, found in by_target.items()]
    organs = [row for row in rows if row.row in ORGAN_NAMES]
    if organs:
        rows.append(SummaryRow("organs", len(scores), _mean([r.dsc for r in organs]), _mean([r.nsd for r in organs])))
    tumors = by_target[TUMOR.name]
    rows.append(_mean_row("tumor_bearing_cases", [s for s in tumors if s.reference_ml > 0]))
    free = [s for s in tumors if s.reference_ml == 0]
    rows.append(replace(_mean_row("tumor_free_cases", free), false_positive_ml=_mean([s.prediction_ml for s in free])))
    return tuple(rows)


def _mean_row(name: str, found: Sequence[TargetScore]) -> SummaryRow:
    scored = [score for score in found if not np.isnan(score.dsc)]
    return SummaryRow(name, len(scored), _mean([s.dsc for s in scored]), _mean([s.nsd for s in scored]))


def _mean(values: Sequence[float]) -> float:
    """Return the rounded mean of the numbers that are there; NaN of none."""
    known = [value for value in values if not np.isnan(value)]
    return official_round(np.mean(known)) if known else NAN
