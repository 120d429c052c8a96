"""Measure the volume of every target in label files.

Serves `flare predict --volumes`: what is measured is what lies on the disk.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from flare_core.cases.label_counts import voxel_counts
from flare_core.cases.labels import BY_NAME
from flare_core.cases.nifti import read_labels
from flare_core.storage import write_file

COLUMNS = ("case", "target", "volume_ml", "voxels")


def target_volumes(labels: Path, targets: Sequence[str]) -> list[tuple[str, float, int]]:
    """Return (target, ml, voxels) of each named target; one that the file does not show has 0.

    Raises:
        BadInput: if the label file cannot be used.
    """
    volume = read_labels(labels)
    counts = voxel_counts(volume.stored())
    voxels = [(name, int(counts[BY_NAME[name].id])) for name in targets]
    return [(name, round(count * volume.geometry.voxel_ml, 4), count) for name, count in voxels]


def write_volumes(path: Path, labels: Mapping[str, Path], targets: Sequence[str]) -> Path:
    """Write a CSV with a row a case and target: case, target, volume_ml, voxels.

    Args:
        path: the file, written whole or not at all; its folder is made.
        labels: case id to label file; none at all leaves the header alone.
        targets: names of the targets to measure.
    Returns:
        The path.
    Raises:
        BadInput: if a label file cannot be used.
        OSError: if the file cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for case, file in labels.items():
        table.writerows((case, *row) for row in target_volumes(file, targets))
    write_file(path, text.getvalue())
    return path
