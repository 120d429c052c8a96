"""Clean a predicted label map: split united pairs, drop stray slices, drop tiny tumors.

Eleventh step of the data flow, after the scores became labels. Each rule is a value with `__call__(labels, spacing_mm)`
that takes uint8 target ids (X, Y, Z) in RAS+ and returns a new map; an empty map, or one without the rule's targets,
comes back unchanged.

References:
    nvauto, sections 2.5 (left-right merging) and 2.6 (post-processing).
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np

from flare_core.cases.labels import BY_NAME


@dataclass(frozen=True)
class SplitPairs:
    """Divide united left-right organs by the center line of the aorta.

    The paper names the aorta's center line and the two largest kidney components; we read it so: of each pair, the two
    largest components go whole to the side that their centroid lies on, everything else voxel by voxel. The line is
    the aorta's mean x in each slice, the nearest slice's value above and below it; without an aorta it is the middle
    between the two largest kidney components if these lie on both sides of the volume's middle, else that middle.

    Attributes:
        pairs: (right name, left name); the map holds the right one's id for both.
    """

    pairs: tuple[tuple[str, str], ...] = (
        ("right_kidney", "left_kidney"),
        ("right_adrenal_gland", "left_adrenal_gland"),
    )

    def __call__(self, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """Return the map with left organs set (x grows to the right in RAS+)."""
        line = self._center_line(labels)
        columns = np.arange(labels.shape[0])[:, None, None]
        split = labels.copy()
        for right, left in self.pairs:
            united = labels == BY_NAME[right].id
            is_left = columns < line[None, None, :]
            for component in _largest_components(united, 2):
                x, _, z = (indices.mean() for indices in component)
                is_left_component = x < line[round(z)]
                split[component] = BY_NAME[left if is_left_component else right].id
                united[component] = False
            split[united & is_left] = BY_NAME[left].id
        return split

    def _center_line(self, labels: np.ndarray) -> np.ndarray:
        """Return the dividing x of each slice, shape (Z,)."""
        aorta = labels == BY_NAME["aorta"].id
        area = aorta.sum((0, 1))
        slices = np.flatnonzero(area)
        if slices.size:
            mean_x = (aorta.sum(1) * np.arange(labels.shape[0])[:, None]).sum(0)[slices] / area[slices]
            return np.interp(np.arange(labels.shape[2]), slices, mean_x)
        middle = (labels.shape[0] - 1) / 2
        sides = [part[0].mean() for part in _largest_components(labels == BY_NAME["right_kidney"].id, 2)]
        if len(sides) == 2 and min(sides) < middle < max(sides):  # else they are parts of one kidney
            middle = sum(sides) / 2
        return np.full(labels.shape[2], middle)


@dataclass(frozen=True)
class LongestRun:
    """Keep of each target only its longest run of consecutive axial slices (one-dimensional components).

    Attributes:
        targets: names; the first of two equally long runs is kept.
    """

    targets: tuple[str, ...]

    def __call__(self, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """Return the map without the stray slices."""
        kept = labels.copy()
        for name in self.targets:
            mask = labels == BY_NAME[name].id
            edges = np.diff(mask.any((0, 1)).astype(np.int8), prepend=0, append=0)
            starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
            if starts.size < 2:
                continue
            longest = np.argmax(ends - starts)
            mask[:, :, starts[longest] : ends[longest]] = False
            kept[mask] = 0
        return kept


@dataclass(frozen=True)
class RemoveSmall:
    """Erase a target that has fewer voxels than a limit in the whole volume.

    Attributes:
        target: its name.
        minimum_voxels: smallest number that stays.
    """

    target: str
    minimum_voxels: int

    def __call__(self, labels: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """Return the map without the target if it was too small."""
        mask = labels == BY_NAME[self.target].id
        return np.where(mask, np.uint8(0), labels) if 0 < mask.sum() < self.minimum_voxels else labels


def _largest_components(mask: np.ndarray, count: int) -> list[tuple[np.ndarray, ...]]:
    """Return the voxel indices of at most `count` largest 26-connected components, largest first."""
    if not mask.any():
        return []
    components, found = cc3d.largest_k(mask, k=count, connectivity=26, return_N=True)
    parts = [np.nonzero(components == i) for i in range(1, found + 1)]
    return sorted(parts, key=lambda part: -part[0].size)
