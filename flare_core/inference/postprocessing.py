"""Clean a predicted label map: split united pairs, drop stray slices and stray components, drop tiny tumors.

Eleventh step of the data flow, after the scores became labels. Each rule is a value: `rule(labels, spacing_mm)` returns
a cleaned copy, `rule.clean(labels, spacing_mm)` changes the map itself. Maps hold uint8 target ids (X, Y, Z) in RAS+;
an empty one, or one without the rule's targets, stays as it is. Rules look at some planes at a time, so that their
memory does not grow with the number of slices.

References:
    nvauto, sections 2.5 (left-right merging) and 2.6 (post-processing); stmt, section 2.3 (largest component), and its
    code, lseventeen/Two-Stage-Hybrid-Supervision, postprocess/remove_small_connected_component.py.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from flare_core.cases.labels import BY_NAME
from flare_core.inference.components import Components, find_components, parts_with

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
            united = find_components(labels, (right,))
            largest = _largest(united, 2)
            is_whole = np.isin(np.arange(united.voxels.size), largest)
            is_left = np.zeros(united.voxels.size, bool)
            is_left[largest] = [x < line[round(z)] for x, _, z in united.centers(largest)]
            for box, components in united.slabs():
                columns = np.arange(box[0].start, box[0].stop)[:, None, None]
                moves = np.where(is_whole[components], is_left[components], columns < line[box[2]])
                labels[box][moves & (components > 0)] = BY_NAME[left].id

    def _center_line(self, labels: np.ndarray) -> np.ndarray:
        """Return the dividing x of each slice, shape (Z,)."""
        slices, mean_x = [], []
        for box, aorta in parts_with(labels, "aorta"):
            area = aorta.sum((0, 1))
            columns = np.arange(box[0].start, box[0].stop)
            there = np.flatnonzero(area)
            slices.append(box[2].start + there)
            mean_x.append((aorta.sum(1) * columns[:, None]).sum(0)[there] / area[there])
        if slices:
            return np.interp(np.arange(labels.shape[2]), np.concatenate(slices), np.concatenate(mean_x))
        middle = (labels.shape[0] - 1) / 2
        kidneys = find_components(labels, ("right_kidney",))
        sides = kidneys.centers(_largest(kidneys, 2))[:, 0]
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
            is_there = np.zeros(labels.shape[2], np.int8)
            for box, mask in parts_with(labels, name):
                is_there[box[2]] = mask.any((0, 1))
            edges = np.diff(is_there, prepend=0, append=0)
            starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
            if starts.size < 2:
                continue
            longest = np.argmax(ends - starts)
            is_there[starts[longest] : ends[longest]] = 0
            for box, mask in parts_with(labels, name):
                labels[box][mask & (is_there[box[2]] > 0)] = 0


@dataclass(frozen=True)
class KeepLargest(Rule):
    """Keep of each target only its largest 26-connected component.

    Attributes:
        targets: names; of two equally large components one is kept.
    """

    targets: tuple[str, ...]

    def clean(self, labels: np.ndarray, spacing_mm: Spacing) -> None:
        """Erase the smaller components."""
        found = find_components(labels, self.targets)
        stays = np.zeros(found.voxels.size, bool)
        for owner in np.unique(found.owners[1:]):
            own = np.flatnonzero(found.owners == owner)
            stays[own[found.voxels[own].argmax()]] = True
        _keep(labels, found, stays)


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
        found = find_components(labels, self.targets)
        largest = _largest(found, self.most)
        stays = np.zeros(found.voxels.size, bool)
        stays[largest] = found.voxels[largest] * math.prod(spacing_mm) > self.minimum_mm3
        _keep(labels, found, stays)


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
        if sum(np.count_nonzero(mask) for _, mask in parts_with(labels, self.target)) < self.minimum_voxels:
            for box, mask in parts_with(labels, self.target):
                labels[box][mask] = 0


def _largest(found: Components, count: int) -> np.ndarray:
    """Return the numbers of at most `count` largest components, largest first; of two alike, the lower one."""
    return 1 + np.argsort(-found.voxels[1:], kind="stable")[:count]


def _keep(labels: np.ndarray, found: Components, stays: np.ndarray) -> None:
    """Erase the components that do not stay; what belongs to none is left alone."""
    stays[0] = True
    for box, components in found.slabs():
        labels[box][~stays[components]] = 0
