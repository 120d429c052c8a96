"""Turn a case into the layers that every viewer shows: the CT, colored label maps, and their difference.

Serves `flare view` and the widgets in notebooks, which share grids and colors. Of an image only voxels and their place
in space are handed on: no header text, no path.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flare_core.cases.labels import TARGETS
from flare_core.cases.nifti import Volume, case_id, check_same_grid, read_image, read_labels
from flare_core.cases.nifti_writing import nifti_bytes
from flare_core.cases.reduction import Reduction
from flare_core.evaluation.slices import error_kinds
from flare_core.evaluation.style import ADDED, CONFUSED, MISSED

MOST_VOXELS = 12_000_000
ERRORS = ((1, MISSED, "missed"), (2, ADDED, "added"), (3, CONFUSED, "other target"))
TARGET_COLORS = tuple((target.id, target.color, target.title) for target in TARGETS)


@dataclass(frozen=True, eq=False)
class ShownCase:
    """A case to show; label maps lie on the image's grid.

    Attributes:
        title: heading of the page.
        image: the CT.
        reference, prediction: label maps, or None.
    """

    title: str
    image: Volume
    reference: Volume | None = None
    prediction: Volume | None = None

    @classmethod
    def read(cls, image: Path, labels: Path | None = None, prediction: Path | None = None) -> ShownCase:
        """Read a case from its files; its title is the case's id.

        Raises:
            BadInput: if a file is missing or unusable, or labels lie on another grid than the image.
        """
        title, ct = case_id(image), read_image(image, dtype=None)
        maps = [None if path is None else read_labels(path) for path in (labels, prediction)]
        for volume in filter(None, maps):
            check_same_grid(ct, volume)
        return cls(title, ct, *maps)

    @property
    def label_maps(self) -> dict[str, Volume]:
        """The label maps that are there, by name."""
        both = {"reference": self.reference, "prediction": self.prediction}
        return {name: volume for name, volume in both.items() if volume is not None}


@dataclass(frozen=True)
class Layer:
    """One volume: the CT, or a colored map over it.

    Attributes:
        name: `image`, `reference`, `prediction` or `error`.
        volume: int16 HU or uint8 values.
        title: for people; empty for the CT.
        colors: rows (value, color, what it means); none for the CT.
        is_labels: whether its values are targets, which can be hidden one by one.
        is_on: whether it is seen at first.
    """

    name: str
    volume: Volume
    title: str = ""
    colors: Sequence[tuple[int, str, str]] = ()
    is_labels: bool = False
    is_on: bool = True

    @property
    def file(self) -> bytes:
        """The volume as a compressed NIfTI file."""
        dtype = np.uint8 if self.colors else np.int16
        return gzip.compress(nifti_bytes(self.volume.data, self.volume.geometry, dtype), 6, mtime=0)


def layers_of(case: ShownCase, reduction: Reduction) -> list[Layer]:
    """Return the CT, the label maps and, where there are two of these, their difference.

    Args:
        case: image, and none, one or two label maps.
        reduction: what makes them small enough to be shown.
    """
    layers = [Layer("image", reduction.of_image(case.image))]
    maps = {name: reduction.of_labels(volume) for name, volume in case.label_maps.items()}
    for name, volume in maps.items():
        is_on = name == "prediction" or len(maps) == 1
        layers.append(Layer(name, volume, name.capitalize(), TARGET_COLORS, is_labels=True, is_on=is_on))
    if len(maps) == 2:
        errors = error_kinds(maps["reference"].data, maps["prediction"].data)
        layers.append(Layer("error", replace(maps["reference"], data=errors), "Error", ERRORS, is_on=False))
    return layers
