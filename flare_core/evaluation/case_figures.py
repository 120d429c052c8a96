"""Draw cases: three planes with contours, reference beside prediction, cases side by side, windows, intensities.

Serves the notebooks and the README wherever a CT is shown; `slices` says how one slice is laid out.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from flare_core.cases.labels import BY_NAME, TARGET_NAMES
from flare_core.evaluation.slices import (
    PLANE_AXES,
    CaseView,
    busiest_slice,
    draw_contours,
    draw_errors,
    draw_outline,
    draw_slice,
    draw_targets,
    slice_extent,
)
from flare_core.evaluation.style import (
    ACCENT,
    ADDED,
    CONFUSED,
    MISSED,
    MUTED,
    SECOND,
    TITLES,
    PaperFigure,
    fit_pictures,
    new_figure,
    styled,
)

TINT = to_rgba(SECOND, 0.25)
WIDEST_TITLE = 28
"""Characters that stand above a picture of a quarter of the page."""


@styled
def case_montage(case: CaseView, point: Sequence[int] | None = None, window: str = "abdomen") -> PaperFigure:
    """Show a case in three planes with the contours of its targets and a legend.

    Args:
        case: image and labels (solid contours) and prediction (dashed contours), each optional but the image.
        point: voxel (x, y, z) through which the planes go; by default those that show most targets.
        window: a name in `slices.WINDOWS_HU`.
    Returns:
        Axial, coronal and sagittal slice, each in mm with its position and a 5 cm bar.
    """
    size_mm = np.array(case.image_hu.shape) * case.spacing_mm
    widths = [size_mm[0], size_mm[0], size_mm[1]]
    tallest = max(size_mm[1], size_mm[2])
    figure = new_figure(10.5, min(6.0, 9.0 * tallest / sum(widths) + 1.1))
    panels = figure.subplots(1, 3, width_ratios=widths)
    shown = case.labels if case.labels is not None else case.prediction
    for axes, plane in zip(panels, ("axial", "coronal", "sagittal"), strict=True):
        axis = PLANE_AXES[plane]
        index = busiest_slice(shown, plane, case.image_hu.shape) if point is None else int(point[axis])
        draw_slice(axes, case, plane, index, window)
        if case.labels is not None:
            draw_contours(axes, case.labels, case.spacing_mm, plane, index)
        if case.prediction is not None:
            draw_contours(axes, case.prediction, case.spacing_mm, plane, index, linestyle="--")
        axes.set_title(f"{plane.capitalize()}, slice {index}", fontsize=9, weight="normal")
        axes.set_anchor("N")
    figure.suptitle(case.title, x=0.01, ha="left", fontsize=11, weight="bold")
    target_legend(figure, [case.labels, case.prediction])
    return figure


@styled
def comparison(
    cases: Sequence[CaseView], plane: str = "axial", window: str = "abdomen", title: str = ""
) -> PaperFigure:
    """Show image, reference, prediction and error of cases, one row each.

    Args:
        cases: with labels and prediction.
        plane: "axial", "coronal" or "sagittal"; the slice is the one on which the reference shows most targets.
        window: a name in `slices.WINDOWS_HU`.
        title: above the figure, for instance whose predictions they are.
    Raises:
        ValueError: if there is no case, or one lacks labels or prediction.
    """
    if not cases or any(case.labels is None or case.prediction is None for case in cases):
        raise ValueError("a comparison needs at least one case, each with labels and a prediction")
    figure = new_figure(10.8, 3.0 * len(cases))
    panels = figure.subplots(len(cases), 4, squeeze=False)
    for row, case in zip(panels, cases, strict=True):
        index = busiest_slice(case.labels, plane, case.image_hu.shape)
        for axes in row:
            draw_slice(axes, case, plane, index, window)
        for axes, labels in ((row[1], case.labels), (row[2], case.prediction)):
            draw_targets(axes, labels, case.spacing_mm, plane, index)
            draw_contours(axes, labels, case.spacing_mm, plane, index)
        draw_errors(row[3], case, plane, index)
        lines = f"{case.title}, slice {index}".splitlines()
        row[0].set_title("\n".join(fill(line, WIDEST_TITLE) for line in lines), fontsize=9)
        for axes, name in zip(row[1:], ("Reference", "Prediction", "Error"), strict=True):
            axes.set_title(name, fontsize=9, weight="normal")
    errors = [(MISSED, "missed"), (ADDED, "added"), (CONFUSED, "given to another target")]
    target_legend(figure, [array for case in cases for array in (case.labels, case.prediction)], errors)
    if title:
        figure.suptitle(title, fontsize=11, weight="bold")
    fit_pictures(figure, panels)
    return figure


@styled
def case_grid(
    cases: Sequence[CaseView], planes: Sequence[str] = ("axial", "coronal"), window: str = "abdomen"
) -> PaperFigure:
    """Show cases side by side at one scale, one column a case and one row a plane.

    Args:
        cases: with or without labels (contours); for instance synthetic cases and a real CT.
        planes: which planes, through the slices that show most targets.
        window: a name in `slices.WINDOWS_HU`.
    Raises:
        ValueError: if there is no case or no plane.
    """
    if not cases or not planes:
        raise ValueError("a grid of cases needs at least one case and one plane")
    extents = [[slice_extent(case.image_hu.shape, case.spacing_mm, plane) for case in cases] for plane in planes]
    widths = [max(row[column][1] for row in extents) for column in range(len(cases))]
    figure = new_figure(10.8, 4.0 * len(planes))
    panels = figure.subplots(len(planes), len(cases), squeeze=False)
    for row, plane in zip(panels, planes, strict=True):
        for axes, case in zip(row, cases, strict=True):
            index = busiest_slice(case.labels, plane, case.image_hu.shape)
            draw_slice(axes, case, plane, index, window)
            if case.labels is not None:
                draw_contours(axes, case.labels, case.spacing_mm, plane, index)
            if plane == planes[0]:
                axes.set_title(case.title, fontsize=9)
    target_legend(figure, [case.labels for case in cases])
    fit_pictures(figure, panels, widths)
    return figure


@styled
def window_layout(
    rows: Sequence[tuple[CaseView, Sequence[tuple[Sequence[int], Sequence[int]]]]], plane: str = "coronal"
) -> PaperFigure:
    """Show where the windows of a prediction lie, one row a grid.

    Args:
        rows: a case (image on the grid, labels optional) and its windows: pairs (start, size) in voxels of the image,
            (x, y, z) each, possibly beyond its borders.
        plane: the slice goes through the middle of the volume; all windows that it cuts are drawn.
    Returns:
        Left: the slice with window outlines (the first of several filled); right: how many windows cover each voxel.
    Raises:
        ValueError: if there is no row.
    """
    if not rows:
        raise ValueError("a window layout needs at least one grid")
    extents = [slice_extent(case.image_hu.shape, case.spacing_mm, plane) for case, _ in rows]
    heights = [min(5.5 if len(rows) == 1 else 3.4, 4.2 * extent[3] / extent[1]) for extent in extents]
    figure = new_figure(9.6, sum(heights) + 0.45 * len(rows) + 0.55)
    panels = figure.subplots(len(rows), 2, squeeze=False, height_ratios=heights)
    for (left, right), (case, windows) in zip(panels, rows, strict=True):
        index = case.image_hu.shape[PLANE_AXES[plane]] // 2
        cut = _windows_through(index, windows, plane)
        draw_slice(left, case, plane, index, "abdomen")
        for number, (start, size) in enumerate(cut):
            corner, edges = _box(start, size, case, plane)
            face = TINT if number == 0 and len(cut) > 1 else "none"
            left.add_patch(Rectangle(corner, *edges, edgecolor=SECOND, facecolor=face, linewidth=1.2))
        for word in left.texts:
            word.set_bbox({"facecolor": "black", "linewidth": 0, "pad": 1.2})  # not on a window's edge
        cover = _coverage(case.image_hu.shape, cut, plane)
        most = int(max(1, cover.max()))
        extent = slice_extent(case.image_hu.shape, case.spacing_mm, plane)
        shades = right.imshow(cover, cmap="YlOrBr", vmin=0, vmax=most, origin="lower", extent=extent)
        draw_outline(right, case, plane, index)
        bar = figure.colorbar(shades, ax=right, shrink=0.8, label="Windows")
        bar.set_ticks(sorted({0, most // 2, most}))
        left.set_title(f"{case.title}: {_counted(windows)}, {len(cut)} through this slice", fontsize=9)
        right.set_title("Windows on each voxel, and the body's outline", fontsize=9, weight="normal")
    tinted = any(patch.get_facecolor() == TINT for axes in panels[:, 0] for patch in axes.patches)
    faces = {"a window": "none"} | ({"the first one of the slice": TINT} if tinted else {})
    marks = [Patch(facecolor=face, edgecolor=SECOND, label=name) for name, face in faces.items()]
    figure.legend(handles=marks, loc="outside lower left", ncols=len(marks))
    return figure


def _windows_through(
    index: int, windows: Sequence[tuple[Sequence[int], Sequence[int]]], plane: str
) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Return the windows that a slice cuts."""
    axis = PLANE_AXES[plane]
    return [(start, size) for start, size in windows if start[axis] <= index < start[axis] + size[axis]]


