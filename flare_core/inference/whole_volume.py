"""Run a network once over the whole grid.

Ninth step of the data flow for networks whose grid has a fixed size, so that one forward pass sees everything.

References:
    stmt, sections 2.1 (whole volumes of 128^3 and 192^3) and 2.2 (why: time).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from flare_core.inference.network import TrainedNetwork
from flare_core.inference.sliding_window import Visits, in_volume, padded_to, run_windows


@dataclass(frozen=True)
class WholeVolume:
    """A window scheme with one window: the grid itself, so memory grows with it."""

    @torch.inference_mode()
    def __call__(
        self,
        network: TrainedNetwork,
        image: torch.Tensor,
        *,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return the class scores of a volume.

        Args:
            network: its `architecture.stride` (an integer, or one an axis) must divide the sides; where it does not,
                the image is padded with zeros on both sides and the scores are cropped back.
            image: float tensor of shape (X, Y, Z).
            activation: applied to the scores, e.g. a softmax; None returns logits.
        Returns:
            float32 tensor of shape (C, X, Y, Z) on the CPU.
        """
        shape = _padded_shape(network, image)
        padded, kept = padded_to(image, shape)
        return run_windows(network, padded, [(0, 0, 0)], shape, activation)[0][(slice(None), *kept)]

    def visits(self, network: TrainedNetwork, image: torch.Tensor) -> Visits:
        """Return the one window that is run over a volume (arguments as in the call)."""
        shape = _padded_shape(network, image)
        _, kept = padded_to(image, shape)
        return Visits(shape, in_volume([(0, 0, 0)], kept), scheme=1, dense=1)


def _padded_shape(network: TrainedNetwork, image: torch.Tensor) -> tuple[int, int, int]:
    """Return the smallest shape that holds a volume and whose sides the network can halve."""
    stride = network.architecture.stride
    strides = (stride,) * 3 if isinstance(stride, int) else stride
    return tuple(math.ceil(size / s) * s for size, s in zip(image.shape, strides, strict=True))
