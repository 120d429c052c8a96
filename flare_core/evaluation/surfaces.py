"""Look at a label map from outside: the surface of every target as one picture.

Serves `case_figures`. A target's surface is a level of its smoothed mask, found along a ray through each pixel: what
marching cubes would mesh, but exact at every pixel, with nothing to be sorted and no mesh to be drawn. The level is the
one that leaves the target its volume, so that thin glands do not shrink away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.colors import to_rgb
from scipy.ndimage import affine_transform, binary_erosion, gaussian_filter, label

from flare_core.cases.labels import TARGETS
from flare_core.evaluation.metrics import label_boxes

SMOOTHING_VOXELS = 0.8
LIGHT = np.array([-0.4, 0.5, -1.0]) / np.linalg.norm([-0.4, 0.5, -1.0])  # from above on the left, behind the viewer
AMBIENT, GLOSS, SHARPNESS = 0.35, 0.22, 18
BODY_HU = -300


@dataclass(frozen=True)
class Camera:
    """A parallel projection of a volume, centered on its middle.

    Attributes:
        azimuth_degrees: 0 looks from the front, 90 from the patient's left, 180 from behind.
        elevation_degrees: above the horizontal.
        step_mm: edge of a pixel, and step along a ray.
    """

    azimuth_degrees: float
    elevation_degrees: float = 12.0
    step_mm: float = 1.5

    @property
    def axes(self) -> np.ndarray:
        """(3, 3): unit vectors to the right, up, and away from the viewer, in RAS+."""
        turn, tilt = np.radians([self.azimuth_degrees, self.elevation_degrees])
        away = np.array([np.sin(turn) * np.cos(tilt), -np.cos(turn) * np.cos(tilt), -np.sin(tilt)])
        right = np.array([-np.cos(turn), -np.sin(turn), 0.0])
        return np.array([right, np.cross(right, away), away])

    def pixels(self, size_mm: Sequence[float]) -> np.ndarray:
        """Return how many pixels to the right and up, and steps along a ray, hold a volume of this size."""
        return np.ceil(np.abs(self.axes) @ np.asarray(size_mm) / self.step_mm).astype(int) + 1

    def look(
        self, values: np.ndarray, start_mm: np.ndarray, spacing_mm: np.ndarray, size_mm: np.ndarray
    ) -> tuple[tuple[slice, slice, slice], np.ndarray]:
        """Sample a part of a volume along the rays that meet it.

        Args:
            values: float32, the part.
            start_mm: center of its first voxel from the outer corner of the whole volume.
            spacing_mm: voxel edge lengths.
            size_mm: edge lengths of the whole volume.
        Returns:
            Where the part lies among all rays (right, up, away), and its values there (linear between voxels).
        """
        stop_mm = start_mm + spacing_mm * (np.array(values.shape) - 1)
        ends_mm = np.array(list(product(*zip(start_mm, stop_mm, strict=True))))
        middle = (self.pixels(size_mm) - 1) / 2
        seen = (ends_mm - size_mm / 2) @ self.axes.T / self.step_mm + middle
        low = np.maximum(np.floor(seen.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(seen.max(0)).astype(int) + 1, self.pixels(size_mm))
        to_mm = self.axes.T * self.step_mm
        offset_mm = size_mm / 2 + to_mm @ (low - middle) - start_mm
        matrix, offset = to_mm / spacing_mm[:, None], offset_mm / spacing_mm
        sampled = affine_transform(values, matrix, offset, tuple(high - low), np.float32, order=1)
        return tuple(slice(*ends) for ends in zip(low, high, strict=True)), sampled


def surface_picture(labels: np.ndarray, spacing_mm: Sequence[float], camera: Camera) -> np.ndarray:
    """Return the surfaces of all targets in their colors.

    Args:
        labels: target ids of shape (X, Y, Z) in RAS+; an empty map gives a transparent picture.
        spacing_mm: voxel edge lengths.
        camera: from where.
    Returns:
        (rows from bottom to top, columns, RGBA) floats from 0 to 1; transparent where no target is.
    """
    spacing, size_mm = np.asarray(spacing_mm, float), np.multiply(labels.shape, spacing_mm)
    columns, rows, _ = camera.pixels(size_mm)
    picture, depths = np.zeros((columns, rows, 4), np.float32), np.full((columns, rows), np.inf)
    for target, box in label_boxes(labels).items():
        mask = np.pad((labels[box] == target).astype(np.float32), 3)  # room for what smoothing spreads
        smooth = gaussian_filter(mask, SMOOTHING_VOXELS)
        level = np.partition(smooth.ravel(), -int(mask.sum()))[-int(mask.sum())]
        start_mm = (np.array([part.start for part in box]) - 3 + 0.5) * spacing
        place, seen = camera.look(smooth, start_mm, spacing, size_mm)
        hit, depth, shade = _lit(seen, level)
        nearer = hit & (depth + place[2].start < depths[place[:2]])
        depths[place[:2]][nearer] = (depth + place[2].start)[nearer]
        diffuse, gloss = shade[nearer].T[..., None]
        color = np.clip(np.array(to_rgb(TARGETS[target - 1].color)) * diffuse + gloss, 0, 1)
        picture[place[:2]][nearer] = np.column_stack([color, np.ones(len(color))])
    return picture.swapaxes(0, 1)


def body_outline(image_hu: np.ndarray, spacing_mm: Sequence[float], camera: Camera) -> np.ndarray:
    """Return the body's shadow: where a ray meets the largest thing above -300 HU (no scanner table).

    Args:
        image_hu: (X, Y, Z) in RAS+.
        spacing_mm: voxel edge lengths.
        camera: from where; a step of several mm is enough.
    Returns:
        (rows from bottom to top, columns) bool.
    """
    spacing, size_mm = np.asarray(spacing_mm, float), np.multiply(image_hu.shape, spacing_mm)
    things, _ = label(binary_erosion(image_hu > BODY_HU))
    sizes = np.bincount(things.ravel())
    sizes[0] = 0
    shadow = np.zeros(tuple(camera.pixels(size_mm)[:2]), bool)
    if sizes.any():
        body = (things == sizes.argmax()).astype(np.float32)
        place, seen = camera.look(body, spacing / 2, spacing, size_mm)
        shadow[place[:2]] = (seen >= 0.5).any(axis=2)
    return shadow.swapaxes(0, 1)


def _lit(seen: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which rays meet a surface, after how many steps, and how much light (diffuse, gloss) they find there."""
    inside = seen >= level
    hit, first = inside.any(axis=2), inside.argmax(axis=2)
    before = np.maximum(first - 1, 0)
    columns, rows = np.indices(hit.shape)
    far, near = seen[columns, rows, first], seen[columns, rows, before]
    depth = first - np.divide(far - level, far - near, out=np.zeros_like(far), where=far > near)
    slopes = []
    for axis, size in enumerate(seen.shape):
        ends = [[columns, rows, first], [columns, rows, first]]
        ends[0][axis], ends[1][axis] = np.maximum(ends[0][axis] - 2, 0), np.minimum(ends[1][axis] + 2, size - 1)
        slopes.append(seen[tuple(ends[0])] - seen[tuple(ends[1])])  # points outward
    normals = np.stack(slopes, axis=-1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    facing = np.clip(normals @ LIGHT, 0, 1)
    between = (LIGHT + (0, 0, -1)) / np.linalg.norm(LIGHT + (0, 0, -1))
    gloss = GLOSS * np.clip(normals @ between, 0, 1) ** SHARPNESS
    return hit, depth, np.stack([AMBIENT + (1 - AMBIENT) * facing, gloss], axis=-1)
