"""Annotate cases as FLARE23's sources did: all organs, five organs, tumors only, nothing.

References:
    FLARE23 training set: 250 cases with 13 organs, 1062 with five, 888 with tumors only, 1800 without labels;
    tumors are annotated in 1497 of the 2200 labeled cases, and there only in part (nvauto Table 1, StMt section 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flare_core.cases.labels import BY_NAME, FIVE_ORGANS, ORGAN_NAMES, TARGET_NAMES

GROUP_SIZES = {"organs13": 250, "organs5": 1062, "tumor_only": 888, "unlabeled": 1800}
TUMOR_CASES = 1497
UNMARKED_SHARE = 0.46
"""Of the second and third lesions of a case: the first is always marked, so about a fifth of all lesions are not."""


def largest_remainder(total: int, weights: Sequence[float]) -> list[int]:
    """Share `total` out in proportion to `weights` in whole numbers that add up (ties go to the earlier).

    Raises:
        ValueError: if the total is negative or no weight is positive.
    """
    if total < 0 or sum(weights) <= 0:
        raise ValueError(f"expected a total >= 0 and a positive weight, got {total} and {list(weights)}")
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [int(value) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_rest[: total - sum(shares)]:
        shares[i] += 1
    return shares


def tumor_share(group: str) -> float:
    """Return the share of a group's cases whose tumors are annotated: all of tumor_only, the rest spread evenly."""
    spread = (TUMOR_CASES - GROUP_SIZES["tumor_only"]) / (GROUP_SIZES["organs13"] + GROUP_SIZES["organs5"])
    return {"organs13": spread, "organs5": spread, "tumor_only": 1.0, "unlabeled": 0.0, "validation": 1.0}[group]


def draw_marks(rng: np.random.Generator, lesions: int, group: str) -> list[bool]:
    """Draw which lesions the annotators marked: always the first, all in validation cases, four of five in all."""
    unmarked = 0.0 if group == "validation" else UNMARKED_SHARE
    return [number == 0 or bool(rng.random() >= unmarked) for number in range(lesions)]


def annotated_targets(group: str, with_tumor: bool) -> frozenset[str]:
    """Return the targets that the annotators of a group marked."""
    names = {
        "organs13": ORGAN_NAMES,
        "organs5": FIVE_ORGANS,
        "tumor_only": (),
        "unlabeled": (),
        "validation": TARGET_NAMES,
    }[group]
    return frozenset(names) | (frozenset({"tumor"}) if with_tumor else frozenset())


def annotate(organs: np.ndarray, lesions: np.ndarray, annotated: frozenset[str], marked: Sequence[bool]) -> np.ndarray:
    """Return what the label file shows.

    Args:
        organs: uint8 map of the organs as they would be without tumors, shape (X, Y, Z).
        lesions: uint8 map of the same shape: 0, or the number (from 1) of the lesion there.
        annotated: targets that are marked at all.
        marked: for each lesion whether it is marked; an unmarked one shows its host.
    """
    table = np.zeros(15, np.uint8)
    for name in annotated:
        table[BY_NAME[name].id] = BY_NAME[name].id
    shown = table[organs]
    if "tumor" in annotated:
        is_marked = np.array([False, *marked])
        shown[is_marked[lesions]] = BY_NAME["tumor"].id
    return shown
