"""Predict organs and tumors with networks of their own and lay the tumors over the organs.

Tenth step of the data flow. The two may differ in grid, windows and channels; they meet as label maps.

References:
    efficient_nnunet, section 2.3 (the tumor has priority).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from flare_core.cases.boxes import Box
from flare_core.inference.sliding_ensemble import SlidingEnsemble
from flare_core.inference.trace import Inference, Look, Networks, Spacing, Step, WindowRecord, cleaned


@dataclass(frozen=True)
class MergedNetworks(Inference):
    """Two predictions, one label map.

    Attributes:
        organs: what predicts first.
        tumor: its targets, wherever it finds any, replace the first one's.
        postprocessing: rules applied to the merged map in order (each prediction has its own, too).
    """

    organs: SlidingEnsemble
    tumor: SlidingEnsemble
    postprocessing: tuple = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose networks a submission must hold."""
        return tuple(dict.fromkeys((*self.organs.stages, *self.tumor.stages)))

    @property
    def parts(self) -> tuple[Inference, ...]:
        """The two inferences whose label maps are merged."""
        return self.organs, self.tumor

    def looks(self) -> tuple[Look, ...]:
        """Return what both compute."""
        return (*self.organs.looks(), *self.tumor.looks())

    def steps(
        self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks, in_place: bool = False
    ) -> Iterator[Step]:
        """Yield the steps of both, the merged map and the one after each rule."""
        found = []
        for name, part in (("organs", self.organs), ("tumor", self.tumor)):
            for step in part.steps(image_hu, spacing_mm, networks, in_place):
                yield replace(step, name=f"{name}: {step.name}")
            found.append(step.labels)
        organs, tumor = found
        labels = organs if in_place else organs.copy(order="F")
        for z in range(labels.shape[2]):
            np.copyto(labels[..., z], tumor[..., z], where=tumor[..., z] > 0)
        yield Step("tumor over organs", labels, spacing_mm)
        yield from cleaned(labels, self.postprocessing, spacing_mm, in_place)

    def regions(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> dict[str, Box]:
        """Return the boxes that the networks are shown, by name; none if they see the whole image."""
        parts = (("organs", self.organs), ("tumor", self.tumor))
        return {
            f"{name}: {region}": box
            for name, part in parts
            for region, box in part.regions(image_hu, spacing_mm, networks).items()
        }

    def windows(self, image_hu: np.ndarray, spacing_mm: Spacing, networks: Networks) -> tuple[WindowRecord, ...]:
        """Return the windows of both predictions."""
        parts = (self.organs, self.tumor)
        return tuple(record for part in parts for record in part.windows(image_hu, spacing_mm, networks))
