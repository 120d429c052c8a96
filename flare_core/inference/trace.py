"""Say what an inference does with a case on the way: where it looks, window by window, and what each step leaves.

Serves the tenth step of the data flow, and notebook 06. `Inference` is what the inference of every system offers. Its
call is the last of its steps, so that pictures and predictions cannot drift apart.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flare_core.cases.boxes import Box
from flare_core.cases.labels import TARGETS
from flare_core.inference.backends import Network
from flare_core.timing import timed

if TYPE_CHECKING:
    from flare_core.inference.postprocessing import Rule
    from flare_core.inference.sliding_window import Visits

Spacing = tuple[float, float, float]
Networks = Mapping[str, Sequence[Network]]


@dataclass(frozen=True, eq=False)
class Step:
    """A label map on the way to the result.

    Attributes:
        name: what was done last.
        labels: uint8 target ids (X, Y, Z); between steps also on another grid than the image's.
        spacing_mm: voxel edge lengths of that grid.
    """

    name: str
    labels: np.ndarray
    spacing_mm: tuple[float, ...]

    def volumes_ml(self) -> dict[str, float]:
        """Return the volume of every target by its name (0 where there is none)."""
        counts = np.bincount(self.labels.ravel(), minlength=len(TARGETS) + 1)
        voxel_ml = math.prod(self.spacing_mm) / 1000
        return {target.name: float(counts[target.id]) * voxel_ml for target in TARGETS}


@dataclass(frozen=True)
class Look:
    """Some networks that see the same windows.

    Attributes:
        stages: whose networks.
        scheme: window scheme.
        probabilities: whether they are asked for probabilities, not logits.
        first_waits: whether the scores of the first network wait, whole, for those of the others (`planes.SlabStore`).
        holds_grid: whether its label map on the networks' grid is held whole.
    """

    stages: tuple[str, ...]
    scheme: Any
    probabilities: bool = False
    first_waits: bool = False
    holds_grid: bool = False


@dataclass(frozen=True, eq=False)
class WindowRecord:
    """Where windows lay when networks of one or more stages looked at an image.

    Attributes:
        stages: names of the stages whose networks share grid and windows.
        box: the part of the image that the grid covers.
        spacing_mm: voxel edge lengths of the grid.
        shape: voxels of the grid.
        visits: the windows on it.
    """

    stages: tuple[str, ...]
    box: Box
    spacing_mm: tuple[float, ...]
    shape: tuple[int, ...]
    visits: Visits

    def facts(self) -> dict[str, Any]:
        """Return one row of a table: stages, grid, window, windows that were run and those of a dense scheme."""
        return {
            "networks": ", ".join(self.stages),
            "grid (voxels)": _times(self.shape),
            "voxel (mm)": _times(f"{side:.3g}" for side in self.spacing_mm),
            "window (voxels)": _times(self.visits.window),
            "windows run": self.visits.count,
            "all windows": self.visits.dense,
        }


class Inference(ABC):
    """What turns an image and trained networks into a label map.

    All methods take the same arguments:

    - image_hu: float32 or int16 array (X, Y, Z) in HU, RAS+; a constant image (all air) gives an empty map;
    - spacing_mm: voxel edge lengths;
    - networks: the trained networks of each stage in `stages`. Those that predict on one grid must share it:
      ValueError if they do not.
    """

    @property
    @abstractmethod
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose networks a submission must hold."""

    @abstractmethod
    def looks(self) -> tuple[Look, ...]:
        """Return which networks look at the image in turn, and how."""

    @property
    def parts(self) -> tuple[Inference, ...]:
        """The inferences whose label maps are merged: this one alone, if none are."""
        return (self,)

    @abstractmethod
    def steps(
        self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks, in_place: bool = False
    ) -> Iterator[Step]:
        """Yield the label map of the networks and the one after each rule; the last one is on the image's grid.

        With `in_place` a step changes the label map of the one before: only the last one is of use.
        """

    @abstractmethod
    def regions(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> dict[str, Box]:
        """Return the boxes that the networks are shown, by name; none if they see the whole image."""

    @abstractmethod
    def windows(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> tuple[WindowRecord, ...]:
        """Return where the windows lie, a record a grid."""

    def __call__(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> np.ndarray:
        """Return the label map of one case: uint8 array of the image's shape with target ids 0..14."""
        for step in self.steps(image_hu, spacing_mm, networks, in_place=True):
            labels = step.labels
        return labels


def cleaned(labels: np.ndarray, rules: Iterable[Rule], spacing_mm: Spacing, in_place: bool) -> Iterator[Step]:
    """Yield a label map after each rule, applied in order.

    Args:
        labels: uint8 target ids (X, Y, Z).
        rules: see `postprocessing`.
        spacing_mm: voxel edge lengths.
        in_place: change `labels` itself, instead of a copy a rule.
    """
    for rule in rules:
        labels = labels if in_place else labels.copy(order="F")
        with timed("postprocess"):
            rule.clean(labels, spacing_mm)
        yield Step(type(rule).__name__, labels, spacing_mm)


def window_record(
    stages: Iterable[str],
    window: Any,
    network: Network,
    image_hu: np.ndarray,
    box: Box,
    spacing_mm: tuple[float, float, float],
) -> WindowRecord:
    """Return where the windows of a scheme lie when a network looks at a part of an image.

    Args:
        stages: whose networks share this grid and these windows.
        window: window scheme; a sparse one runs the network to find out.
        network: one of them.
        image_hu: (X, Y, Z) in HU.
        box: the part of it.
        spacing_mm: voxel edge lengths of the image.
    """
    part = image_hu[box]
    grid = network.preprocessing.on_grid(part, spacing_mm)
    grid_mm = grid_spacing_mm(part.shape, spacing_mm, grid.shape)
    return WindowRecord(tuple(stages), box, grid_mm, grid.shape, window.visits(network, grid))


def grid_spacing_mm(
    shape: Iterable[int], spacing_mm: Iterable[float], grid_shape: Iterable[int]
) -> tuple[float, float, float]:
    """Return the voxel edge lengths of a grid of `grid_shape` over the extent of a volume."""
    return tuple(size * side / new for size, side, new in zip(shape, spacing_mm, grid_shape, strict=True))


def _times(sides: Iterable[Any]) -> str:
    """Join three sides for reading."""
    return " x ".join(map(str, sides))
