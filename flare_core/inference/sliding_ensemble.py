"""Predict with the mean of several networks, window by window: no localization, one grid, one argmax.

Tenth step of the data flow. The inference of dkfz and swinx, of each network of efficient_nnunet, and of every teacher.

References:
    dkfz, section 2 (argmax of logits, torch resampling, no mirroring; two networks averaged);
    MIC-DKFZ/nnUNet (v2 averages logits); swinx, sections 2.4 and 4.3 (half overlap, body crop).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flare_core.cases.boxes import Box
from flare_core.cases.interpolation import slabs_to_labels
from flare_core.cases.preprocessing import resample_labels
from flare_core.cases.regions import BodyBox, whole
from flare_core.inference.ensemble import WindowScheme, check_one_grid, is_constant, mean_slabs
from flare_core.inference.trace import Inference, Look, Networks, Spacing, Step, WindowRecord, cleaned, window_record


@dataclass(frozen=True)
class SlidingEnsemble(Inference):
    """Average every network of some stages and take the best channel.

    Attributes:
        members: stages; each network of each of them has the same weight. All must share grid and channels.
        window: window scheme of every network.
        average: `logits` or `probabilities`.
        region: part of the image that is looked at, the rest is background; None: all of it.
        resampled: what goes from the network's grid to the image's: `scores` (trilinear, argmax afterwards), or
            `labels` (argmax first, then nearest neighbor: faster, with steps at the grid's spacing).
        postprocessing: rules applied to the label map in order.
    """

    members: tuple[str, ...]
    window: WindowScheme
    average: str = "logits"
    region: BodyBox | None = None
    resampled: str = "scores"
    postprocessing: tuple = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose networks a submission must hold."""
        return self.members

    def looks(self) -> tuple[Look, ...]:
        """Return the one look of all members."""
        probabilities, holds_grid = self.average == "probabilities", self.resampled == "labels"
        return (Look(self.members, self.window, probabilities, holds_grid=holds_grid),)

    def steps(
        self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks, in_place: bool = False
    ) -> Iterator[Step]:
        """Yield the label map of the networks and the one after each rule."""
        members = [network for stage in self.members for network in networks[stage]]
        check_one_grid(members)
        labels = np.zeros(image_hu.shape, np.uint8, order="F")
        if not is_constant(image_hu):
            box = self._box(image_hu, spacing_mm)
            grid = members[0].preprocessing.on_grid(image_hu[box], spacing_mm)
            slabs = mean_slabs(members, grid, self.window, self.average)
            self._fill(labels[box], slabs, grid.shape, members[0].scheme.table)
        yield Step("networks", labels, spacing_mm)
        yield from cleaned(labels, self.postprocessing, spacing_mm, in_place)

    def regions(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> dict[str, Box]:
        """Return the box that the networks are shown, by name; none if they see the whole image."""
        return {"body": self._box(image_hu, spacing_mm)} if self.region else {}

    def windows(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> tuple[WindowRecord, ...]:
        """Return the windows, which are the same for every network but in a sparse scheme (there: the first one's)."""
        box = self._box(image_hu, spacing_mm)
        first = networks[self.members[0]][0]
        return (window_record(self.members, self.window, first, image_hu, box, spacing_mm),)

    def _box(self, image_hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> Box:
        """Return the part of the image that is looked at."""
        return self.region(image_hu, None, spacing_mm) if self.region else whole(image_hu.shape)

    def _fill(
        self, labels: np.ndarray, slabs: Iterator[np.ndarray], grid_shape: tuple[int, int, int], table: np.ndarray
    ) -> None:
        """Write the target of every voxel into a label map (X, Y, Z) of zeros."""
        if self.resampled not in ("scores", "labels"):
            raise ValueError(f"resampled is 'scores' or 'labels', got {self.resampled!r}")
        if self.resampled == "scores":
            slabs_to_labels(slabs, grid_shape, labels, table)
        else:
            on_grid = slabs_to_labels(slabs, grid_shape, np.zeros(grid_shape, np.uint8, order="F"), table)
            resample_labels(on_grid, labels.shape, out=labels)
