"""Draw all that is known of one predicted case: a sheet with slices, scores and volumes; all systems; its surfaces.

Serves notebook 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from flare_core.evaluation.case_figures import target_legend
from flare_core.evaluation.slices import (
    PLANE_AXES,
    CaseView,
    busiest_slice,
    draw_contours,
    draw_cross,
    draw_errors,
    draw_slice,
    draw_targets,
    slice_extent,
)
from flare_core.evaluation.style import (
    ADDED,
    COLORS,
    CONFUSED,
    FAINT,
    MISSED,
    MUTED,
    SHORT_TITLES,
    PaperFigure,
    fit_pictures,
    new_figure,
    styled,
)
from flare_core.evaluation.surfaces import Camera, body_outline, surface_picture

PLANES = ("axial", "coronal", "sagittal")
VIEWS = {"from the front": 0.0, "from behind": 180.0}
OUTLINE_STEP_MM = 4.0
SHADOW = "#e6e8ed"
COLUMNS = {"dsc": "DSC", "nsd": "NSD", "reference_ml": "ref. ml", "prediction_ml": "pred. ml"}


@styled
def case_sheet(
    case: CaseView, table: pd.DataFrame, point: Sequence[int], window: str = "abdomen", target: str = ""
) -> PaperFigure:
    """Show three planes through one point, with contours and with errors, beside the case's scores and volumes.

    Args:
        case: with labels and prediction.
        table: from `case_table`, a row a target.
        point: voxel (x, y, z) in which the planes meet.
        window: gray window, a name in `slices.WINDOWS_HU`.
        target: whose row is marked; none if it is not in the table.
    Returns:
        Above: the reference as areas, the prediction as contours; below: voxels that are wrong. Thin lines show where
        the other two planes run.
    """
    extents = [slice_extent(case.image_hu.shape, case.spacing_mm, plane) for plane in PLANES]
    widths, tallest = [extent[1] for extent in extents], max(extent[3] for extent in extents)
    scale = min(7.6 / sum(widths), 3.4 / tallest)
    figure = new_figure(scale * sum(widths) + 4.0, 2 * scale * tallest + 1.1)
    grid = figure.add_gridspec(2, 4, width_ratios=[*widths, 3.9 / scale])
    for column, plane in enumerate(PLANES):
        index = int(point[PLANE_AXES[plane]])
        above, below = (figure.add_subplot(grid[row, column]) for row in (0, 1))
        for axes in (above, below):
            draw_slice(axes, case, plane, index, window)
            draw_cross(axes, case, plane, point)
            axes.set_anchor("N")
        draw_targets(above, case.labels, case.spacing_mm, plane, index)
        draw_contours(above, case.prediction, case.spacing_mm, plane, index)
        draw_errors(below, case, plane, index)
        above.set_title(f"{plane.capitalize()}, slice {index}", fontsize=9, weight="normal")
    _write_table(figure.add_subplot(grid[:, 3]), table, target)
    figure.suptitle(f"{case.title}   ({window} window)", x=0.01, ha="left", fontsize=11, weight="bold")
    handles = [Patch(color=to_rgba(MUTED, 0.4), label="reference: areas")]
    handles += [Line2D([], [], color=MUTED, label="prediction: outlines")]
    errors = {"missed": MISSED, "added": ADDED, "given to another target": CONFUSED}
    handles += [Patch(color=color, label=name) for name, color in errors.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))
    return figure


@styled
def systems_on_case(
    views: Mapping[str, CaseView], point: Sequence[int] | None = None, plane: str = "axial", window: str = "abdomen"
) -> PaperFigure:
    """Show one slice of a case as several systems predict it, or as labels are before and after a step.

    Args:
        views: title to the same case with its labels and one prediction; the first one's labels are shown.
        point: voxel (x, y, z) through which the slice goes; by default the one on which the labels show most targets.
        plane: a key of `slices.PLANE_AXES`.
        window: gray window, a name in `slices.WINDOWS_HU`.
    Returns:
        First column: image and reference; then a column a system: its prediction and below it its errors.
    Raises:
        ValueError: if there is no system, or a view without labels or prediction.
    """
    if not views or any(view.labels is None or view.prediction is None for view in views.values()):
        raise ValueError("expected at least one system's view of a case, each with labels and a prediction")
    first = next(iter(views.values()))
    index = busiest_slice(first.labels, plane, first.labels.shape) if point is None else int(point[PLANE_AXES[plane]])
    figure = new_figure(min(3.0 * (len(views) + 1), 12.5), 6.0)
    panels = figure.subplots(2, len(views) + 1, squeeze=False)
    for axes in panels.ravel():
        draw_slice(axes, first, plane, index, window)
    _draw_labels(panels[1, 0], first, first.labels, plane, index)
    panels[0, 0].set_title("Image", fontsize=9)
    panels[1, 0].set_title("Reference", fontsize=9)
    for column, (system, view) in zip(panels.T[1:], views.items(), strict=True):
        _draw_labels(column[0], view, view.prediction, plane, index)
        draw_errors(column[1], view, plane, index)
        column[0].set_title(system, fontsize=9)
        column[1].set_title("errors", fontsize=8, weight="normal")
    errors = [(MISSED, "missed"), (ADDED, "added"), (CONFUSED, "given to another target")]
    target_legend(figure, [labels for view in views.values() for labels in (view.labels, view.prediction)], errors)
    figure.suptitle(f"{first.title}, {plane} slice {index}", fontsize=11, weight="bold")
    fit_pictures(figure, panels)
    return figure


@styled
def case_surfaces(case: CaseView) -> PaperFigure:
    """Show the surfaces of reference and prediction from the front and from behind, over the body's outline.

    Args:
        case: with labels, prediction or both.
    Raises:
        ValueError: if it has neither.
    """
    maps = {"Reference": case.labels, "Prediction": case.prediction}
    maps = {name: labels for name, labels in maps.items() if labels is not None}
    if not maps:
        raise ValueError(f"{case.title}: surfaces need labels or a prediction")
    figure = new_figure(2.7 * len(VIEWS) * len(maps), 3.6)
    panels = iter(figure.subplots(1, len(VIEWS) * len(maps), squeeze=False)[0])
    for view, azimuth in VIEWS.items():
        camera = Camera(azimuth)
        coarse = replace(camera, step_mm=OUTLINE_STEP_MM)
        outline = body_outline(case.image_hu, case.spacing_mm, coarse)
        for name, labels in maps.items():
            axes = next(panels)
            shadow = np.where(outline[..., None], to_rgba(SHADOW), 0.0)
            axes.imshow(shadow, origin="lower", extent=_extent(coarse, case), interpolation="bilinear")
            picture = surface_picture(labels, case.spacing_mm, camera)
            axes.imshow(picture, origin="lower", extent=_extent(camera, case), interpolation="antialiased")
            axes.set_axis_off()
            axes.set_title(f"{name}, {view}", fontsize=9, weight="normal")
            if not labels.any():
                axes.text(0.5, 0.5, "nothing labeled", transform=axes.transAxes, ha="center", color=MUTED)
    target_legend(figure, list(maps.values()))
    figure.suptitle(case.title, x=0.01, ha="left", fontsize=11, weight="bold")
    return figure


def _draw_labels(axes: Axes, case: CaseView, labels: np.ndarray, plane: str, index: int) -> None:
    """Lay one slice of a label map over the image: filled and outlined."""
    draw_targets(axes, labels, case.spacing_mm, plane, index)
    draw_contours(axes, labels, case.spacing_mm, plane, index)


def _extent(camera: Camera, case: CaseView) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of a camera's picture in mm from the middle of a case."""
    right, up = camera.pixels(np.multiply(case.image_hu.shape, case.spacing_mm))[:2] * camera.step_mm / 2
    return -right, right, -up, up


def _write_table(axes: Axes, table: pd.DataFrame, target: str) -> None:
    """Write a case's table into a panel, targets with their colors."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(15.2, -1))
    places = np.linspace(0.5, 0.99, len(table.columns))
    for place, column in zip(places, table, strict=True):
        axes.text(place, 0, COLUMNS[column], ha="right", va="center", fontsize=8, color=MUTED)
    for row, (name, values) in enumerate(table.iterrows(), start=1):
        look = {"va": "center", "fontsize": 8, "weight": "bold" if name == target else "normal"}
        axes.axhline(row - 0.5, color=FAINT, linewidth=0.8)
        axes.scatter(0.03, row, marker="s", s=42, color=COLORS[name])
        axes.text(0.08, row, SHORT_TITLES[name], **look)
        for place, column in zip(places, table, strict=True):
            text = f"{values[column]:.1f}" if column.endswith("_ml") else f"{values[column]:.3f}"
            axes.text(place, row, "" if np.isnan(values[column]) else text, ha="right", **look)
    if table.empty:
        axes.text(0.5, 1, "nothing labeled", ha="center", va="center", color=MUTED)
