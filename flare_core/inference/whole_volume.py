"""Run a network once over the whole grid.

Ninth step of the data flow for networks whose grid has a fixed size, so that one forward pass sees everything.

References:
    stmt, sections 2.1 (whole volumes of 128^3 and 192^3) and 2.2 (why: time).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.inference.backends import Network
from flare_core.inference.planes import Held, Planes
from flare_core.inference.sliding_window import SlidingWindow, Visits


@dataclass(frozen=True)
class WholeVolume:
    """A window scheme with one window: the grid itself, so memory grows with it."""

    def slabs(self, network: Network, image: Planes, probabilities: bool = False) -> Iterator[np.ndarray]:
        """Yield the class scores of a volume, all at once.

        Args:
            network: its `stride` (an integer, or one an axis) must divide the sides; where it does not,
                zeros surround the image and the scores are cropped back.
            image: the volume (X, Y, Z).
            probabilities: a softmax over the channels instead of logits.
        Yields:
            One float32 array of shape (C, X, Y, Z).
        """
        return self._window(network, image).slabs(network, image, probabilities)

    def __call__(self, network: Network, image: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the scores of a volume (X, Y, Z) as an array (C, X, Y, Z); arguments as in `slabs`."""
        return self._window(network, Held(image))(network, image, probabilities)

    def visits(self, network: Network, image: Planes) -> Visits:
        """Return the one window that is run over a volume (arguments as in `slabs`)."""
        return self._window(network, image).visits(network, image)

    def _window(self, network: Network, image: Planes) -> SlidingWindow:
        return SlidingWindow(self.window_for(network, image.shape))

    def window_for(self, network: Network, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the smallest window that holds a volume of this shape and whose sides the network can halve."""
        stride = network.stride
        strides = (stride,) * 3 if isinstance(stride, int) else stride
        return tuple(math.ceil(size / s) * s for size, s in zip(shape, strides, strict=True))
