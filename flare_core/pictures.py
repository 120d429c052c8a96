"""Draw what the notebooks explain: volumes side by side, training patches, origins of labels, regions and windows.

Serves notebooks 02, 05 and 06; charts of tables and scored cases are in `evaluation`. Slices are shown as radiologists
read them: the patient's right on the left, front or head on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle

from flare_core.cases.interpolation import nearest_indices
from flare_core.cases.labels import TARGETS
from flare_core.evaluation.case_figures import window_layout
from flare_core.evaluation.slices import PLANE_AXES, CaseView
from flare_core.evaluation.style import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    SECOND,
    TITLES,
    PaperFigure,
    fit_pictures,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    import pandas as pd

    from flare_core.inference.trace import WindowRecord

BOX_COLORS = (SECOND, ACCENT, "#2a9d4a", INK)
ORIGIN_COLORS = (ACCENT, SECOND, "#b3414f", "#f3e2a9", FAINT)


@styled
def volumes_side_by_side(
    panels: Mapping[str, tuple[np.ndarray, Sequence[float]]],
    plane: str = "coronal",
    width_in: float = 9.0,
    marks: Mapping[str, tuple[str, str, str]] | None = None,
) -> PaperFigure:
    """Show the middle slice of several volumes, all at the same physical scale.

    Args:
        panels: title to (volume (X, Y, Z) in RAS+, spacing in mm); each panel has its own gray scale, from the 2nd to
            the 98th percentile.
        marks: title to what its left and its right edge are called, and the unit of its values ("" for none).
        plane: a key of `slices.PLANE_AXES`.
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
    figure = new_figure(width_in, 4.0)
    places = figure.subplots(1, len(slices), squeeze=False)[0]
    for axes, title, (picture, (width, height)) in zip(places, panels, slices, strict=True):
        low, high = np.percentile(picture, (2, 98))
        axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), extent=(0, width, height, 0))
        axes.set(title=title, xticks=[], yticks=[], ylim=(max(heights), 0))
        voxels = " × ".join(map(str, panels[title][0].shape))
        left, right, unit = (marks or {}).get(title, ("", "", ""))
        ends = f"{low:.0f} to {high:.0f} {unit}" if unit else f"{low:.2f} to {high:.2f}"
        axes.set_xlabel(f"{voxels} voxels, shown from {ends}", fontsize=7)
        for place, letter, side in ((0.02, left, "left"), (0.98, right, "right")):
            axes.text(place, 0.98, letter, color="white", weight="bold", ha=side, va="top", transform=axes.transAxes)
        axes.spines[:].set_visible(False)
    fit_pictures(figure, places[None], widths)
    return figure


@styled
def training_patches(rows: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> PaperFigure:
    """Show the middle axial slice of training patches with their labels in the targets' colors.

    Args:
        rows: title to pairs (image, target ids) of equal shape (X, Y, Z), which share the row's gray scale; patches of
            different rows may differ in size.
    Returns:
        A row of patches for each title: the image with its labels laid over it.
    Raises:
        ValueError: if there is no row, or one without a patch.
    """
    if not rows or not all(rows.values()):
        raise ValueError("expected at least one row, and at least one patch in each")
    colors = ["#00000000", *(target.color + "99" for target in TARGETS)]
    columns = max(map(len, rows.values()))
    figure = new_figure(1.5 * columns, 1.72 * len(rows))
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for row, (title, patches) in zip(panels, rows.items(), strict=True):
        low, high = np.percentile(np.concatenate([image.ravel()[::7] for image, _ in patches]), (0.5, 99.5))
        row[0].set_title(title, fontsize=9)
        for axes in row:
            axes.set_axis_off()
        for axes, (image, labels) in zip(row, patches, strict=False):
            middle = image.shape[2] // 2
            axes.imshow(_shown(image[..., middle]), cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
            axes.imshow(_shown(labels[..., middle]), cmap=ListedColormap(colors), vmin=0, vmax=len(colors) - 1)
    return figure


@styled
def origin_chart(table: pd.DataFrame, origins: Sequence[str], title: str = "") -> PaperFigure:
    """Show where every target's label comes from in every kind of case.

    Args:
        table: a row a target (by name), a column a kind of case, values among `origins` (`teaching.label_origins`).
        origins: all values in the order of the legend, at most `len(ORIGIN_COLORS)`.
        title: above the figure.
    Raises:
        ValueError: if the table is empty.
    """
    if table.empty:
        raise ValueError("expected at least one target and one kind of case")
    numbers = np.array([[origins.index(value) for value in row] for row in table.to_numpy()])
    figure = new_figure(max(5.6, 1.9 + 1.0 * len(table.columns)), 1.5 + 0.27 * len(table))
    axes = figure.add_subplot()
    colors = ListedColormap(ORIGIN_COLORS[: len(origins)])
    edges = np.arange(len(table.columns) + 1), np.arange(len(table) + 1)
    axes.pcolormesh(*edges, numbers, cmap=colors, vmin=0, vmax=len(origins) - 1, edgecolors="white", linewidth=1.5)
    axes.set(xticks=edges[0][:-1] + 0.5, yticks=edges[1][:-1] + 0.5, ylim=(len(table), 0), title=title)
    axes.set_xticklabels(table.columns, fontsize=7)
    axes.set_yticklabels([TITLES[name] for name in table.index])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    used = sorted(set(numbers.ravel()))
    handles = [Patch(facecolor=ORIGIN_COLORS[n], edgecolor=MUTED, linewidth=0.5, label=origins[n]) for n in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@styled
def windows_on_body(image_hu: np.ndarray, records: Sequence[WindowRecord]) -> PaperFigure:
    """Show the windows that networks were run on, over the image as it is on their grid.

    Args:
        image_hu: (X, Y, Z) in HU, RAS+.
        records: from an inference's `windows`.
    Returns:
        One row a grid (see `case_figures.window_layout`).
    """
    rows = []
    for record in records:
        part = image_hu[record.box]
        indices = (nearest_indices(n, m) for n, m in zip(part.shape, record.shape, strict=True))
        view = CaseView(" and ".join(record.stages), part[np.ix_(*indices)], record.spacing_mm)
        rows.append((view, [(corner, record.visits.window) for corner in record.visits.corners]))
    return window_layout(rows)


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
    figure = new_figure(8, 4.0)
    front, side = figure.subplots(1, 2)
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
        axes.spines[:].set_visible(False)
        for place, letter in zip((0.01, 0.99), "RL" if through == 1 else "AP", strict=True):
            ends = {"ha": "left" if place < 0.5 else "right", "va": "top"}
            axes.text(place, 0.98, letter, color="white", weight="bold", transform=axes.transAxes, **ends)
    if regions:
        front.legend(loc="lower left", labelcolor="white", fontsize=8)
    fit_pictures(figure, np.array([[front, side]]), sizes[:2])
    return figure


def _middle(volume: np.ndarray, spacing_mm: Sequence[float], plane: str) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the middle slice as it is shown, and its width and height in mm."""
    axis = PLANE_AXES[plane]
    first, second = (a for a in range(3) if a != axis)
    picture = _shown(np.take(volume, volume.shape[axis] // 2, axis))
    return picture, (volume.shape[first] * spacing_mm[first], volume.shape[second] * spacing_mm[second])


def _shown(plane: np.ndarray) -> np.ndarray:
    """Turn a slice (first axis, second axis) of a RAS+ volume into a picture (rows, columns)."""
    return plane[::-1, ::-1].T
