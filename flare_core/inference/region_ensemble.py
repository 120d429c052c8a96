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

from flare_core.cases.boxes import Box, bounding_box, rescaled, widened
from flare_core.cases.interpolation import GridImage, best_channel, slabs_to_labels
from flare_core.cases.labels import BY_NAME, ORGANS, LabelScheme
from flare_core.cases.regions import whole
from flare_core.inference.backends import Network
from flare_core.inference.ensemble import is_constant, mean_slabs
from flare_core.inference.planes import IN_MEMORY, Cropped, SlabStore
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.trace import Inference, Look, Networks, Spacing, Step, WindowRecord, cleaned, window_record

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
        most: so many of the members at most, the first ones; None: all of them.
        waits_in_file: the first model's scores wait for the others' in a file however few they are.
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
    most: int | None = None
    waits_in_file: bool = False

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose networks a submission must hold."""
        return tuple(name for name in (self.localizer, self.members) if name)

    def looks(self) -> tuple[Look, ...]:
        """Return the localizer's look and the members'."""
        first_waits = self.first_model_crop and self.most != 1
        members = Look((self.members,), self.window, self.average == "probabilities", first_waits)
        return (
            (Look((self.localizer,), self.localizer_window, holds_grid=True), members) if self.localizer else (members,)
        )

    def steps(
        self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks, in_place: bool = False
    ) -> Iterator[Step]:
        """Yield the label map of the networks and the one after each rule."""
        labels = np.zeros(image_hu.shape, np.uint8, order="F")
        if not is_constant(image_hu):
            region = self.region(image_hu, spacing_mm, networks)
            members = networks[self.members][: self.most]
            grid = members[0].preprocessing.on_grid(image_hu[region], spacing_mm)
            slabs = map(self._favor, self._average(grid, members))
            slabs_to_labels(slabs, grid.shape, labels[region], members[0].scheme.table)
        yield Step("networks", labels, spacing_mm)
        yield from cleaned(labels, self.postprocessing, spacing_mm, in_place)

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

    def region(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> tuple[slice, slice, slice]:
        """Return the abdominal region that the localizer finds; the whole volume if it finds none."""
        if not self.localizer:
            return whole(image_hu.shape)
        (network,) = networks[self.localizer]
        grid = network.preprocessing.on_grid(image_hu, spacing_mm)
        slabs = self.localizer_window.slabs(network, grid)
        box = bounding_box(slabs_to_labels(slabs, grid.shape, np.zeros(grid.shape, np.uint8)))
        if box is None:
            log.warning("the localizer found no abdomen: predicting on the whole volume")
            return whole(image_hu.shape)
        return self._grown(rescaled(box, grid.shape, image_hu.shape), image_hu.shape, spacing_mm, self.region_axes)

    def _average(self, grid: GridImage, members: Sequence[Network]) -> Iterator[np.ndarray]:
        """Yield the mean scores of all members (C, X, Y, n) up the grid; what is cropped away is background."""
        if not self.first_model_crop or len(members) == 1:
            yield from mean_slabs(members, grid, self.window, self.average)
            return
        with SlabStore(0 if self.waits_in_file else IN_MEMORY) as first:
            seen = Extent(members[0].scheme)
            for slab in mean_slabs(members[:1], grid, self.window, self.average):
                seen.add(slab)
                first.append(slab)
            kept = self._first_model_range(seen, grid.shape, members[0].preprocessing.spacing_mm)
            yield from _background(slab.shape[:3], kept.start)
            at = kept.start
            for mean in mean_slabs(members[1:], Cropped(grid, kept), self.window, self.average):
                stop = at + mean.shape[3]
                yield (mean * (len(members) - 1) + first.planes(at, stop)) / len(members)
                at = stop
            yield from _background(slab.shape[:3], grid.shape[2] - kept.stop)

    def _first_model_range(self, seen: Extent, shape: tuple[int, int, int], spacing_mm: tuple[float, ...]) -> slice:
        """Return the planes around the first model's organs, or all of them if it saw a tumor outside."""
        full = slice(0, shape[2])
        if seen.organs is None:
            return full
        kept = self._grown((full, full, slice(*seen.organs)), shape, spacing_mm, (2,))[2]
        is_outside = seen.tumor is not None and (seen.tumor[0] < kept.start or seen.tumor[1] > kept.stop)
        return full if is_outside else kept

    def _favor(self, scores: np.ndarray) -> np.ndarray:
        """Multiply the favored channels of scores by their factors, in place."""
        for channel, factor in self.favored:
            scores[channel] *= factor
        return scores

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


class Extent:
    """Between which planes a network sees organs and tumors, as its scores come.

    Attributes:
        organs, tumor: first plane and the one behind the last; None if none was seen.
    """

    def __init__(self, scheme: LabelScheme) -> None:
        self.organs: tuple[int, int] | None = None
        self.tumor: tuple[int, int] | None = None
        self._scheme, self._planes = scheme, 0

    def add(self, scores: np.ndarray) -> None:
        """Look at the next planes (C, X, Y, n)."""
        labels = self._scheme.to_targets(best_channel(scores))
        self.organs = self._widened(self.organs, np.isin(labels, ORGAN_IDS))
        self.tumor = self._widened(self.tumor, labels == BY_NAME["tumor"].id)
        self._planes += labels.shape[2]

    def _widened(self, extent: tuple[int, int] | None, mask: np.ndarray) -> tuple[int, int] | None:
        planes = np.flatnonzero(mask.any((0, 1))) + self._planes
        if not planes.size:
            return extent
        return int(planes[0]) if extent is None else extent[0], int(planes[-1]) + 1


def _background(plane: Sequence[int], count: int) -> Iterator[np.ndarray]:
    """Yield `count` planes of scores (C, X, Y) in which the first channel wins."""
    scores = np.zeros((*plane, 1), np.float32)
    scores[0] = 1
    for _ in range(count):
        yield scores
