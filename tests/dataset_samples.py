"""Small dataset folders made by hand: volumes of a few voxels, written by the project's own writer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from flare_core.cases.geometry import Geometry
from flare_core.cases.labels import BY_NAME, TARGETS
from flare_core.cases.nifti import write_image, write_labels

GEOMETRY = Geometry.from_spacing((8, 6, 5), (1, 2, 5), axes="LPS")  # 10 mm^3 = 0.01 ml a voxel
LABELS = {"background": 0, **{target.name: target.id for target in TARGETS}}


def add_image(path: Path, shift: int = 0) -> None:
    """A bright block in air."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = np.full(GEOMETRY.ras_shape, -1000, np.int16)
    hu[2:6, 2:4] = 50 + shift
    write_image(path, hu, GEOMETRY)


def add_labels(path: Path, **voxels: int) -> None:
    """A label map with so many voxels of each named target (or of each value `v7=`), one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(GEOMETRY.ras_shape, np.uint8)
    start = 0
    for name, count in voxels.items():
        value = BY_NAME[name].id if name in BY_NAME else int(name[1:])
        labels.reshape(-1)[start : start + count] = value
        start += count
    write_labels(path, labels, GEOMETRY)


def add_index(root: Path, **content: object) -> None:
    """A dataset.json with FLARE's labels and the given keys."""
    (root / "dataset.json").write_text(json.dumps({"name": "by hand", "labels": LABELS, **content}))
