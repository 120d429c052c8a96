"""Draw what the notebooks explain: volumes side by side, training patches, regions on a body.

Serves notebooks 02, 04 and 06; charts of tables and scored cases are in `evaluation.figures`. Slices are shown as
radiologists read them: the patient's right on the left, front or head on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from flare_core.cases.labels import BY_NAME, LabelScheme
from flare_core.evaluation.style import ACCENT, INK, SECOND, PaperFigure, new_figure, styled

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
BOX_COLORS = (SECOND, ACCENT, "#2a9d4a", INK)


@styled
def volumes_side_by_side(
    panels: Mapping[str, tuple[np.ndarray, Sequence[float]]], plane: str = "coronal", width_in: float = 9.0
) -> PaperFigure:
    """Show the middle slice of several volumes, all at the same physical scale.

    Args:
        panels: title to (volume (X, Y, Z) in RAS+, spacing in mm); each panel has its own gray scale, from the 2nd to
            the 98th percentile.
        plane: a key of `PLANES`.
        width_in: width of the figure in inches.
    Returns:
        One panel a volume, in order.
    Raises:
        ValueError: if there is no panel.
    """
    if not panels:
        raise ValueError("expected at least one volume to show")
    slices = [_middle(volume, spacing, plane) for volume, spacing in panels.values()]
    widths, heights = zip(*(size for _, size in slices), strict=True)
    figure = new_figure(width_in, width_in * max(heights) / sum(widths) + 0.5)
    places = figure.subplots(1, len(slices), width_ratios=widths, squeeze=False)[0]
    for axes, title, (picture, (width, height)) in zip(places, panels, slices, strict=True):
        low, high = np.percentile(picture, (2, 98))
        axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=(0, width, height, 0))
        axes.set(title=title, xticks=[], yticks=[], ylim=(max(heights), 0))
        axes.set_xlabel(f"{' × '.join(map(str, panels[title][0].shape))} voxels", fontsize=7)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


@styled
def training_patches(
    patches: Sequence[tuple[np.ndarray, np.ndarray]], scheme: LabelScheme, columns: int = 6
) -> PaperFigure:
    """Show the middle axial slice of training patches with their channels in the targets' colors.

    Args:
        patches: pairs (image, channels) of equal shape (X, Y, Z); the image in [0, 1].
        scheme: says which targets the channels stand for; a united channel takes its first target's color.
        columns: patches in a row.
    Returns:
        Rows of patches: the image with its channels laid over it.
    Raises:
        ValueError: if there is no patch.
    """
    if not patches:
        raise ValueError("expected at least one patch to show")
    colors = ["#00000000", *(BY_NAME[group[0]].color + "99" for group in scheme.groups)]
    rows = -(-len(patches) // columns)
    figure = new_figure(1.5 * columns, 1.5 * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, (image, channels) in zip(places, patches, strict=False):
        middle = image.shape[2] // 2
        axes.imshow(_shown(image[..., middle]), cmap="gray", vmin=0, vmax=1)
        axes.imshow(_shown(channels[..., middle]), cmap=ListedColormap(colors), vmin=0, vmax=len(colors) - 1)
    return figure


@styled
def regions_on_body(
    image_hu: np.ndarray, spacing_mm: Sequence[float], regions: Mapping[str, tuple[slice, slice, slice]]
) -> PaperFigure:
    """Show boxes on the front and side views of a CT.

    Args:
        image_hu: (X, Y, Z) in HU, RAS+.
        spacing_mm: voxel edge lengths.
        regions: name to the box in voxels; none shows the CT alone.
    Returns:
        Mean projections from the front and from the side, with each box in its own color and its name.
    """
    sizes = np.array(image_hu.shape) * spacing_mm
    figure = new_figure(8, 8 * sizes[2] / (sizes[0] + sizes[1]) + 0.4)
    front, side = figure.subplots(1, 2, width_ratios=(sizes[0], sizes[1]))
    for axes, through, across in ((front, 1, 0), (side, 0, 1)):
        projection = _shown(np.clip(image_hu, -250, 400).mean(through))
        axes.imshow(projection, cmap="gray", extent=(0, sizes[across], sizes[2], 0))
        for color, (name, box) in zip(BOX_COLORS, regions.items(), strict=False):
            left = sizes[across] - box[across].stop * spacing_mm[across]
            top = sizes[2] - box[2].stop * spacing_mm[2]
            width = (box[across].stop - box[across].start) * spacing_mm[across]
            height = (box[2].stop - box[2].start) * spacing_mm[2]
            axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=color, linewidth=2, label=name))
        axes.set(xticks=[], yticks=[], title="from the front" if through == 1 else "from the side")
    if regions:
        front.legend(loc="lower left", labelcolor="white", fontsize=8)
    return figure


def _middle(volume: np.ndarray, spacing_mm: Sequence[float], plane: str) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the middle slice as it is shown, and its width and height in mm."""
    axis = PLANES[plane]
    first, second = (a for a in range(3) if a != axis)
    picture = _shown(np.take(volume, volume.shape[axis] // 2, axis))
    return picture, (volume.shape[first] * spacing_mm[first], volume.shape[second] * spacing_mm[second])


def _shown(plane: np.ndarray) -> np.ndarray:
    """Turn a slice (first axis, second axis) of a RAS+ volume into a picture (rows, columns)."""
    return plane[::-1, ::-1].T
