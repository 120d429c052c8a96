"""Hold one anatomical structure, grow it to its drawn volume, and paint it over what lies there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flare_core.cases.cohort.shapes import Field, soft_max
from flare_core.cases.cohort.space import Box, Space, is_empty


@dataclass(frozen=True, eq=False)
class Structure:
    """A body of one tissue. Structures are painted in order, later ones over earlier ones.

    Attributes:
        name: for the reader and for tumors that look for a host.
        tissue: key of the patient's HU table.
        field: implicit shape that grows with `level`.
        points: canonical points (N, 3) that its box surrounds.
        reach_mm: how far the body may reach from those points.
        target: id in the label map, 0 for what no one segments.
        bounds: implicit shape that it never leaves (the diaphragm, the wall).
        fill: HU at each voxel from (space, distance) where one number is not enough.
        level: distance in mm by which the body is grown.
        volume_ml: volume that `calibrate` grows it to, or None.
    """

    name: str
    tissue: str
    field: Field
    points: np.ndarray
    reach_mm: float = 20.0
    target: int = 0
    bounds: Field | None = None
    fill: Callable[[Space, np.ndarray], np.ndarray] | None = None
    level: float = 0.0
    volume_ml: float | None = None

    def box(self, space: Space) -> Box:
        """Return the index box of the structure in a space."""
        return space.box_around(self.points, self.reach_mm + max(self.level, 0))

    def distance(self, space: Space) -> np.ndarray:
        """Return the distance in mm outside the grown structure."""
        grown = self.field(space) - np.float32(self.level)
        return grown if self.bounds is None else soft_max(grown, self.bounds(space), 4.0)


def calibrate(structures: Sequence[Structure], space_around: Callable[[np.ndarray, float], Space]) -> list[Structure]:
    """Grow every structure with a drawn volume to that volume, not counting what later organs and fat cover.

    Args:
        structures: in painting order.
        space_around: makes a space of its own, fine enough, around canonical points with a reach in mm.
    Returns:
        The structures with their levels set, in the same order.
    Raises:
        ValueError: if an organ finds no room at all.
    """
    grown: list[Structure] = []
    for structure in reversed(structures):
        if structure.volume_ml is not None:
            space = space_around(structure.points, structure.reach_mm)
            above = [other for other in grown if other.target or other.tissue == "fat"]
            structure = replace(structure, level=_level(structure, space, above))
        grown.append(structure)
    return grown[::-1]


def _level(structure: Structure, space: Space, above: Sequence[Structure]) -> float:
    """Return the level at which the structure's free voxels make up its volume."""
    distance = structure.field(space)
    free = np.ones(distance.shape, bool) if structure.bounds is None else structure.bounds(space) < 0
    for other in above:
        box = other.box(space)
        if not is_empty(box) and free[box].any():
            free[box] &= other.distance(space.crop(box)) >= 0
    voxel_ml = float(np.prod([axis[1] - axis[0] for axis in space.axes_mm])) / 1000
    values = np.sort(distance[free])
    if len(values) == 0:
        raise ValueError(f"no room for {structure.name} in this patient; the anatomy above it covers its whole box")
    place = min(int(structure.volume_ml / voxel_ml), len(values) - 1)
    return float(values[place])


@dataclass(frozen=True, eq=False)
class Canvas:
    """The image and the labels that structures are painted on.

    Attributes:
        space: where the voxels lie.
        image_hu: float32 of shape (X, Y, Z).
        labels: uint8 of the same shape.
        edge_mm: width of the ramp from inside to outside, about one voxel: its partial volume.
    """

    space: Space
    image_hu: np.ndarray
    labels: np.ndarray
    edge_mm: float

    def paint(self, structure: Structure, tissues_hu: dict[str, float]) -> None:
        """Paint one structure over what is there."""
        box = structure.box(self.space)
        if is_empty(box):
            return
        space = self.space.crop(box)
        distance = structure.distance(space)
        self.cover(box, distance, structure.fill(space, distance) if structure.fill else tissues_hu[structure.tissue])
        self.labels[box][distance < 0] = structure.target

    def cover(self, box, distance: np.ndarray, value) -> None:
        """Blend HU values in where `distance` is negative."""
        share = np.clip(np.float32(0.5) - distance / np.float32(self.edge_mm), 0, 1)
        image = self.image_hu[box]
        image += share * (value - image)
