"""Clean a predicted label map: split united pairs, drop stray slices and stray components, drop tiny tumors.

Eleventh step of the data flow, after the scores became labels. Each rule is a value: `rule(labels, spacing_mm)` returns
a cleaned copy, `rule.clean(labels, spacing_mm)` changes the map itself. Maps hold uint8 target ids (X, Y, Z) in RAS+;
an empty one, or one without the rule's targets, stays as it is. Rules look only at the box around their targets and
take up to eight bytes for each of its voxels.

References:
    nvauto, sections 2.5 (left-right merging) and 2.6 (post-processing); stmt, section 2.3 (largest component), and its
    code, lseventeen/Two-Stage-Hybrid-Supervision, postprocess/remove_small_connected_component.py.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import cc3d
import numpy as np

from flare_core.cases.boxes import Box, bounding_box
from flare_core.cases.labels import BY_NAME

Spacing = tuple[float, float, float]


class Rule(ABC):
    """What cleans a label map."""

    def __call__(self, labels: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
        """Return a cleaned copy."""
        labels = labels.copy(order="K")
        self.clean(labels, spacing_mm)
        return labels

    @abstractmethod
    def clean(self, labels: np.ndarray, spacing_mm: Spacing) -> None:
        """Clean the map itself."""


@dataclass(frozen=True)
class SplitPairs(Rule):
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

    def clean(self, labels: np.ndarray, spacing_mm: Spacing) -> None:
        """Set the left organs (x grows to the right in RAS+)."""
        line = self._center_line(labels)
        for right, left in self.pairs:
            box = _box_of(labels, right)
            if box is None:
                continue
            part, columns = labels[box], np.arange(box[0].start, box[0].stop)
            united = part == BY_NAME[right].id
            for component, center in _largest_components(united, 2):
                is_left_component = center[0] + box[0].start < line[round(center[2] + box[2].start)]
                part[component] = BY_NAME[left if is_left_component else right].id
                united &= ~component
            part[united & (columns[:, None, None] < line[box[2]])] = BY_NAME[left].id

    def _center_line(self, labels: np.ndarray) -> np.ndarray:
        """Return the dividing x of each slice, shape (Z,)."""
        box = _box_of(labels, "aorta")
        if box is not None:
            aorta = labels[box] == BY_NAME["aorta"].id
            area = aorta.sum((0, 1))
            slices = np.flatnonzero(area)
            columns = np.arange(box[0].start, box[0].stop)
            mean_x = (aorta.sum(1) * columns[:, None]).sum(0)[slices] / area[slices]
            return np.interp(np.arange(labels.shape[2]), slices + box[2].start, mean_x)
        middle = (labels.shape[0] - 1) / 2
        box = _box_of(labels, "right_kidney")
        if box is not None:
            largest = _largest_components(labels[box] == BY_NAME["right_kidney"].id, 2)
            sides = [center[0] + box[0].start for _, center in largest]
            if len(sides) == 2 and min(sides) < middle < max(sides):  # else they are parts of one kidney
                middle = sum(sides) / 2
        return np.full(labels.shape[2], middle)


@dataclass(frozen=True)
class LongestRun(Rule):
    """Keep of each target only its longest run of consecutive axial slices (one-dimensional components).

    Attributes:
        targets: names; the first of two equally long runs is kept.
    """

    targets: tuple[str, ...]

    def clean(self, labels: np.ndarray, spacing_mm: Spacing) -> None:
        """Erase the stray slices."""
        for name in self.targets:
            box = _box_of(labels, name)
            if box is None:
                continue
            part = labels[box]
            mask = part == BY_NAME[name].id
            edges = np.diff(mask.any((0, 1)).astype(np.int8), prepend=0, append=0)
            starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
            if starts.size < 2:
                continue
            longest = np.argmax(ends - starts)
            mask[:, :, starts[longest] : ends[longest]] = False
            part[mask] = 0


@dataclass(frozen=True)
class KeepLargest(Rule):
    """Keep of each target only its largest 26-connected component.

    Attributes:
        targets: names; of two equally large components one is kept.
    """

    targets: tuple[str, ...]

    def clean(self, labels: np.ndarray, spacing_mm: Spacing) -> None:
        """Erase the smaller components."""
        box = bounding_box(labels)
        if box is None:
            return
        labels = labels[box]
        components, owners = _components(labels, self.targets)
        voxels = np.bincount(components.ravel())
        stays = np.zeros(voxels.size, bool)
        stays[0] = True  # what belongs to no component: background and other targets
        for owner in np.unique(owners[1:]):
            own = np.flatnonzero(owners == owner)
            stays[own[voxels[own].argmax()]] = True
        labels[~stays[components]] = 0


@dataclass(frozen=True)
class KeepComponents(Rule):
    """Keep only the largest 26-connected components of all targets together, if they are large enough.

    Attributes:
        targets: names; a component holds one target, but all of them compete.
        minimum_mm3: a component stays if its volume is larger.
        most: how many components stay at most.
    """

    targets: tuple[str, ...]
    minimum_mm3: float
    most: int

    def clean(self, labels: np.ndarray, spacing_mm: Spacing) -> None:
        """Erase the other components."""
        box = bounding_box(labels)
        if box is None:
            return
        labels = labels[box]
        components, _ = _components(labels, self.targets)
        volumes_mm3 = np.bincount(components.ravel()) * math.prod(spacing_mm)
        volumes_mm3[0] = 0
        largest = np.argsort(-volumes_mm3, kind="stable")[: self.most]
        stays = np.zeros(volumes_mm3.size, bool)
        stays[largest] = volumes_mm3[largest] > self.minimum_mm3
        stays[0] = True
        labels[~stays[components]] = 0


@dataclass(frozen=True)
class RemoveSmall(Rule):
    """Erase a target that has fewer voxels than a limit in the whole volume.

    Attributes:
        target: its name.
        minimum_voxels: smallest number that stays.
    """

    target: str
    minimum_voxels: int

    def clean(self, labels: np.ndarray, spacing_mm: Spacing) -> None:
        """Erase the target if it is too small."""
        box = _box_of(labels, self.target)
        if box is not None:
            mask = labels[box] == BY_NAME[self.target].id
            if mask.sum() < self.minimum_voxels:
                labels[box][mask] = 0


def _box_of(labels: np.ndarray, target: str) -> Box | None:
    """Return the box around a target, looked for a few planes at a time; None if it is not there."""
    found, value = [np.zeros(size, bool) for size in labels.shape], BY_NAME[target].id
    for start in range(0, labels.shape[2], 32):
        mask = labels[..., start : start + 32] == value
        columns = mask.any(2)
        if columns.any():
            found[0] |= columns.any(1)
            found[1] |= columns.any(0)
            found[2][start : start + 32] = mask.any((0, 1))
    places = [np.flatnonzero(side) for side in found]
    return tuple(slice(int(at[0]), int(at[-1]) + 1) for at in places) if places[0].size else None


def _largest_components(mask: np.ndarray, count: int) -> list[tuple[np.ndarray, tuple[float, ...]]]:
    """Return mask and center (voxels) of at most `count` largest 26-connected components, largest first."""
    components, found = cc3d.largest_k(mask, k=count, connectivity=26, return_N=True)
    parts = [components == index for index in range(1, found + 1)]
    parts.sort(key=np.count_nonzero, reverse=True)
    return [(part, tuple(_mean_index(part, axis) for axis in range(3))) for part in parts]


def _mean_index(mask: np.ndarray, axis: int) -> float:
    """Return the mean index along an axis of the voxels of a mask."""
    counts = mask.sum(tuple(other for other in range(3) if other != axis))
    return float((counts * np.arange(counts.size)).sum() / counts.sum())


def _components(labels: np.ndarray, targets: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of the named targets' 26-connected components (0: none), and the target id of each component."""
    named = np.where(np.isin(labels, [BY_NAME[name].id for name in targets]), labels, np.uint8(0))
    components, count = cc3d.connected_components(named, connectivity=26, return_N=True)
    owners = np.zeros(count + 1, np.uint8)
    owners[components] = named
    return components, owners
