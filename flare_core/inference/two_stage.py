"""stmt's inference: find the abdomen in a coarse cube, segment organs and tumors in a finer cube around it.

Tenth step of the data flow. Read `TwoStage.steps` from top to bottom: it is figure 2 (c) of the paper. Every network
runs once on a grid of fixed size.

References:
    stmt, sections 2.1 to 2.3; lseventeen/Two-Stage-Hybrid-Supervision, inference/two_stage_predict.py and
    config/two_stage_inference.yaml (margins, components, order of the steps; its axes are z, y, x).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.cases.boxes import Box, bounding_box, rescaled, widened
from flare_core.cases.interpolation import best_channel
from flare_core.cases.preprocessing import resample_labels
from flare_core.cases.regions import BodyBox, whole
from flare_core.inference.backends import Network
from flare_core.inference.ensemble import check_one_grid, is_constant, mean_slabs
from flare_core.inference.planes import Held
from flare_core.inference.trace import (
    Inference,
    Look,
    Networks,
    Spacing,
    Step,
    WindowRecord,
    grid_spacing_mm,
    window_record,
)
from flare_core.inference.whole_volume import WholeVolume
from flare_core.timing import timed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TwoStage(Inference):
    """Locate, crop, segment organs and tumors, merge.

    Attributes:
        locator: stage whose network finds the abdomen in the whole volume.
        organs, tumor: stages whose networks share the grid inside the crop; several networks of a stage are averaged.
            Without a tumor stage only organs are segmented (the paper's table 3 has such rows).
        margin_mm: added on both sides of the located box along X, Y, Z.
        body: the crop where the locator finds nothing.
        organ_rules: rules applied to the organs on their grid, before the tumor is laid over them.
    """

    locator: str
    organs: str
    tumor: str | None
    margin_mm: tuple[float, float, float]
    body: BodyBox
    organ_rules: tuple = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose networks a submission must hold."""
        return (self.locator, *self._fine)

    @property
    def _fine(self) -> tuple[str, ...]:
        """Names of the stages inside the crop."""
        return (self.organs,) if self.tumor is None else (self.organs, self.tumor)

    def looks(self) -> tuple[Look, ...]:
        """Return the stages, each with its whole volume."""
        return tuple(Look((stage,), WholeVolume()) for stage in self.stages)

    def steps(
        self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks, in_place: bool = False
    ) -> Iterator[Step]:
        """Yield the label maps of the networks and after each rule on their grid, then the result on the image's.

        A constant image has the result alone.
        """
        check_one_grid([member for stage in self._fine for member in networks[stage]], one_scheme=False)
        labels = np.zeros(image_hu.shape, np.uint8, order="F")
        if not is_constant(image_hu):
            box = self.region(image_hu, spacing_mm, networks)
            crop = image_hu[box]
            grid = networks[self.organs][0].preprocessing.image_to_grid(crop, spacing_mm)
            grid_mm = grid_spacing_mm(crop.shape, spacing_mm, grid.shape)
            organs = _targets(networks[self.organs], grid)
            yield Step("organs: networks", organs, grid_mm)
            for rule in self.organ_rules:
                with timed("postprocess"):
                    organs = rule(organs, grid_mm)
                yield Step(f"organs: {type(rule).__name__}", organs, grid_mm)
            tumor = None if self.tumor is None else _targets(networks[self.tumor], grid)
            if tumor is not None:
                yield Step("tumor: networks", tumor, grid_mm)
            with timed("reduce"):
                merged = organs if tumor is None else np.where(tumor > 0, tumor, organs)
                resample_labels(merged, crop.shape, out=labels[box])
        yield Step("organs" if self.tumor is None else "tumor over organs", labels, spacing_mm)

    def regions(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> dict[str, Box]:
        """Return the box that the second stage is shown, by name."""
        return {"located region": self.region(image_hu, spacing_mm, networks)}

    def windows(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> tuple[WindowRecord, ...]:
        """Return the one window of each of the two grids."""
        looks = (
            ((self.locator,), whole(image_hu.shape)),
            (self._fine, self.region(image_hu, spacing_mm, networks)),
        )
        return tuple(
            window_record(stages, WholeVolume(), networks[stages[0]][0], image_hu, box, spacing_mm)
            for stages, box in looks
        )

    def region(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> Box:
        """Return the part of the image that the second stage sees; the body's box where the locator finds nothing."""
        members = networks[self.locator]
        located = _targets(members, members[0].preprocessing.image_to_grid(image_hu, spacing_mm))
        box = bounding_box(located > 0)
        if box is None:
            log.warning("the locator found no abdomen: predicting in the box around the body")
            return self.body(image_hu, None, spacing_mm)
        return widened(rescaled(box, located.shape, image_hu.shape), self.margin_mm, spacing_mm, image_hu.shape)


def _targets(members: Sequence[Network], grid: np.ndarray) -> np.ndarray:
    """Return the target ids on a grid that one forward pass a network covers."""
    (scores,) = mean_slabs(members, Held(grid), WholeVolume(), "logits")
    with timed("reduce"):
        return members[0].scheme.to_targets(best_channel(scores))
