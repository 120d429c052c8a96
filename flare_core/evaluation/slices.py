"""Draw one slice of a case: image, contours, colored areas.

Serves every figure that shows a CT. Images are drawn in mm, in the radiological convention: the patient's right is at
the left of axial and coronal slices, anterior is up (axial) or left (sagittal), head is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patheffects import withStroke

from flare_core.cases.boxes import bounding_box
from flare_core.cases.labels import TARGETS
from flare_core.evaluation.style import ADDED, CONFUSED, INK, MISSED

WINDOWS_HU = {"abdomen": (-160.0, 240.0), "lung": (-1350.0, 150.0), "bone": (-500.0, 1300.0)}
PLANE_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
_WHITE = {"color": "white", "path_effects": [withStroke(linewidth=1.5, foreground="black")]}
_SIDES = {"sagittal": ("A", "P"), "coronal": ("R", "L"), "axial": ("R", "L")}


@dataclass(frozen=True, eq=False)
class CaseView:
    """A case to draw.

    Attributes:
        title: above its pictures.
        image_hu: (X, Y, Z) in RAS+.
        spacing_mm: voxel edge lengths along X, Y, Z.
        labels: uint8 target ids of the same shape, or None.
        prediction: the same, from a system, or None.
    """

    title: str
    image_hu: np.ndarray
    spacing_mm: Sequence[float]
    labels: np.ndarray | None = None
    prediction: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, array in (("labels", self.labels), ("prediction", self.prediction)):
            if array is not None and array.shape != self.image_hu.shape:
                raise ValueError(f"{self.title}: {name} have shape {array.shape}, the image {self.image_hu.shape}")


def busiest_slice(labels: np.ndarray | None, plane: str, shape: Sequence[int]) -> int:
    """Return the slice on which most targets are seen (of those the one with most labeled voxels).

    Args:
        labels: uint8 target ids of shape (X, Y, Z), or None.
        plane: "sagittal", "coronal" or "axial".
        shape: of the volume.
    Returns:
        Index along the plane's axis; the middle slice if nothing is labeled.
    """
    axis = PLANE_AXES[plane]
    if labels is None or not labels.any():
        return shape[axis] // 2
    rest = tuple(other for other in range(3) if other != axis)
    bits = np.left_shift(1, np.arange(16)).astype(np.uint16)  # one bit a target unites a slice in one pass
    bits[0] = 0
    targets = np.bitwise_count(np.bitwise_or.reduce(bits[labels], axis=rest))
    return int(np.argmax(targets + (labels > 0).mean(axis=rest)))


def middle_voxel(labels: np.ndarray, target: int) -> tuple[int, int, int] | None:
    """Return the voxel of a target that is nearest to its middle, counted in voxels; None if it is not labeled.

    Args:
        labels: target ids of shape (X, Y, Z).
        target: which one.
    """
    mask = labels == target
    box = bounding_box(mask)
    if box is None:
        return None
    voxels = np.argwhere(mask[box])
    nearest = voxels[np.square(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]
    return tuple(int(index) + part.start for index, part in zip(nearest, box, strict=True))


def draw_slice(axes: Axes, case: CaseView, plane: str, index: int, window: str) -> None:
    """Draw one slice in mm with side letters and a 5 cm bar.

    Raises:
        ValueError: if `window` is none of `WINDOWS_HU`.
    """
    if window not in WINDOWS_HU:
        raise ValueError(f"no window {window!r}; choose from {', '.join(WINDOWS_HU)}")
    low, high = WINDOWS_HU[window]
    extent = slice_extent(case.image_hu.shape, case.spacing_mm, plane)
    axes.imshow(oriented(case.image_hu, plane, index), cmap="gray", vmin=low, vmax=high, origin="lower", extent=extent)
    axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], aspect="equal", facecolor="black")
    axes.spines[:].set_visible(False)
    for place, letter in zip((0.02, 0.98), _SIDES[plane], strict=True):
        side = "left" if place < 0.5 else "right"
        axes.text(place, 0.97, letter, transform=axes.transAxes, ha=side, va="top", weight="bold", **_WHITE)
    right, bottom = 0.97 * extent[1], 0.03 * extent[3]
    bar = [withStroke(linewidth=4, foreground="black")]
    axes.plot([right - 50, right], [bottom] * 2, linewidth=2, solid_capstyle="butt", color="white", path_effects=bar)
    axes.text(right - 25, bottom + 0.01 * extent[3], "5 cm", fontsize=6, ha="center", va="bottom", **_WHITE)


def draw_contours(
    axes: Axes, labels: np.ndarray, spacing_mm: Sequence[float], plane: str, index: int, linestyle: str = "-"
) -> None:
    """Draw the outline of every target on one slice in its color; a target that is not cut draws nothing."""
    picture = np.pad(oriented(labels, plane, index), 1)  # so that lines close
    x, y = _middles_mm(picture.shape, spacing_mm, plane)
    for label in np.unique(picture[picture > 0]):
        color = TARGETS[label - 1].color
        mask = (picture == label).astype(np.float32)
        lines = axes.contour(x, y, mask, [0.5], colors=[color], linewidths=1.4, linestyles=linestyle)
        lines.set(path_effects=[withStroke(linewidth=2.4, foreground="black")])  # dark colors must show on gray tissue


def draw_cross(axes: Axes, case: CaseView, plane: str, point: Sequence[int]) -> None:
    """Draw thin lines where the other two planes through a voxel (x, y, z) run, with a gap around the voxel."""
    _, right, _, top = slice_extent(case.image_hu.shape, case.spacing_mm, plane)
    across, up = (axis for axis in range(3) if axis != PLANE_AXES[plane])
    x = right - (point[across] + 0.5) * case.spacing_mm[across]
    y = (point[up] + 0.5) * case.spacing_mm[up]
    gap = 0.06 * right
    look = {"color": "#9ec9ff", "linewidth": 0.6, "alpha": 0.8}
    axes.plot([0, x - gap, np.nan, x + gap, right], [y] * 5, **look)
    axes.plot([x] * 5, [0, y - gap, np.nan, y + gap, top], **look)


def draw_outline(axes: Axes, case: CaseView, plane: str, index: int) -> None:
    """Draw the outline of the body (above -300 HU) on one slice, in mm, without the image; a cut body stays open."""
    extent = slice_extent(case.image_hu.shape, case.spacing_mm, plane)
    body = np.pad(oriented(case.image_hu, plane, index) > -300, 1, mode="edge").astype(np.float32)
    axes.contour(*_middles_mm(body.shape, case.spacing_mm, plane), body, [0.5], colors=INK, linewidths=0.8)
    axes.set(xlim=extent[:2], ylim=extent[2:], xticks=[], yticks=[], aspect="equal")


def _middles_mm(shape: Sequence[int], spacing_mm: Sequence[float], plane: str) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the voxels' middles of a picture (rows, columns) that has a voxel more on every side."""
    steps = (spacing_mm[axis] for axis in range(3) if axis != PLANE_AXES[plane])
    x, y = ((np.arange(size) - 0.5) * step for size, step in zip(shape[::-1], steps, strict=True))
    return x, y


