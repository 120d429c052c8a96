"""Find the connected components of a label map slab by slab, so that a longer map takes no more memory.

Serves post-processing. A slab is labeled together with the first plane of the next one; what is one component in that
plane is one in both. Only a few numbers a component are kept: when the voxels are needed, each slab is labeled again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cc3d
import numpy as np

from flare_core.cases.boxes import Box, bounding_box
from flare_core.cases.labels import BY_NAME

PLANES = 32
"""Of a slab; one more is labeled with it."""


@dataclass(frozen=True, eq=False)
class Components:
    """26-connected components, each of one target, numbered from 1 in the order of their lowest slabs.

    Entry 0 of an array stands for what belongs to none of them. The map must not change but where `slabs` says so.

    Attributes:
        labels: uint8 target ids (X, Y, Z).
        targets: whose components these are.
        owners: uint8 target id of each component.
        voxels: how many each has.
        numbers: by the first plane of each slab that holds a target, what the slab's own components are called here.
    """

    labels: np.ndarray
    targets: tuple[str, ...]
    owners: np.ndarray
    voxels: np.ndarray
    numbers: dict[int, np.ndarray]

    def slabs(self) -> Iterator[tuple[Box, np.ndarray]]:
        """Yield boxes, from below, with the component of each of their voxels; once it came, a box may change."""
        for start, numbers in self.numbers.items():
            slab = _slab(self.labels, self.targets, start)
            yield slab.box, numbers[slab.components[..., : slab.planes]]

    def centers(self, chosen: Sequence[int]) -> np.ndarray:
        """Return the mean indices along X, Y, Z of some components, (n, 3)."""
        sums = np.zeros((len(chosen), 3), np.int64)
        for box, components in self.slabs():
            for number, total in zip(chosen, sums, strict=True):
                mask = components == number
                for axis, side in enumerate(box):
                    counts = mask.sum(tuple(other for other in range(3) if other != axis))
                    total[axis] += counts @ np.arange(side.start, side.stop)
        return sums / self.voxels[chosen, None]


def parts_with(labels: np.ndarray, target: str) -> Iterator[tuple[Box, np.ndarray]]:
    """Yield the boxes around a target, some planes at a time, from below, each with the target's mask in it."""
    for start in range(0, labels.shape[2], PLANES):
        mask = labels[..., start : start + PLANES] == BY_NAME[target].id
        box = bounding_box(mask)
        if box is not None:
            yield (*box[:2], slice(start + box[2].start, start + box[2].stop)), mask[box]


def find_components(labels: np.ndarray, targets: tuple[str, ...]) -> Components:
    """Return the components of the named targets of a map (none in an empty one)."""
    owners, voxels, first, pairs, found = [np.zeros(1, np.uint8)], [np.zeros(1, int)], 1, [], {}
    shared = np.zeros(labels.shape[:2], int)  # the plane that two slabs have, as the lower one calls its components
    for start in range(0, labels.shape[2], PLANES):
        slab = _slab(labels, targets, start)
        if slab is None:
            continue
        pairs += _same(shared, slab.plane(0, first, shared.shape))
        shared = slab.plane(slab.planes, first, shared.shape)
        owners.append(slab.owners())
        voxels.append(slab.voxels())
        found[start] = slice(first, first + slab.count)
        first += slab.count
    kept, numbers = np.unique(_lowest_of_each(first, pairs), return_inverse=True)
    voxels = np.bincount(numbers, np.concatenate(voxels)).astype(int)
    numbers = numbers.astype(np.uint32)
    named = {start: np.append(numbers[:1], numbers[own]) for start, own in found.items()}
    return Components(labels, targets, np.concatenate(owners)[kept], voxels, named)


@dataclass(frozen=True, eq=False)
class _Slab:
    """Some planes of a map within the box around its targets, and one plane more if the targets go on.

    Attributes:
        box: without that plane.
        named: target ids, 0 where no wanted target lies.
        components: numbered from 1 within the slab.
        count: how many.
    """

    box: Box
    named: np.ndarray
    components: np.ndarray
    count: int

    @property
    def planes(self) -> int:
        """How many are the slab's own."""
        return self.box[2].stop - self.box[2].start

    def plane(self, index: int, first: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return a whole plane with components numbered from `first`; an empty one beyond the slab's."""
        plane = np.zeros(shape, int)
        if index < self.components.shape[2]:
            part = self.components[..., index].astype(int)
            plane[self.box[:2]] = np.where(part, part + first - 1, 0)
        return plane

    def owners(self) -> np.ndarray:
        """Return the target id of each component."""
        owners = np.zeros(self.count + 1, np.uint8)
        for z in range(self.components.shape[2]):
            owners[self.components[..., z]] = self.named[..., z]
        return owners[1:]

    def voxels(self) -> np.ndarray:
        """Return how many voxels each component has in the slab's own planes."""
        counts = (np.bincount(self.components[..., z].ravel("K"), minlength=self.count + 1) for z in range(self.planes))
        return sum(counts)[1:]


def _slab(labels: np.ndarray, targets: tuple[str, ...], start: int) -> _Slab | None:
    """Return the slab that starts at a plane; None if nothing lies there."""
    ids, named = [BY_NAME[target].id for target in targets], np.zeros(256, np.uint8)
    named[ids] = ids
    part = labels[..., start : start + PLANES + 1]
    box = bounding_box(part == ids[0] if len(ids) == 1 else part)
    if box is None or box[2].start == PLANES:
        return None
    part = np.asfortranarray(named[part[box]])  # so that the numbers do not depend on the map's layout
    components, count = cc3d.connected_components(part, connectivity=26, return_N=True)
    planes = slice(start + box[2].start, start + min(box[2].stop, PLANES))
    return _Slab((*box[:2], planes), part, components, count)


def _same(one: np.ndarray, other: np.ndarray) -> list[tuple[int, int]]:
    """Return which components of two labelings of a plane are the same."""
    pairs = np.unique(one[one > 0] << 32 | other[one > 0])
    return list(zip((pairs >> 32).tolist(), (pairs & 0xFFFFFFFF).tolist(), strict=True))


def _lowest_of_each(count: int, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Return for each of `count` numbers the lowest that pairs connect it with."""
    lowest = np.arange(count)

    def find(number: int) -> int:
        while lowest[number] != number:
            lowest[number] = number = lowest[lowest[number]]
        return number

    for pair in pairs:
        low, high = sorted(map(find, pair))
        lowest[high] = low
    while (lowest[lowest] != lowest).any():
        lowest = lowest[lowest]
    return lowest