def _counted(windows: Sequence) -> str:
    return f"{len(windows)} window{'' if len(windows) == 1 else 's'}"


@styled
def intensity_histograms(
    before: np.ndarray, after: np.ndarray, unit_after: str = "normalized intensity"
) -> PaperFigure:
    """Show the distribution of voxel values before and after preprocessing.

    Args:
        before: HU, any shape, not empty.
        after: values that the network sees, any shape, not empty.
        unit_after: axis label of the second panel.
    Returns:
        Two histograms (logarithmic counts), with mean and standard deviation in the titles.
    """
    figure = new_figure(8.4, 2.9)
    panels = figure.subplots(1, 2)
    for axes, values, label, color in ((panels[0], before, "HU", MUTED), (panels[1], after, unit_after, ACCENT)):
        axes.hist(np.ravel(values), bins=120, color=color)
        axes.set_yscale("log")
        axes.grid(axis="y")
        name = "Before" if axes is panels[0] else "After"
        axes.set(xlabel=label, ylabel="Voxels")
        axes.set_title(f"{name}: mean {np.mean(values):.3g}, SD {np.std(values):.3g}")
    return figure


def _coverage(shape: Sequence[int], cut: Sequence[tuple[Sequence[int], Sequence[int]]], plane: str) -> np.ndarray:
    """Count the windows over each pixel of a slice that all of them cut."""
    across, up = (axis for axis in range(3) if axis != PLANE_AXES[plane])
    cover = np.zeros((shape[up], shape[across]), np.float32)
    for start, size in cut:
        rows, columns = (slice(max(0, start[axis]), start[axis] + size[axis]) for axis in (up, across))
        cover[rows, columns] += 1
    return cover[:, ::-1]


