"""Average the scores of several networks on one grid.

Serves the tenth step of the data flow: every submission and every teacher predicts with these functions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch

from flare_core.cases.preprocessing import nearest_indices
from flare_core.inference.network import TrainedNetwork

log = logging.getLogger(__name__)


def is_constant(image_hu: np.ndarray) -> bool:
    """Say, and warn, that an image holds a single value (all air): there is nothing to segment in it."""
    if image_hu.min() < image_hu.max():
        return False
    log.warning("the image is constant (%g HU): nothing to segment, the label map is empty", image_hu.flat[0])
    return True


def check_one_grid(members: Sequence[TrainedNetwork], *, one_scheme: bool = True) -> None:
    """Refuse networks whose scores do not lie on the same voxels or do not stand for the same channels.

    Args:
        members: at least one network.
        one_scheme: whether the channels must be the same, too.
    Raises:
        ValueError: if they differ.
    """
    for what in ("preprocessing", "scheme") if one_scheme else ("preprocessing",):
        values = list(dict.fromkeys(getattr(member, what) for member in members))
        if len(values) > 1:
            raise ValueError(
                f"networks that predict on one grid need the same {what}, got {' and '.join(map(str, values[:2]))}; "
                "train them alike or merge their label maps (MergedNetworks)"
            )


@torch.inference_mode()
def mean_scores(
    members: Sequence[TrainedNetwork], grid: torch.Tensor, window: Callable[..., torch.Tensor], average: str
) -> torch.Tensor:
    """Return the mean scores of networks on a grid.

    Args:
        members: at least one network with the same channels.
        grid: the image on their grid, float tensor of shape (X, Y, Z).
        window: window scheme.
        average: `logits`, or `probabilities` (after a softmax over the channels).
    Returns:
        float32 tensor of shape (C, X, Y, Z) on the CPU.
    Raises:
        ValueError: for another word.
    """
    total = member_scores(members[0], grid, window, average)
    for member in members[1:]:
        total += member_scores(member, grid, window, average)
    return total.div_(len(members))


def member_scores(
    member: TrainedNetwork, grid: torch.Tensor, window: Callable[..., torch.Tensor], average: str
) -> torch.Tensor:
    """Return one network's logits or probabilities on a grid (arguments and result as in `mean_scores`)."""
    if average not in ("logits", "probabilities"):
        raise ValueError(f"average is 'logits' or 'probabilities', got {average!r}")
    return window(member, grid, activation=_softmax if average == "probabilities" else None)


def resample_labels(labels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a label map (X, Y, Z) on another grid over the same extent, by nearest neighbor."""
    return labels[np.ix_(*(nearest_indices(n, m) for n, m in zip(labels.shape, shape, strict=True)))]


def _softmax(scores: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of a batch of windows (B, C, X, Y, Z)."""
    return scores.softmax(1)
