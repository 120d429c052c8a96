"""Score label files with a peer's metrics; run by `evaluation.py` in that peer's environment.

    python benchmarks/evaluation_peer.py surface-distance PREDICTIONS REFERENCES SCORES.json

Imports nothing of this project. Files are read as the official FLARE23 script reads them: by nibabel, as float64, then
cast to int8. `surface-distance` is called as that script calls the code it carries: whole volumes, label by label, the
tubular organs on the reference's slices. Only what the script does besides is left out (it counts every label's voxels
four times over), so it takes longer than this. `monai` gets all labels at once, as its documentation has it, and no
slice range: it has no such rule.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel
import numpy as np

TOLERANCES_MM = (5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2)
TUBULAR = (5, 6, 10)
NSD_NEEDS_DSC = 0.2


def load(path: Path) -> tuple[np.ndarray, tuple]:
    """Return labels and spacing as the official script reads them."""
    image = nibabel.load(path)
    return image.get_fdata().astype(np.int8), image.header.get_zooms()[:3]


def by_surface_distance(reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple) -> list[tuple[float, float]]:
    """Return rounded DSC and NSD of every target by FLARE23's rules."""
    import surface_distance

    scores = []
    for target, tolerance_mm in enumerate(TOLERANCES_MM, 1):
        first, second = reference == target, prediction == target
        if not first.any() or not second.any():
            both_empty = float(not first.any() and not second.any())
            scores.append((both_empty, both_empty))
            continue
        if target in TUBULAR:
            slices = np.flatnonzero(first.any(axis=(0, 1)))
            first, second = (mask[:, :, slices[0] : slices[-1]] for mask in (first, second))
        dsc, nsd = surface_distance.compute_dice_coefficient(first, second), 0.0
        if dsc >= NSD_NEEDS_DSC:
            distances = surface_distance.compute_surface_distances(first, second, spacing_mm)
            nsd = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm)
        scores.append((round(float(dsc), 4), round(float(nsd), 4)))
    return scores


def by_monai(reference: np.ndarray, prediction: np.ndarray, spacing_mm: tuple) -> list[tuple[float, float]]:
    """Return rounded DSC and NSD of every target; where MONAI has none, FLARE23's value for empty masks."""
    import torch
    from monai.metrics import compute_dice, compute_surface_dice
    from monai.networks.utils import one_hot

    classes = len(TOLERANCES_MM) + 1
    pair = [one_hot(torch.from_numpy(map_)[None, None], classes, dtype=torch.uint8) for map_ in (prediction, reference)]
    dsc = compute_dice(*pair, include_background=False, ignore_empty=True)[0]
    spacing = [float(edge) for edge in spacing_mm]
    tolerances = [float(tolerance) for tolerance in TOLERANCES_MM]
    nsd = compute_surface_dice(*pair, class_thresholds=tolerances, spacing=spacing, use_subvoxels=True)[0]
    scores = []
    for target in range(1, classes):
        shown = [bool(map_[0, target].any()) for map_ in pair]
        values = (float(dsc[target - 1]), float(nsd[target - 1])) if all(shown) else (float(not any(shown)),) * 2
        scores.append((round(values[0], 4), round(values[1], 4) if values[0] >= NSD_NEEDS_DSC else 0.0))
    return scores


def main() -> None:
    """Score every reference and write the scores by case."""
    tool, predictions, references, out = sys.argv[1], *map(Path, sys.argv[2:])
    score = {"surface-distance": by_surface_distance, "monai": by_monai}[tool]
    scores = {}
    for path in sorted(references.glob("*.nii.gz")):
        (reference, spacing_mm), (prediction, _) = load(path), load(predictions / path.name)
        scores[path.name.removesuffix(".nii.gz")] = score(reference, prediction, spacing_mm)
    out.write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
