"""Change the intensities of a training patch at random, as nnU-Net and Swin-X do.

Fifth step of the data flow; see `augmentation.py` for what a transform is. Images come normalized. nnU-Net draws blur
(0.2) and low resolution (0.25) per patch, and then with 0.5 per image channel; a CT has one channel, so that the
`probability` of these two is 0.1 and 0.125 here.

References:
    MIC-DKFZ/batchgenerators (nnU-Net version 1) and batchgeneratorsv2 (version 2): color, noise and resampling
    transforms; MONAI `RandScaleIntensity`, `RandShiftIntensity` (swinx: The-Veeraraghavan-Lab/FLARE23,
    utils/data_utils.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flare_core.cases.augmentation import Patch, around_one
from flare_core.cases.smoothing import gaussian_smoothed

FLAT = 1e-7
"""Spread below which an image counts as constant."""


@dataclass(frozen=True)
class GaussianBlur:
    """Smooth the image by a Gaussian whose standard deviation in voxels is drawn for each axis (nnU-Net version 2).

    Version 1 draws one for all axes.
    """

    probability: float
    deviation: tuple[float, float]

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with a blurred image; the border is mirrored."""
        if rng.random() >= self.probability:
            return image, channels
        return gaussian_smoothed(image, rng.uniform(*self.deviation, size=3).tolist(), border="mirror"), channels


@dataclass(frozen=True)
class Brightness:
    """Multiply the image by a random factor (nnU-Net (0.75, 1.25); MONAI's scaling by up to 0.1 is (0.9, 1.1))."""

    probability: float
    factor: tuple[float, float]

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with a brighter or darker image."""
        if rng.random() >= self.probability:
            return image, channels
        return image * np.float32(rng.uniform(*self.factor)), channels


@dataclass(frozen=True)
class ShiftIntensity:
    """Add one random number from [-`offset`, `offset`] to the whole image (MONAI `RandShiftIntensity`)."""

    probability: float
    offset: float

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with a shifted image."""
        if rng.random() >= self.probability:
            return image, channels
        return image + np.float32(rng.uniform(-self.offset, self.offset)), channels


@dataclass(frozen=True)
class Contrast:
    """Stretch the image about its mean by a random factor and clip it to the range that it had."""

    probability: float
    factor: tuple[float, float]

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with a changed contrast; no value leaves the old range."""
        if rng.random() >= self.probability:
            return image, channels
        mean, factor = image.mean(), np.float32(around_one(self.factor, rng))
        return np.clip((image - mean) * factor + mean, image.min(), image.max()), channels


@dataclass(frozen=True)
class LowResolution:
    """Simulate a coarser scan: shrink by a random factor (nearest neighbor) and enlarge again (trilinear).

    nnU-Net version 2 enlarges trilinearly too, version 1 with cubic splines.

    Attributes:
        probability: of doing it.
        zoom: range of the factor, one for all axes.
        axes: axes that are shrunk ((0, 1) where augmentation is slice-wise).
    """

    probability: float
    zoom: tuple[float, float]
    axes: tuple[int, ...] = (0, 1, 2)

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with an image of lower resolution on the same grid."""
        if rng.random() >= self.probability:
            return image, channels
        import torch
        import torch.nn.functional as F

        zoom = rng.uniform(*self.zoom)
        coarse = [max(1, round(n * zoom)) if axis in self.axes else n for axis, n in enumerate(image.shape)]
        tensor = torch.from_numpy(np.array(image, np.float32))[None, None]  # a copy: flipped views are no tensors
        shrunk = F.interpolate(tensor, size=coarse, mode="nearest-exact")
        return F.interpolate(shrunk, size=image.shape, mode="trilinear")[0, 0].numpy(), channels


@dataclass(frozen=True)
class Gamma:
    """Raise the image, scaled to [0, 1], to a random power; then give it its old mean and standard deviation.

    Attributes:
        probability: of doing it.
        gamma: range of the power, half of the draws below 1.
        inverted: do it to the negative image (nnU-Net does both, one after the other, with 0.1 and 0.3).
    """

    probability: float
    gamma: tuple[float, float]
    inverted: bool = False

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with a bent intensity scale (a constant image stays as it is)."""
        if rng.random() >= self.probability:
            return image, channels
        gamma = np.float32(around_one(self.gamma, rng))
        values = -image if self.inverted else image
        low, span = values.min(), values.max() - values.min()
        if span < FLAT:
            return image, channels
        bent = ((values - low) / span) ** gamma
        bent = (bent - bent.mean()) * (values.std() / max(bent.std(), FLAT)) + values.mean()
        return -bent if self.inverted else bent, channels
