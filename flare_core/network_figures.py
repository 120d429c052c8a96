"""Draw networks as they are: blocks by resolution, what they read, how many weights they have.

Serves notebook 03; the plans come from `network_trace`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Patch

from flare_core.evaluation.style import ACCENT, INK, MUTED, SECOND, PaperFigure, new_figure, styled
from flare_core.network_trace import DOWN, SIDE, UP, Block, NetworkPlan

WIDTH, HEIGHT, STEP = 1.2, 0.76, 0.74  # of a block, and the shift from level to level, in units of a level's height
LEFT, PANEL_IN = 2.2, 6.7
LOOKS = {
    "convolutions": "#dbe7f3",
    "attention": "#fbe3cb",
    "convolutions and attention": "#e3e0ef",
    "dense layers": "#eeeeee",
}
JOINS = {"concatenated": ("-", ACCENT), "added": ("--", SECOND), "": ("-", MUTED)}


@styled
def network_diagram(plans: Sequence[NetworkPlan], title: str = "") -> PaperFigure:
    """Show the networks of a system.

    Args:
        plans: one a network (`network_trace.plans_of`).
        title: above the figure.
    Returns:
        One panel a network: a row a resolution, made finer to coarser on the left and coarser to finer on the right.
        A block gives its channels (bold), layers and weights; triangles are its outputs, with their channels.
    Raises:
        ValueError: if there is no plan.
    """
    if not plans:
        raise ValueError("a diagram needs at least one network")
    columns = min(2, len(plans))
    rows = math.ceil(len(plans) / columns)
    panels = [plans[start : start + columns] for start in range(0, len(plans), columns)]
    right = max(x for plan in plans for x, _ in _places(plan)) + WIDTH / 2 + 1.1
    unit = PANEL_IN / max(right + LEFT, 8)
    heights = [unit * max(len(plan.levels) for plan in row) + 0.4 for row in panels]
    figure = new_figure(unit * (right + LEFT) * columns, sum(heights) + 0.7)
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    for axes in grid.ravel():
        axes.set_axis_off()
    for row, places in zip(panels, grid, strict=True):
        for plan, axes in zip(row, places, strict=False):
            _draw(axes, plan)
            axes.set(xlim=(-LEFT, right), ylim=(0.45 - max(len(p.levels) for p in row), 0.55), aspect="equal")
    kinds = dict.fromkeys(_kind(block) for plan in plans for block in plan.blocks)
    handles = [Patch(facecolor=LOOKS[kind], edgecolor=MUTED, label=kind) for kind in kinds]
    joins = dict.fromkeys(join for plan in plans for join in _joins(plan))
    handles += [Line2D([], [], linestyle=JOINS[j][0], color=JOINS[j][1], label=f"skip, {j}") for j in joins if j]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    return figure


def _draw(axes: Axes, plan: NetworkPlan) -> None:
    """Draw one network."""
    levels = plan.levels
    places = _places(plan)
    for level, shape in enumerate(levels):
        axes.text(-0.85, -level, _side(shape), ha="right", va="center", fontsize=7, color=MUTED)
    for number, block in enumerate(plan.blocks):
        x, y = places[number]
        for source, join in block.inputs.items():
            is_skip = block.role == UP and plan.blocks[source].shape == block.shape
            _connect(axes, places[source], places[number], join if is_skip else "")
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        look = {"facecolor": LOOKS[_kind(block)], "edgecolor": MUTED, "linewidth": 0.8, "zorder": 3}
        axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", **look))
        look = {"ha": "center", "va": "center", "color": INK, "zorder": 4}
        axes.text(x, y + 0.2, f"{block.channels}", weight="bold", fontsize=8, **look)
        axes.text(x, y - 0.04, _layers(block), fontsize=5.6, **look)
        axes.text(x, y - 0.24, _count(block.parameters), fontsize=5.6, **look)
        if block.outputs:
            axes.scatter(x + WIDTH / 2 + 0.13, y, marker=">", s=26, color=INK, zorder=4)
            words = " and ".join(f"{channels:,}" for channels in block.outputs)
            axes.text(x + WIDTH / 2 + 0.26, y, words, va="center", fontsize=7)
    stages = ", ".join(plan.stages)
    axes.set_title(f"{stages}: {_count(plan.parameters)} weights, patch {_side(plan.patch)}", fontsize=9)


def _places(plan: NetworkPlan) -> list[tuple[float, float]]:
    """Return where the middle of each block is drawn."""
    levels, last = plan.levels, len(plan.levels) - 1
    gap = 1.25 if any(block.role == SIDE for block in plan.blocks) else 0.0
    found = []
    for block in plan.blocks:
        level = levels.index(block.shape)
        middle = STEP * last + gap / 2 * (level < last)
        shift = {DOWN: STEP * level, SIDE: middle, UP: STEP * (2 * last - level) + gap}[block.role]
        found.append((shift, -float(level)))
    return found


def _connect(axes: Axes, start: tuple[float, float], end: tuple[float, float], join: str) -> None:
    """Draw an arrow from a block to one that reads it; skips are level, other arrows go up or down."""
    style, color = JOINS[join]
    (x, y), (to_x, to_y) = start, end
    if y == to_y:
        start, end = (x + WIDTH / 2, y), (to_x - WIDTH / 2, to_y)
    else:
        side = HEIGHT / 2 if to_y > y else -HEIGHT / 2
        start, end = (x, y + side), (to_x, to_y - side)
    arrow = {"arrowstyle": "->", "linestyle": style, "color": color, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.1}
    axes.annotate("", end, start, arrowprops=arrow, zorder=2)


def _joins(plan: NetworkPlan) -> list[str]:
    """Return how skips join in a network."""
    blocks = plan.blocks
    up = [block for block in blocks if block.role == UP]
    return [join for block in up for source, join in block.inputs.items() if blocks[source].shape == block.shape]


def _kind(block: Block) -> str:
    if block.attentions:
        return (
            "convolutions and attention" if block.convolutions > 1 else "attention"
        )  # one convolution only makes tokens
    return "convolutions" if block.convolutions else "dense layers"


def _layers(block: Block) -> str:
    layers = {"conv": block.convolutions, "Swin": block.attentions}
    return " + ".join(f"{count} {name}" for name, count in layers.items() if count) or "dense"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"


def _side(shape: Sequence[int]) -> str:
    return f"{shape[0]}³" if len(set(shape)) == 1 else " × ".join(map(str, shape))
