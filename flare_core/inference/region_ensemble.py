"""nvauto's inference: find the abdomen, crop, average five networks without overlap, split and clean.

Tenth step of the data flow. Read `RegionEnsemble.__call__` from top to bottom: it is section 2.5 of the paper.

References:
    nvauto, sections 2.5 and 2.6. The margins and the order of averaging are not published (system departures).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flare_core.cases.labels import BY_NAME, ORGANS
from flare_core.cases.preprocessing import scores_to_labels
from flare_core.inference.network import TrainedNetwork
from flare_core.inference.sliding_window import SlidingWindow, bounding_box

log = logging.getLogger(__name__)

ORGAN_IDS = [organ.id for organ in ORGANS]


@dataclass(frozen=True)
class RegionEnsemble:
    """Localize, crop, ensemble, clean.

    Attributes:
        localizer: stage whose network finds the abdominal region; "" skips the crop.
        members: stage whose folds are averaged.
        localizer_window, window: window schemes of the two.
        region_axes: axes that the region crops (0, 1: x and y, never the length of the body).
        margin_mm: added around the region and around the first model's organs.
        first_model_crop: crop z to the first model's organs unless it sees a tumor outside of their range.
        average: `probabilities` or `logits`.
        postprocessing: rules applied to the label map in order.
    """

    localizer: str
    members: str
    localizer_window: SlidingWindow
    window: SlidingWindow
    region_axes: tuple[int, ...]
    margin_mm: float
    first_model_crop: bool
    average: str
    postprocessing: tuple

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose networks a submission must hold."""
        return tuple(name for name in (self.localizer, self.members) if name)

    def __call__(
        self,
        image_hu: np.ndarray,
        spacing_mm: tuple[float, float, float],
        networks: Mapping[str, Sequence[TrainedNetwork]],
    ) -> np.ndarray:
        """Return the label map of one case.

        Args:
            image_hu: float32 array (X, Y, Z) in HU, RAS+. A constant image (all air) gives an empty map.
            spacing_mm: voxel edge lengths.
            networks: trained networks of each stage in `stages`.
        Returns:
            uint8 array of the same shape with target ids 0..14.
        """
        labels = np.zeros(image_hu.shape, np.uint8)
        if image_hu.min() == image_hu.max():
            log.warning("the image is constant (%g HU): nothing to segment, the label map is empty", image_hu.flat[0])
            return labels
        region = self.region(image_hu, spacing_mm, networks)
        members = networks[self.members]
        crop, scores = self._ensemble(image_hu[region], spacing_mm, members)
        inner = tuple(slice(r.start + c.start, r.start + c.stop) for r, c in zip(region, crop, strict=True))
        channels = scores_to_labels(scores, labels[inner].shape)
        labels[inner] = members[0].scheme.to_targets(channels)
        for rule in self.postprocessing:
            labels = rule(labels, spacing_mm)
        return labels

    def region(
        self,
        image_hu: np.ndarray,
        spacing_mm: tuple[float, float, float],
        networks: Mapping[str, Sequence[TrainedNetwork]],
    ) -> tuple[slice, slice, slice]:
        """Return the abdominal region that the localizer finds; the whole volume if it finds none."""
        whole = tuple(slice(0, n) for n in image_hu.shape)
        if not self.localizer:
            return whole
        (network,) = networks[self.localizer]
        grid = network.preprocessing.image_to_grid(image_hu, spacing_mm)
        mask = scores_to_labels(self.localizer_window(network, grid), tuple(grid.shape)) > 0
        box = bounding_box(mask)
        if box is None:
            log.warning("the localizer found no abdomen: predicting on the whole volume")
            return whole
        scaled = tuple(
            slice(int(b.start * n / g), int(np.ceil(b.stop * n / g)))
            for b, n, g in zip(box, image_hu.shape, grid.shape, strict=True)
        )
        return self._grown(scaled, image_hu.shape, spacing_mm, self.region_axes)

    def _ensemble(
        self, image_hu: np.ndarray, spacing_mm: tuple[float, float, float], members: Sequence[TrainedNetwork]
    ) -> tuple[tuple[slice, slice, slice], torch.Tensor]:
        """Return the averaged scores of all members and the crop of `image_hu` that they cover."""
        crop = tuple(slice(0, n) for n in image_hu.shape)
        total = self._scores(members[0], image_hu, spacing_mm)
        if self.first_model_crop and len(members) > 1:
            labels = members[0].scheme.to_targets(scores_to_labels(total, image_hu.shape))
            crop = self._first_model_range(labels, spacing_mm)
            if crop[2] != slice(0, image_hu.shape[2]):
                total = self._scores(members[0], image_hu[crop], spacing_mm)
        for member in members[1:]:
            total += self._scores(member, image_hu[crop], spacing_mm)
        return crop, total.div_(len(members))

    def _scores(self, member: TrainedNetwork, image_hu: np.ndarray, spacing_mm: tuple[float, ...]) -> torch.Tensor:
        """Return one member's scores on its own grid."""
        softmax = (lambda scores: scores.softmax(1)) if self.average == "probabilities" else None
        return self.window(member, member.preprocessing.image_to_grid(image_hu, spacing_mm), activation=softmax)

    def _first_model_range(self, labels: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[slice, slice, slice]:
        """Return the crop in z around the first model's organs, or all of it if a tumor lies outside."""
        whole = tuple(slice(0, n) for n in labels.shape)
        organs = bounding_box(np.isin(labels, ORGAN_IDS))
        if organs is None:
            return whole
        crop = self._grown((whole[0], whole[1], organs[2]), labels.shape, spacing_mm, (2,))
        tumor_slices = np.flatnonzero((labels == BY_NAME["tumor"].id).any((0, 1)))
        outside = tumor_slices.size and (tumor_slices[0] < crop[2].start or tumor_slices[-1] >= crop[2].stop)
        return whole if outside else crop

    def _grown(
        self,
        box: tuple[slice, ...],
        shape: tuple[int, ...],
        spacing_mm: tuple[float, ...],
        axes: tuple[int, ...],
    ) -> tuple[slice, slice, slice]:
        """Return the box widened by the margin along `axes` within the volume; other axes are not cropped."""
        grown = []
        for axis in range(3):
            margin = int(np.ceil(self.margin_mm / spacing_mm[axis]))
            start, stop = box[axis].start - margin, box[axis].stop + margin
            grown.append(slice(max(0, start), min(shape[axis], stop)) if axis in axes else slice(0, shape[axis]))
        return tuple(grown)
