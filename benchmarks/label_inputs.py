"""Images and label maps for benchmarks: full-size synthetic cases, predictions derived from them, real maps if any.

Everything is written once, under runs/, and is the same on every machine with the same lock.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage
from side_by_side import WORK

from flare_core.cases.cohort import write_cohort
from flare_core.cases.geometry import Geometry
from flare_core.cases.nifti import read_labels, write_labels
from flare_core.cases.nifti_writing import write_image
from flare_core.evaluation.metrics import label_boxes
from flare_core.paths import ROOT

SEED = 11
KITS19 = ROOT.parent / "shared" / "data" / "kits19_labels"
"""Real label maps (neheller/kits19), which are not ours to ship: used where they lie beside the project."""


def synthetic_labels(slices: int) -> Path:
    """Return a folder with the complete labels of one case of 512 x 512 voxels and so many slices."""
    folder = WORK / f"synthetic_{slices}"
    if not (folder / "labelsTrTrue").is_dir():
        write_cohort(folder, 1, 0, SEED, "full", slices=slices)
    return folder / "labelsTrTrue"


def tiny_image() -> Path:
    """Return the file of a small image of soft tissue with a little noise, one window large."""
    path = WORK / "tiny" / "tiny.nii.gz"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(0).normal(40, 20, (40, 40, 40))
        write_image(path, noise, Geometry.from_spacing(noise.shape, (4.0, 4.0, 4.0)))
    return path


def predictions_of(references: Path, name: str, spoil: Callable[[np.ndarray], np.ndarray]) -> Path:
    """Return a folder with a prediction for every label map of a folder: its labels, spoiled."""
    folder = WORK / "predictions" / name
    for path in sorted(references.glob("*.nii.gz")):
        if not (folder / path.name).is_file():
            labels = read_labels(path)
            stored = spoil(labels.stored())
            write_labels(folder / path.name, labels.geometry.to_ras(stored), labels.geometry)
    return folder


def spoiled(labels: np.ndarray) -> np.ndarray:
    """Return labels moved by a voxel along the first two axes, a third of them shrunk and a third grown by a voxel.

    Args:
        labels: uint8 array of shape (X, Y, Z) with target ids.
    """
    moved = np.roll(labels, (1, 1), (0, 1))
    for target, box in label_boxes(moved).items():
        around = tuple(slice(max(side.start - 2, 0), side.stop + 2) for side in box)
        mask, part = moved[around] == target, moved[around]
        if target % 3 == 1:
            part[mask & ~ndimage.binary_erosion(mask)] = 0
        elif target % 3 == 2:
            part[ndimage.binary_dilation(mask) & (part == 0)] = target
    return moved


def far_off(labels: np.ndarray) -> np.ndarray:
    """Return labels moved by eight voxels along the first two axes, with a cube of every target far from the others.

    Args:
        labels: uint8 array of shape (X, Y, Z) with target ids.
    """
    moved = np.roll(labels, (8, 8), (0, 1))
    for target, box in label_boxes(moved).items():
        corner = [size - (side.start + side.stop) // 2 for size, side in zip(moved.shape, box, strict=True)]
        moved[tuple(slice(max(0, at - 4), at + 4) for at in corner)] = target
    return moved
