"""nvauto's inference: find the abdomen, crop, average five networks without overlap, split and clean.

Tenth step of the data flow. Read `RegionEnsemble.steps` from top to bottom: it is section 2.5 of the paper.

References:
    nvauto, sections 2.5 and 2.6. The margins and the order of averaging are not published (system departures).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from flare_core.cases.boxes import Box, bounding_box, rescaled, widened
from flare_core.cases.labels import BY_NAME, ORGANS
from flare_core.cases.preprocessing import scores_to_labels
from flare_core.cases.regions import whole
from flare_core.inference.ensemble import is_constant, mean_scores, member_scores
from flare_core.inference.network import TrainedNetwork
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.trace import Inference, Networks, Spacing, Step, WindowRecord, window_record

log = logging.getLogger(__name__)

ORGAN_IDS = [organ.id for organ in ORGANS]


@dataclass(frozen=True)
class RegionEnsemble(Inference):
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
        favored: (channel, factor) pairs: a channel's mean score counts so many times before the largest one wins. The
            mean of networks that rarely agree on a small target stays below a half where each of them is sure.
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
    favored: tuple[tuple[int, float], ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose networks a submission must hold."""
        return tuple(name for name in (self.localizer, self.members) if name)

    @torch.inference_mode()
    def steps(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> Iterator[Step]:
        """Yield the label map of the networks and the one after each rule."""
        labels = np.zeros(image_hu.shape, np.uint8)
        if not is_constant(image_hu):
            region = self.region(image_hu, spacing_mm, networks)
            members = networks[self.members]
            grid = members[0].preprocessing.image_to_grid(image_hu[region], spacing_mm)
            scores = self._average(grid, members)
            for channel, factor in self.favored:
                scores[channel] *= factor
            labels[region] = members[0].scheme.to_targets(scores_to_labels(scores, labels[region].shape))
        yield Step("networks", labels, spacing_mm)
        for rule in self.postprocessing:
            labels = rule(labels, spacing_mm)
            yield Step(type(rule).__name__, labels, spacing_mm)

    def regions(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> dict[str, Box]:
        """Return the boxes that the networks are shown, by name; none if they see the whole image."""
        return {"located region": self.region(image_hu, spacing_mm, networks)} if self.localizer else {}

    def windows(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> tuple[WindowRecord, ...]:
        """Return the windows of the localizer and of the first member (the others may see fewer slices)."""
        region = self.region(image_hu, spacing_mm, networks)
        looks = [(self.members, self.window, region)]
        if self.localizer:
            looks.insert(0, (self.localizer, self.localizer_window, whole(image_hu.shape)))
        return tuple(
            window_record((stage,), window, networks[stage][0], image_hu, box, spacing_mm)
            for stage, window, box in looks
        )

    @torch.inference_mode()
    def region(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> tuple[slice, slice, slice]:
        """Return the abdominal region that the localizer finds; the whole volume if it finds none."""
        if not self.localizer:
            return whole(image_hu.shape)
        (network,) = networks[self.localizer]
        grid = network.preprocessing.image_to_grid(image_hu, spacing_mm)
        mask = scores_to_labels(self.localizer_window(network, grid), tuple(grid.shape)) > 0
        box = bounding_box(mask)
        if box is None:
            log.warning("the localizer found no abdomen: predicting on the whole volume")
            return whole(image_hu.shape)
        return self._grown(rescaled(box, grid.shape, image_hu.shape), image_hu.shape, spacing_mm, self.region_axes)

    def _average(self, grid: torch.Tensor, members: Sequence[TrainedNetwork]) -> torch.Tensor:
        """Return the mean scores of all members on their grid (C, X, Y, Z); what is cropped away is background."""
        if not self.first_model_crop or len(members) == 1:
            return mean_scores(members, grid, self.window, self.average)
        total = member_scores(members[0], grid, self.window, self.average)
        kept = self._first_model_range(members[0], total)
        for member in members[1:]:
            total[..., kept] += member_scores(member, grid[..., kept], self.window, self.average)
        total /= len(members)
        for outside in (slice(0, kept.start), slice(kept.stop, grid.shape[2])):
            total[..., outside] = 0
            total[0, ..., outside] = 1
        return total

    def _first_model_range(self, member: TrainedNetwork, scores: torch.Tensor) -> slice:
        """Return the slices around the first model's organs, or all of them if a tumor lies outside."""
        labels = member.scheme.to_targets(scores.argmax(0).numpy())
        full = slice(0, labels.shape[2])
        organs = bounding_box(np.isin(labels, ORGAN_IDS))
        if organs is None:
            return full
        kept = self._grown(organs, labels.shape, member.preprocessing.spacing_mm, (2,))[2]
        tumor = np.flatnonzero((labels == BY_NAME["tumor"].id).any((0, 1)))
        is_outside = tumor.size and (tumor[0] < kept.start or tumor[-1] >= kept.stop)
        return full if is_outside else kept

    def _grown(
        self,
        box: tuple[slice, ...],
        shape: tuple[int, ...],
        spacing_mm: tuple[float, ...],
        axes: tuple[int, ...],
    ) -> tuple[slice, slice, slice]:
        """Return the box widened by the margin along `axes` within the volume; other axes are not cropped."""
        grown = widened(box, (self.margin_mm,) * 3, spacing_mm, shape)
        return tuple(grown[axis] if axis in axes else slice(0, shape[axis]) for axis in range(3))
