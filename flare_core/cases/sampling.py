"""Choose where a training patch is cut out of a case.

Fourth step of the data flow. Drawing is stateless: the caller gives a random generator, so that the patch of a step
depends on nothing but the seed, the step and the place in the batch. Every sampling has `patch`, the voxels that the
network gets, and `cut`, which returns arrays of its own.

References:
    nvauto, section 3.2 (equal probability for each region); MONAI `RandCropByLabelClasses`, `RandCropByPosNegLabel`,
    `RandSpatialCropSamples`; MIC-DKFZ/nnUNet, nnunetv2/training/dataloading/data_loader.py; The-Veeraraghavan-Lab/SMIT,
    train_self_supervised.py.
"""

from __future__ import annotations

from collections.abc import Callable
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
        group: which of the stage's groups of cases it belongs to (0 where there is one).
    """

    id: str
    image: np.ndarray
    channels: np.ndarray
    annotated: np.ndarray
    taught: np.ndarray
    voxels_of: dict[int, np.ndarray]
    group: int = 0


@dataclass(frozen=True)
class Place:
    """The place of a patch in its batch: `index` counts from 0, `batch` is the size of the whole batch."""

    index: int
    batch: int


ALONE = Place(0, 1)
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
        present, odds = sorted(case.voxels_of), dict(self.odds)
        weights = np.array([odds.get(channel, 1.0) for channel in present])
        channel = present[rng.choice(len(present), p=weights / weights.sum())]
        center = np.unravel_index(rng.choice(case.voxels_of[channel]), case.channels.shape)
        ends = zip(center, self.patch, case.channels.shape, strict=True)
        return tuple(min(max(int(c) - p // 2, 0), max(n - p, 0)) for c, p, n in ends)

    def cut(self, case: PreparedCase, rng: np.random.Generator, place: Place = ALONE) -> tuple[np.ndarray, np.ndarray]:
        """Return image and channels of one random patch, each of shape `patch`."""
        return cut_out(case, self.corner(case, rng), self.patch)


@dataclass(frozen=True)
class ForegroundOversampling:
    """Cut patches anywhere, but the last ones of every batch around a voxel of a random foreground class (nnU-Net).

    Places from round(batch * (1 - share)) on are forced: with a share of 0.33 the last 1 of 2, 1 of 4 and 3 of 8. The
    class is drawn with equal odds among those present, then one of its voxels becomes the middle of the patch. A forced
    patch never begins before the volume, but may end beyond it, by up to half a patch, as in nnU-Net; what lies beyond
    is 0. Other patches, and all patches of a case without foreground, lie inside, every position with equal odds; along
    an axis where the volume is smaller than the patch it is in the middle, with zeros on either side.

    Attributes:
        patch: voxels along X, Y, Z that the network gets.
        forced_share: see above.
        outer: voxels that are cut, where a `SpatialTransform` takes the patch out of their middle
            (`spatial.outer_patch`); it then may stick out on every side by as much as it is larger. None: `patch`.
    """

    patch: tuple[int, int, int]
    forced_share: float = 0.33
    outer: tuple[int, int, int] | None = None

    def is_forced(self, place: Place) -> bool:
        """Say whether the patch at this place of the batch must show foreground."""
        return place.index >= round(place.batch * (1 - self.forced_share))

    def corner(self, case: PreparedCase, rng: np.random.Generator, place: Place) -> tuple[int, int, int]:
        """Return the lowest corner of a patch; it may lie outside of the volume."""
        shape, size = case.channels.shape, self.outer or self.patch
        # nnU-Net's bounds: half of the margin, or of what the volume is too small by, rounded up, on either side
        beyond = [(max(s - p, s - n) + 1) // 2 for n, p, s in zip(shape, self.patch, size, strict=True)]
        present = [channel for channel in sorted(case.voxels_of) if channel > 0]
        if not (present and self.is_forced(place)):
            last = [n - s + b for n, s, b in zip(shape, size, beyond, strict=True)]
            return tuple(int(rng.integers(-b, top, endpoint=True)) for b, top in zip(beyond, last, strict=True))
        voxel = np.unravel_index(rng.choice(case.voxels_of[present[rng.integers(len(present))]]), shape)
        return tuple(max(-b, int(v) - s // 2) for b, v, s in zip(beyond, voxel, size, strict=True))

    def cut(self, case: PreparedCase, rng: np.random.Generator, place: Place = ALONE) -> tuple[np.ndarray, np.ndarray]:
        """Return image and channels of one random patch, each of shape `outer` (or `patch`)."""
        return cut_out(case, self.corner(case, rng, place), self.outer or self.patch)


@dataclass(frozen=True)
class PositiveNegativeCrop:
    """Cut patches around foreground and background voxels (MONAI `RandCropByPosNegLabel`, Swin-X).

    The middle of a patch is a foreground voxel with probability `positive_share`, all foreground voxels alike, else a
    background voxel; the patch is then moved into the volume. Drawn anew for each patch, so that 2 of 4 are positive on
    average and not always. A case without voxels of one kind gives the other kind, without any its middle. A volume
    smaller than the patch is padded with zeros on both sides.

    Attributes:
        patch: voxels along X, Y, Z.
        per_case: how many neighboring places of a batch share a case.
        positive_share: see above.
        negatives_above: background voxels are drawn where the normalized image is above this; None: anywhere.
    """

    patch: tuple[int, int, int]
    per_case: int = 4
    positive_share: float = 0.5
    negatives_above: float | None = None

    def corner(self, case: PreparedCase, rng: np.random.Generator) -> tuple[int, int, int]:
        """Return the lowest corner of a patch (below 0 where the volume is smaller than the patch)."""
        order = (self._positive, self._negative)
        if rng.random() >= self.positive_share:
            order = order[::-1]
        voxel = order[0](case, rng)
        if voxel is None:
            voxel = order[1](case, rng)
        shape = case.channels.shape
        center = [n // 2 for n in shape] if voxel is None else np.unravel_index(voxel, shape)
        room = [(n - p, int(c) - p // 2) for n, p, c in zip(shape, self.patch, center, strict=True)]
        return tuple(min(max(start, 0), free) if free >= 0 else -(-free // 2) for free, start in room)

    def _positive(self, case: PreparedCase, rng: np.random.Generator) -> int | None:
        """Return a random foreground voxel."""
        known = [voxels for channel, voxels in sorted(case.voxels_of.items()) if channel > 0]
        if not known:
            return None
        is_complete = all(len(voxels) < INDEX_LIMIT for voxels in known)
        voxel = None if is_complete else _random_voxel(case, rng, lambda channels, _: channels > 0)
        return int(rng.choice(np.concatenate(known))) if voxel is None else voxel

    def _negative(self, case: PreparedCase, rng: np.random.Generator) -> int | None:
        """Return a random background voxel."""
        if 0 not in case.voxels_of:
            return None
        if self.negatives_above is None:
            return _random_voxel(case, rng, lambda channels, _: channels == 0)
        return _random_voxel(case, rng, lambda channels, image: (channels == 0) & (image > self.negatives_above))

    def cut(self, case: PreparedCase, rng: np.random.Generator, place: Place = ALONE) -> tuple[np.ndarray, np.ndarray]:
        """Return image and channels of one random patch, each of shape `patch`."""
        return cut_out(case, self.corner(case, rng), self.patch)


@dataclass(frozen=True)
class TwoViews:
    """Cut two random patches out of one larger random patch: the two views of self-distillation (SMIT).

    Attributes:
        outer: voxels of the larger patch; a smaller volume is padded with zeros on both sides.
        patch: voxels of a view.
    """

    outer: tuple[int, int, int]
    patch: tuple[int, int, int]

    def cut(self, case: PreparedCase, rng: np.random.Generator, place: Place = ALONE) -> tuple[np.ndarray, np.ndarray]:
        """Return both views as an image of shape (2, *patch), and the first view's channels of shape `patch`."""
        outer = self._corner(case.channels.shape, self.outer, rng)
        inner = [self._corner(self.outer, self.patch, rng) for _ in range(2)]
        corners = [tuple(o + i for o, i in zip(outer, view, strict=True)) for view in inner]
        (first, channels), (second, _) = (cut_out(case, corner, self.patch) for corner in corners)
        return np.stack((first, second)), channels

    @staticmethod
    def _corner(shape: tuple[int, ...], size: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
        """Return the corner of a random box inside, or of one that is in the middle where it does not fit."""
        free = [n - s for n, s in zip(shape, size, strict=True)]
        return tuple(int(rng.integers(f, endpoint=True)) if f >= 0 else -(-f // 2) for f in free)


@dataclass(frozen=True)
class WholeVolume:
    """Take the case as it is, for networks that see everything at once (`preprocessing.FixedGrid`)."""

    shape: tuple[int, int, int]

    @property
    def patch(self) -> tuple[int, int, int]:
        """Voxels that the network gets."""
        return self.shape

    def cut(self, case: PreparedCase, rng: np.random.Generator, place: Place = ALONE) -> tuple[np.ndarray, np.ndarray]:
        """Return image and channels of the whole case.

        Raises:
            ValueError: if the case has another shape.
        """
        if tuple(case.channels.shape) != tuple(self.shape):
            raise ValueError(
                f"{case.id}: expected a volume of {self.shape} voxels, got {case.channels.shape}; "
                f"the stage needs the preprocessing FixedGrid({self.shape}, ...)"
            )
        return cut_out(case, (0, 0, 0), self.shape)


def cut_out(case: PreparedCase, corner: tuple[int, ...], size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return copies of image (float32) and channels (uint8) in a box, 0 where the box leaves the volume.

    Args:
        case: where to cut.
        corner: lowest corner of the box, may be negative.
        size: voxels of the box.
    """
    ends = list(zip(corner, size, case.channels.shape, strict=True))
    box = tuple(slice(max(c, 0), max(min(c + s, n), 0)) for c, s, n in ends)
    inside = tuple(slice(max(-c, 0), max(min(s, n - c), 0)) for c, s, n in ends)
    image, channels = np.zeros(size, np.float32), np.zeros(size, case.channels.dtype)
    image[inside], channels[inside] = case.image[box], case.channels[box]
    return image, channels


TRIES, TRIED_AT_ONCE = 64, 4096


def _random_voxel(
    case: PreparedCase, rng: np.random.Generator, is_wanted: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> int | None:
    """Return a random voxel, all wanted ones alike; None if none is found (about where one in 100,000 is wanted)."""
    channels, image = case.channels.reshape(-1), case.image.reshape(-1)
    for _ in range(TRIES):
        voxels = rng.integers(channels.size, size=TRIED_AT_ONCE)
        wanted = np.flatnonzero(is_wanted(channels[voxels], image[voxels]))
        if wanted.size:
            return int(voxels[wanted[0]])
    return None