def _box(start: Sequence[int], size: Sequence[int], case: CaseView, plane: str) -> tuple[tuple, tuple]:
    """Return lower left corner, and width and height, of a window in the picture, in mm."""
    across, up = (axis for axis in range(3) if axis != PLANE_AXES[plane])
    left = (case.image_hu.shape[across] - start[across] - size[across]) * case.spacing_mm[across]
    corner = left, start[up] * case.spacing_mm[up]
    return corner, (size[across] * case.spacing_mm[across], size[up] * case.spacing_mm[up])


def target_legend(
    figure: PaperFigure, label_maps: Sequence[np.ndarray | None], errors: Sequence[tuple[str, str]] = ()
) -> None:
    """Put the targets that occur under the figure, and the kinds of error if any."""
    shown = sorted(
        set().union(*(np.unique(labels[labels > 0]).tolist() for labels in label_maps if labels is not None))
    )
    names = [name for name in TARGET_NAMES if BY_NAME[name].id in shown]
    look = {"linewidth": 3, "path_effects": [withStroke(linewidth=4, foreground="black")]}  # as contours are drawn
    handles = [Line2D([], [], color=BY_NAME[name].color, label=TITLES[name], **look) for name in names]
    handles += [Patch(color=color, label=label) for color, label in errors]
    if handles:
        columns = min(7, int(figure.get_figwidth() / 1.5), len(handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
