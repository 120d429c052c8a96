"""Choose where a training patch is cut out of a case.

Fourth step of the data flow. Drawing is stateless: the caller gives a random generator, so that the patch of a step
depends on nothing but the seed, the step and the place in the batch.

References:
    nvauto, section 3.2 (equal probability for each region); MONAI `RandCropByLabelClasses`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PreparedCase:
    """One case on a network's grid, ready for cropping.

    Attributes:
        id: case id.
        image: float array of shape (X, Y, Z), normalized.
        channels: uint8 array of the same shape with network channels.
        annotated: bool array of shape (C,): which channels a person annotated here (validation counts only these).
        taught: bool array of shape (C,): which channels the labels say anything about (the loss leaves out the others).
        voxels_of: for each channel present, flat indices of (at most `INDEX_LIMIT`) voxels of it.
    """

    id: str
    image: np.ndarray
    channels: np.ndarray
    annotated: np.ndarray
    taught: np.ndarray
    voxels_of: dict[int, np.ndarray]


INDEX_LIMIT = 3000  # the template keeps at most 10 x epochs indices a class: 3000 for 300 epochs
PIECE = 2**24


def class_voxels(channels: np.ndarray) -> dict[int, np.ndarray]:
    """Return for each channel present evenly spread flat indices of at most `INDEX_LIMIT` of its voxels."""
    flat = channels.ravel()
    found = {}
    for channel, size in enumerate(np.bincount(flat)):
        if size:
            count = min(INDEX_LIMIT, size)
            found[channel] = _occurrences(flat, channel, np.arange(count) * size // count)
    return found


def _occurrences(flat: np.ndarray, channel: int, ranks: np.ndarray) -> np.ndarray:
    """Return where the given occurrences (0-based, ascending) of a channel lie; reads in pieces to bound memory."""
    places, seen = [], 0
    for start in range(0, flat.size, PIECE):
        hits = np.flatnonzero(flat[start : start + PIECE] == channel)
        wanted = ranks[np.searchsorted(ranks, seen) : np.searchsorted(ranks, seen + hits.size)]
        places.append(start + hits[wanted - seen])
        seen += hits.size
    return np.concatenate(places)


@dataclass(frozen=True)
class ClassBalancedCrop:
    """Cut one patch around a voxel of a class drawn with equal (or given) odds among the classes present.

    Attributes:
        patch: voxels along X, Y, Z; a smaller volume is padded with zeros (background) at its upper ends.
        odds: channel to relative odds; channels not named have 1.
    """

    patch: tuple[int, int, int]
    odds: tuple[tuple[int, float], ...] = ()

    def corner(self, case: PreparedCase, rng: np.random.Generator) -> tuple[int, int, int]:
        """Return the lowest corner of a patch that contains a voxel of the drawn class, inside the volume."""
        present = sorted(case.voxels_of)
        weights = np.array([dict(self.odds).get(channel, 1.0) for channel in present])
        channel = present[rng.choice(len(present), p=weights / weights.sum())]
        center = np.unravel_index(rng.choice(case.voxels_of[channel]), case.channels.shape)
        room = np.array(case.channels.shape) - self.patch
        return tuple(int(v) for v in np.clip(np.array(center) - np.array(self.patch) // 2, 0, np.maximum(room, 0)))

    def cut(self, case: PreparedCase, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return image and channels of one random patch, each of shape `patch`."""
        corner = self.corner(case, rng)
        box = tuple(slice(c, c + p) for c, p in zip(corner, self.patch, strict=True))
        image, channels = np.asarray(case.image[box], np.float32), np.asarray(case.channels[box])
        missing = [(0, p - n) for p, n in zip(self.patch, image.shape, strict=True)]
        if any(high for _, high in missing):
            image, channels = np.pad(image, missing), np.pad(channels, missing)
        return image, channels
