"""Change a training patch at random: what every paper uses (mirroring, noise), and nvauto's own transforms.

Fifth step of the data flow. Every transform is a value with `__call__(image, channels, rng)`; it draws from the given
generator only, takes and returns an image (float32, X, Y, Z) and its channels (uint8, same shape), and never changes
its input. nnU-Net's other transforms are in `spatial.py` and `intensity.py`.

References:
    Project-MONAI/research-contributions, auto3dseg/algorithm_templates/segresnet, augmentation mode `ct_ax_1`, which
    has the paper's list (nvauto, section 2.2): histogram shift, contrast, axial affine, flips.
    MIC-DKFZ/batchgenerators and batchgeneratorsv2 (noise, mirroring).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Patch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class HistogramShift:
    """Bend the intensity scale by a random monotone curve through control points (MONAI `RandHistogramShift`)."""

    probability: float
    control_points: int

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with bent intensities; minimum and maximum stay (a constant image stays as it is)."""
        if rng.random() >= self.probability:
            return image, channels
        fixed = np.linspace(0, 1, self.control_points)
        moved = fixed.copy()
        for i in range(1, self.control_points - 1):
            moved[i] = rng.uniform(moved[i - 1], moved[i + 1])
        low, high = float(image.min()), float(image.max())
        if low == high:
            return image, channels
        bent = np.interp(image, low + fixed * (high - low), low + moved * (high - low))
        return bent.astype(np.float32), channels


@dataclass(frozen=True)
class AdjustContrast:
    """Raise the patch's intensities, scaled to [0, 1], to a random power (MONAI `RandAdjustContrast`)."""

    probability: float
    gamma: tuple[float, float]

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with changed contrast; minimum and maximum stay."""
        if rng.random() >= self.probability:
            return image, channels
        gamma = rng.uniform(*self.gamma)
        low, span = image.min(), image.max() - image.min() + 1e-7
        return (((image - low) / span) ** gamma * span + low).astype(np.float32), channels


@dataclass(frozen=True)
class GaussianNoise:
    """Add white noise of a random strength.

    nnU-Net's is `GaussianNoise(0.1, deviation=(0, 0.1))`: it calls its range a variance, but draws noise that has the
    number as its standard deviation (versions 1 and 2 alike).
    """

    probability: float
    deviation: tuple[float, float]

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch with noise of a standard deviation drawn from `deviation`."""
        if rng.random() >= self.probability:
            return image, channels
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(*self.deviation))
        return image + noise, channels


@dataclass(frozen=True)
class AxialAffine:
    """Rotate about the Z axis and scale X and Y; image trilinear, channels nearest, border repeated."""

    probability: float
    rotation_rad: float
    scale: float

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch turned by up to +-`rotation_rad` and scaled by up to 1 +- `scale` in X and in Y."""
        if rng.random() >= self.probability:
            return image, channels
        import torch
        import torch.nn.functional as F

        angle = rng.uniform(-self.rotation_rad, self.rotation_rad)
        scale_x, scale_y = rng.uniform(1 - self.scale, 1 + self.scale, size=2)
        cos, sin = np.cos(angle), np.sin(angle)
        # grid_sample samples a (Y, X) plane by normalized (x, y); Z is carried along as channels
        side_x, side_y = image.shape[:2]
        theta = torch.tensor(
            [
                [
                    [cos * scale_x, -sin * scale_x * side_y / side_x, 0],
                    [sin * scale_y * side_x / side_y, cos * scale_y, 0],
                ]
            ],
            dtype=torch.float32,
        )
        planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 1, 0)))[None]
        grid = F.affine_grid(theta, (1, 1, side_y, side_x), align_corners=False)
        turned = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
        planes = torch.from_numpy(np.ascontiguousarray(channels.transpose(2, 1, 0))).float()[None]
        turned_channels = F.grid_sample(planes, grid, mode="nearest", padding_mode="border", align_corners=False)
        return turned[0].numpy().transpose(2, 1, 0), turned_channels[0].to(torch.uint8).numpy().transpose(2, 1, 0)


@dataclass(frozen=True)
class Mirror:
    """Mirror each of the given axes with the given probability, independently."""

    probability: float
    axes: tuple[int, ...]

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the patch mirrored along the drawn axes."""
        drawn = [axis for axis in self.axes if rng.random() < self.probability]
        return np.flip(image, drawn), np.flip(channels, drawn)


def around_one(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw a factor from [low, high] as nnU-Net does: half of the draws below 1 and half above, uniform on each side.

    Bounds that do not enclose 1 give a uniform draw.
    """
    low, high = bounds
    if not low < 1 < high:
        return float(rng.uniform(low, high))
    return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))


def augmented(image: np.ndarray, channels: np.ndarray, transforms: tuple, rng: np.random.Generator) -> Patch:
    """Apply transforms in order and return contiguous arrays (no transforms: the patch as it is)."""
    for transform in transforms:
        image, channels = transform(image, channels, rng)
    return np.ascontiguousarray(image, dtype=np.float32), np.ascontiguousarray(channels)
