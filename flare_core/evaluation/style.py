"""Give every figure one look, one color a target, and files that are the same bytes each time.

Serves all figures of notebooks, README and report. Nothing global changes: the style holds while a figure is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flare_core.cases.labels import TARGETS
from flare_core.storage import write_file

DPI = 120
EDGE_IN, GAP_IN = 0.06, 0.09  # around a page of pictures, between them
INK, MUTED, FAINT = "#1f2328", "#6b7280", "#e5e7eb"
ACCENT, SECOND = (
    "#2f5d8a",
    "#d9822b",
)  # one series, two series: blue and orange stay apart for every kind of color vision
SERIES = ("#1163a6", "#eea005", "#1f9d7a", "#882255", "#ba74d6", "#86c5f5", "#de5e0d")  # seven that all tell apart
MISSED, ADDED, CONFUSED = "#3b82f6", "#f59e0b", "#2ee6a6"  # errors: voxels left out, put in, given to another target
COLORS = {target.name: target.color for target in TARGETS}
TITLES = {target.name: target.title for target in TARGETS}
SHORT_TITLES = {
    **TITLES,
    "right_kidney": "R kidney",
    "left_kidney": "L kidney",
    "right_adrenal_gland": "R adrenal",
    "left_adrenal_gland": "L adrenal",
    "inferior_vena_cava": "IVC",
}

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.interpolation": "nearest",
    "svg.hashsalt": "flare",  # else element ids, and so the bytes, change with every run
    "svg.fonttype": "path",
    "path.simplify": True,
}

P = ParamSpec("P")


class PaperFigure(Figure):
    """A figure that a notebook shows without a plotting backend being chosen."""

    def _repr_png_(self) -> bytes:
        """Return the figure as PNG bytes, as `save` would write them."""
        return _render(self, "png")


def styled(draw: Callable[P, PaperFigure]) -> Callable[P, PaperFigure]:
    """Wrap a function that draws a figure so that the style holds while it runs."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> PaperFigure:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return wrapped


def new_figure(width_in: float, height_in: float) -> PaperFigure:
    """Return an empty figure whose parts make room for each other; sizes in inches."""
    return PaperFigure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")


def fit_pictures(figure: PaperFigure, panels: np.ndarray, widths: Sequence[float] | None = None) -> None:
    """Lay pictures of fixed shape out, one column beside the other, and give the figure the height that this takes.

    Titles, labels, what stands above all (`suptitle`) and the legend below are measured. A constrained layout does so
    before the pictures have their final size, and cuts titles off where the page is a little too low.

    Args:
        figure: complete, with the width that it keeps.
        panels: axes of shape (rows, columns), whose limits are the pictures' shapes; their upper edges are level.
        widths: of the columns, relative to each other; equal by default.
    """
    columns = np.ones(panels.shape[1]) if widths is None else np.asarray(widths, float)
    columns *= (figure.get_figwidth() - 2 * EDGE_IN - GAP_IN * (len(columns) - 1)) / columns.sum()
    tall = [max(width * _shape(axes) for width, axes in zip(columns, row, strict=True)) for row in panels]
    above, below = np.transpose([np.max([_room_in(axes) for axes in row], axis=0) for row in panels])
    head, foot = (max(map(_height_in, parts), default=0.0) for parts in (figure.texts, figure.legends))
    gaps = GAP_IN * (len(panels) - 1 + bool(figure.legends))
    page = figure.get_figwidth(), sum(tall) + above.sum() + below.sum() + gaps + 2 * EDGE_IN + head + foot
    figure.set_layout_engine("none")
    figure.set_size_inches(page)
    for text in figure.texts:
        text.set(x=EDGE_IN / page[0], y=1 - EDGE_IN / page[1], ha="left", va="top")
    top = page[1] - EDGE_IN - head
    for row, room, tallest, rest in zip(panels, above, tall, below + GAP_IN, strict=True):
        top, left = top - room, EDGE_IN
        for axes, width in zip(row, columns, strict=True):
            height = width * _shape(axes)
            axes.set_position(np.divide((left, top - height, width, height), (*page, *page)))
            axes.set_in_layout(True)
            left += width + GAP_IN
        top -= tallest + rest


def _shape(axes: Axes) -> float:
    """Return height over width of what axes show."""
    return float(np.ptp(axes.get_ylim()) / np.ptp(axes.get_xlim()))


def _room_in(axes: Axes) -> tuple[float, float]:
    """Return how far titles and labels reach above and below axes, in inches."""
    drawn, inside = axes.get_tightbbox(), axes.bbox
    return max(0.0, drawn.y1 - inside.y1) / axes.figure.dpi, max(0.0, inside.y0 - drawn.y0) / axes.figure.dpi


def _height_in(part: Artist) -> float:
    """Return the height of a text or legend with the gap to its neighbors, in inches."""
    return part.get_window_extent().height / part.figure.dpi + GAP_IN


def save(figure: Figure, name: str, folder: Path) -> tuple[Path, Path]:
    """Write a figure as `name.png` and `name.svg`: whole files, the same bytes for the same figure.

    Args:
        figure: the figure.
        name: file name without suffix.
        folder: where to; made if it is not there.
    Returns:
        Paths of the PNG and the SVG.
    """
    paths = Path(folder) / f"{name}.png", Path(folder) / f"{name}.svg"
    for path in paths:
        write_file(path, _render(figure, path.suffix[1:]))
    return paths


def diverging_color(value: float) -> str:
    """Return a color for a number on a scale with a middle: orange below 0, white at 0, purple above.

    Args:
        value: -1 and 1 have the full colors, beyond there is nothing more.
    Returns:
        `#rrggbb`, light enough for black text. Orange and purple stay apart for every kind of color vision.
    """
    place = 0.5 + 0.26 * max(-1.0, min(1.0, value))
    return mpl.colors.to_hex(mpl.colormaps["PuOr"](place))


def _render(figure: Figure, kind: str) -> bytes:
    """Draw a figure as PNG or SVG without date and version in it."""
    metadata = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    content = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(content, format=kind, dpi=DPI, metadata=metadata)
    return content.getvalue()
