"""Leave out the windows that hold nothing but air: an option for every window scheme.

Ninth step of the data flow. No paper does it; labels can differ only where a network sees something in air.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.inference.backends import Network
from flare_core.inference.planes import Held, Inhabited, Planes
from flare_core.inference.sliding_window import SlidingWindow, Visits
from flare_core.inference.sparse_window import SparseWindow


@dataclass(frozen=True)
class WithoutAir:
    """A window scheme that skips windows without a voxel above `air_hu`: they are background.

    Attributes:
        scheme: lays the windows. The central window of a sparse scheme's slab is always run: it decides on the others.
        air_hu: HU; -500 keeps every window with lung vessels, skin or table in it.
    """

    scheme: SlidingWindow | SparseWindow
    air_hu: float = -500.0

    @property
    def window(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        return self.scheme.window

    @property
    def batch(self) -> int:
        """Windows a forward pass."""
        return self.scheme.batch

    def window_for(self, network: Network, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the window, which is the same for every network and volume."""
        return self.scheme.window

    def visits(self, network: Network, image: Planes) -> Visits:
        """Return the windows that are run over a volume."""
        return self.scheme.visits(network, self._told(image))

    def slabs(self, network: Network, image: Planes, probabilities: bool = False) -> Iterator[np.ndarray]:
        """Yield the averaged class scores of a volume, as `SlidingWindow.slabs`.

        An image whose values nobody can say in HU (`Held`) has no air.
        """
        return self.scheme.slabs(network, self._told(image), probabilities)

    def __call__(self, network: Network, image: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the scores of a whole volume (X, Y, Z) in one array (C, X, Y, Z)."""
        return np.concatenate(list(self.slabs(network, Held(image), probabilities)), axis=3)

    def _told(self, image: Planes) -> Inhabited:
        return Inhabited(image, image.level(self.air_hu))