def draw_targets(axes: Axes, labels: np.ndarray, spacing_mm: Sequence[float], plane: str, index: int) -> None:
    """Fill every target on one slice with its color, translucent."""
    table = np.zeros((256, 4), np.float32)
    table[1:15] = [to_rgba(target.color, 0.4) for target in TARGETS]
    extent = slice_extent(labels.shape, spacing_mm, plane)
    axes.imshow(table[oriented(labels, plane, index)], origin="lower", extent=extent)


def draw_errors(axes: Axes, case: CaseView, plane: str, index: int) -> None:
    """Fill the voxels of one slice that the prediction missed, added or gave to another target."""
    kind = error_kinds(*(oriented(labels, plane, index) for labels in (case.labels, case.prediction)))
    colors = np.array([(0, 0, 0, 0), *(to_rgba(color, 0.85) for color in (MISSED, ADDED, CONFUSED))], np.float32)
    axes.imshow(colors[kind], origin="lower", extent=slice_extent(case.image_hu.shape, case.spacing_mm, plane))


def error_kinds(reference: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return what is wrong with every voxel: 0 nothing, 1 missed, 2 added, 3 given to another target (uint8).

    Args:
        reference, prediction: target ids, of the same shape.
    """
    drawn, predicted = reference > 0, prediction > 0
    kinds = drawn.astype(np.uint8) + 2 * predicted
    kinds[reference == prediction] = 0
    return kinds


def oriented(volume: np.ndarray, plane: str, index: int) -> np.ndarray:
    """Return one slice as a picture (rows from bottom to top): R or A at the left, A or S at the top."""
    picture = np.take(volume, index, axis=PLANE_AXES[plane]).swapaxes(0, 1)
    return picture[:, ::-1]


def slice_extent(shape: Sequence[int], spacing_mm: Sequence[float], plane: str) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of a slice in mm."""
    width, height = (shape[axis] * spacing_mm[axis] for axis in range(3) if axis != PLANE_AXES[plane])
    return 0.0, float(width), 0.0, float(height)
