"""Predict organs and tumors with networks of their own and lay the tumors over the organs.

Tenth step of the data flow. The two may differ in grid, windows and channels; they meet as label maps.

References:
    efficient_nnunet, section 2.3 (the tumor has priority).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.inference.network import TrainedNetwork
from flare_core.inference.sliding_ensemble import SlidingEnsemble


@dataclass(frozen=True)
class MergedNetworks:
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
        organs, tumor = (part(image_hu, spacing_mm, networks) for part in (self.organs, self.tumor))
        labels = np.where(tumor > 0, tumor, organs)
        for rule in self.postprocessing:
            labels = rule(labels, spacing_mm)
        return labels
