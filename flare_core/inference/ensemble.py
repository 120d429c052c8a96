"""Average the scores of several networks on one grid.

Serves the tenth step of the data flow: every submission and every teacher predicts with these functions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from flare_core.inference.backends import Network
from flare_core.inference.planes import Planes
from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.sparse_window import SparseWindow
from flare_core.inference.whole_volume import WholeVolume
from flare_core.inference.without_air import WithoutAir

log = logging.getLogger(__name__)

WindowScheme = SlidingWindow | SparseWindow | WithoutAir | WholeVolume


def is_constant(image_hu: np.ndarray) -> bool:
    """Say, and warn, that an image holds a single value (all air): there is nothing to segment in it."""
    if image_hu.min() < image_hu.max():
        return False
    log.warning("the image is constant (%g HU): nothing to segment, the label map is empty", image_hu.flat[0])
    return True


def check_one_grid(members: Sequence[Network], *, one_scheme: bool = True) -> None:
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


def mean_slabs(members: Sequence[Network], image: Planes, window: WindowScheme, average: str) -> Iterator[np.ndarray]:
    """Yield the mean scores of networks on a grid, from its first planes to its last.

    Args:
        members: at least one network with the same channels; all of them see the same windows, plane by plane.
        image: the image on their grid.
        window: window scheme.
        average: `logits`, or `probabilities` (after a softmax over the channels).
    Yields:
        float32 arrays of shape (C, X, Y, n).
    Raises:
        ValueError: for another word.
    """
    if average not in ("logits", "probabilities"):
        raise ValueError(f"average is 'logits' or 'probabilities', got {average!r}")
    probabilities = average == "probabilities"
    for slabs in zip(*(window.slabs(member, image, probabilities) for member in members), strict=True):
        total = slabs[0]
        for slab in slabs[1:]:
            total += slab
        total /= len(members)
        yield total
