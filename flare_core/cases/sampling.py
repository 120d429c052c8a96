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
        voxels_of: for each channel present, flat indices of (at most `INDEX_LIMIT`) voxels of it.
    """

    id: str
    image: np.ndarray
    channels: np.ndarray
    annotated: np.ndarray
    voxels_of: dict[int, np.ndarray]


INDEX_LIMIT = 3000  # the template keeps at most 10 x epochs indices a class: 3000 for 300 epochs


def class_voxels(channels: np.ndarray) -> dict[int, np.ndarray]:
    """Return for each channel present evenly spread flat indices of at most `INDEX_LIMIT` of its voxels."""
    flat = channels.ravel()
    order = np.argsort(flat, kind="stable")
    present, starts = np.unique(flat[order], return_index=True)
    ends = np.append(starts[1:], flat.size)
    found = {}
    for channel, start, end in zip(present, starts, ends, strict=True):
        count = min(INDEX_LIMIT, end - start)
        found[int(channel)] = order[start + (np.arange(count) * (end - start)) // count]
    return found


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
