"""Run a network once over the whole grid.

Ninth step of the data flow for networks whose grid has a fixed size, so that one forward pass sees everything.

References:
    stmt, sections 2.1 (whole volumes of 128^3 and 192^3) and 2.2 (why: time).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from flare_core.inference.network import TrainedNetwork
from flare_core.inference.planes import Held, Planes
from flare_core.inference.sliding_window import Activation, SlidingWindow, Visits


@dataclass(frozen=True)
class WholeVolume:
    """A window scheme with one window: the grid itself, so memory grows with it."""

    def slabs(self, network: TrainedNetwork, image: Planes, activation: Activation = None) -> Iterator[torch.Tensor]:
        """Yield the class scores of a volume, all at once.

        Args:
            network: its `architecture.stride` (an integer, or one an axis) must divide the sides; where it does not,
                zeros surround the image and the scores are cropped back.
            image: the volume (X, Y, Z).
            activation: applied to the scores, e.g. a softmax; None returns logits.
        Yields:
            One float32 tensor of shape (C, X, Y, Z) on the CPU.
        """
        return self._window(network, image).slabs(network, image, activation)

    def __call__(self, network: TrainedNetwork, image: torch.Tensor, activation: Activation = None) -> torch.Tensor:
        """Return the scores of a volume (X, Y, Z) as a tensor (C, X, Y, Z); arguments as in `slabs`."""
        return self._window(network, Held(image))(network, image, activation)

    def visits(self, network: TrainedNetwork, image: Planes) -> Visits:
        """Return the one window that is run over a volume (arguments as in `slabs`)."""
        return self._window(network, image).visits(network, image)

    def _window(self, network: TrainedNetwork, image: Planes) -> SlidingWindow:
        """Return the smallest window that holds the volume and whose sides the network can halve."""
        stride = network.architecture.stride
        strides = (stride,) * 3 if isinstance(stride, int) else stride
        return SlidingWindow(tuple(math.ceil(size / s) * s for size, s in zip(image.shape, strides, strict=True)))
