"""Record what the official metric code says about the shapes of `shapes.py`, as `oracle.json` beside this file.

Needs an environment of its own, with DeepMind's package that FLARE's scripts carry a copy of:
    pip install "surface-distance==0.1" "numpy<2" scipy && python tests/evaluation/make_oracle.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import shapes
import surface_distance

TOLERANCES_MM = (5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2)


def scores(reference: np.ndarray, prediction: np.ndarray, spacing: tuple, tolerance_mm: float) -> tuple[float, float]:
    """Return DSC and NSD of two bool masks as the package computes them."""
    spacing = tuple(np.float32(edge) for edge in spacing)  # what nibabel's get_zooms gives
    distances = surface_distance.compute_surface_distances(reference, prediction, spacing)
    nsd = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm)
    return surface_distance.compute_dice_coefficient(reference, prediction), nsd


def official_row(reference: np.ndarray, prediction: np.ndarray, spacing: tuple, target: int) -> tuple[float, float]:
    """Return rounded DSC and NSD of one target by FLARE23's rules."""
    first, second = reference == target, prediction == target
    if not first.any() or not second.any():
        both_empty = float(not first.any() and not second.any())
        return both_empty, both_empty
    if target in (5, 6, 10):
        slices = np.flatnonzero(first.any(axis=(0, 1)))
        first, second = first[:, :, slices[0] : slices[-1]], second[:, :, slices[0] : slices[-1]]
    dsc = surface_distance.compute_dice_coefficient(first, second)
    nsd = scores(first, second, spacing, TOLERANCES_MM[target - 1])[1] if dsc >= 0.2 else 0
    return float(round(np.float64(dsc), 4)), float(round(np.float64(nsd), 4))


def main() -> None:
    """Write the oracle values."""
    pairs, roughened, cases = {}, {}, {}
    for name, (shape, spacing, first, second, tolerance_mm) in shapes.PAIRS.items():
        masks = shapes.union(shape, first), shapes.union(shape, second)
        pairs[name] = [float(value) for value in scores(*masks, spacing, tolerance_mm)]
        masks = shapes.rough(masks[0], 1), shapes.rough(masks[1], 2)
        roughened[name] = [float(value) for value in scores(*masks, spacing, tolerance_mm / 2)]
    for seed in range(10):
        reference, prediction, spacing = shapes.case(seed)
        cases[str(seed)] = [official_row(reference, prediction, spacing, target) for target in range(1, 15)]
    out = {"made_by": "surface-distance 0.1", "pairs": pairs, "roughened_half_tolerance": roughened, "flare23": cases}
    Path(__file__).with_name("oracle.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
