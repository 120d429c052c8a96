"""Interpolate volumes plane by plane: images onto a network's grid, class scores back onto the image's.

Serves the third step of the data flow and its inverse. Grids share their outer faces (voxel centers at half-integer
positions) and interpolation is trilinear, so no more than two planes of a volume are looked at for one plane of the
result: nothing here grows with the length of the body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from flare_core.machine import usable_cores
from flare_core.timing import timed


class Intensity(Protocol):
    """How HU become what a network expects (`preprocessing.IntensityWindow` and its likes)."""

    def __call__(self, image_hu: np.ndarray) -> np.ndarray:
        """Return the mapped values of float32 HU of any shape."""


@dataclass(frozen=True, eq=False)
class Between:
    """How each voxel of a new line lies between the voxels of an old one of the same extent.

    Attributes:
        lower, upper: the two old voxels; beyond the outermost centers both are the outermost one.
        share: share of the upper one, float32 in [0, 1).
    """

    lower: np.ndarray
    upper: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, size: int, new_size: int) -> Between:
        """Return the places of `new_size` voxels between `size` voxels."""
        place = ((np.arange(new_size) + 0.5) * size / new_size - 0.5).clip(0, size - 1)
        lower = np.floor(place).astype(np.intp)
        return cls(lower, np.minimum(lower + 1, size - 1), (place - lower).astype(np.float32))

    def __getitem__(self, part: slice) -> Between:
        """Return the places of some of the new voxels."""
        return Between(self.lower[part], self.upper[part], self.share[part])

    def reached_from(self, old: slice) -> slice:
        """Return the new voxels that any of the old voxels `old` has a share in."""
        first = np.searchsorted(self.upper, old.start, "left")
        return slice(int(first), int(np.searchsorted(self.lower, old.stop, "left")))

    @property
    def is_identity(self) -> bool:
        """Whether every new voxel is the old one at its place."""
        return not self.share.any() and bool((self.lower == np.arange(self.lower.size)).all())

    def rows(self, plane: np.ndarray) -> np.ndarray:
        """Interpolate a plane (old voxels, anything) along its first axis: float32."""
        if self.is_identity:
            return plane[: self.lower.size].astype(np.float32)
        return _mixed(plane.take(self.lower, 0), plane.take(self.upper, 0), self.share[:, None])

    def columns(self, plane: np.ndarray) -> np.ndarray:
        """Interpolate a plane (anything, old voxels) along its second axis: float32."""
        if self.is_identity:
            return plane[:, : self.lower.size].astype(np.float32)
        return _mixed(plane.take(self.lower, 1), plane.take(self.upper, 1), self.share)


def _mixed(lower: np.ndarray, upper: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return lower + (upper - lower) * share in float32; `upper` may be overwritten."""
    lower = lower.astype(np.float32, copy=False)
    upper = upper.astype(np.float32, copy=False)
    np.subtract(upper, lower, out=upper)
    upper *= share
    upper += lower
    return upper


def nearest_indices(size: int, new_size: int) -> np.ndarray:
    """Return for each of `new_size` voxels the index of the nearest of `size` voxels on the shared extent."""
    return np.minimum(((np.arange(new_size) + 0.5) * size / new_size).astype(np.intp), size - 1)


@dataclass(frozen=True, eq=False)
class GridImage:
    """An image on a network's grid that is computed where it is looked at.

    Attributes:
        image_hu: array (X, Y, Z) in HU, float32 or int16.
        shape: of the grid.
        intensity: how HU become what the network expects.
    """

    image_hu: np.ndarray
    shape: tuple[int, int, int]
    intensity: Intensity

    def planes(self, start: int, stop: int) -> np.ndarray:
        """Return the planes start <= z < stop of the grid: float32 array (x, y, stop - start)."""
        with timed("resample"):
            return self._planes(start, stop)

    def level(self, hu: float) -> float:
        """Return what a value in HU is on the planes."""
        return float(self.intensity(np.float32([hu]))[0])

    def _planes(self, start: int, stop: int) -> np.ndarray:
        columns, rows, along = (Between.of(n, m) for n, m in zip(self.image_hu.shape, self.shape, strict=True))
        planes = np.empty((stop - start, rows.lower.size, columns.lower.size), np.float32)
        held: dict[int, np.ndarray] = {}
        for index, z in enumerate(range(start, stop)):
            needed = (int(along.lower[z]), int(along.upper[z]))
            held = {at: held[at] if at in held else self._plane(at, rows, columns) for at in needed}
            planes[index] = _mixed(held[needed[0]], held[needed[1]].copy(), along.share[z])
        return self.intensity(planes.transpose(2, 1, 0))

    def _plane(self, z: int, rows: Between, columns: Between) -> np.ndarray:
        """Return a plane of the image on the grid's columns and rows, float32 (y, x)."""
        return columns.columns(rows.rows(self.image_hu[..., z].T))


def resample(volume: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Resample one volume trilinearly to a shape over the same physical extent.

    Args:
        volume: float array of shape (X, Y, Z).
        shape: the new shape.
    Returns:
        float32 array of that shape (the input itself when nothing changes).
    """
    if tuple(volume.shape) == tuple(shape):
        return volume
    return GridImage(volume, tuple(shape), lambda planes: planes).planes(0, shape[2])


def best_channel(scores: np.ndarray) -> np.ndarray:
    """Return the channel with the largest score, the lower one of equals: uint8 (...) from (C, ...)."""
    best, channels = scores[0].copy(), np.zeros(scores.shape[1:], np.uint8)
    for channel in range(1, len(scores)):
        _outdo(best, channels, channel, scores[channel])
    return channels


def _outdo(best: np.ndarray, channels: np.ndarray, channel: int, scores: np.ndarray) -> None:
    """Set `channels` to a channel and `best` to its scores wherever these are larger."""
    np.copyto(channels, np.uint8(channel), where=scores > best)
    np.maximum(best, scores, out=best)


def slabs_to_labels(
    slabs: Iterable[np.ndarray], grid_shape: Sequence[int], out: np.ndarray, table: np.ndarray | None = None
) -> np.ndarray:
    """Resample class scores trilinearly, as they come, and return the best channel of every voxel.

    No more than two planes of the grid exist with all their channels besides the slab in turn. Between voxels of the
    grid where the first channel wins it wins too, so only the box around the other ones is interpolated.

    Args:
        slabs: float32 arrays of shape (C, x, y, any number of planes) that make up the grid from its first plane to its
            last; logits or probabilities.
        grid_shape: (x, y, z) of the grid.
        out: uint8 array (X, Y, Z) of zeros over the same extent, which takes the channels 0..C - 1 (of equally good
            ones the lower); fastest where x runs fastest in memory (`order="F"`).
        table: what to write for each channel instead of its number (uint8; 0 for the first).
    Returns:
        `out`.
    Raises:
        ValueError: if the slabs end before the grid does.
    """
    columns, rows, along = (Between.of(n, m) for n, m in zip(grid_shape, out.shape, strict=True))

    def fill(z: int, lower: ScorePlane, upper: ScorePlane) -> None:
        box = lower.joined(upper)
        if box is None:
            return
        at = rows.reached_from(box[0]), columns.reached_from(box[1])
        near = rows[at[0]], columns[at[1]]
        if near[0].lower.size and near[1].lower.size:  # a coarser image may skip the box
            channels = _best_between(lower, upper, along.share[z], *near)
            out[at[1], at[0], z] = (channels if table is None else table[channels]).T

    planes = enumerate(ScorePlane(plane) for slab in slabs for plane in np.moveaxis(slab, 3, 0).swapaxes(2, 3))
    held: dict[int, ScorePlane] = {}
    done = -1
    with timed("reduce"), ThreadPoolExecutor(usable_cores()) as threads:
        for first, last in _runs(along):
            while done < along.upper[first]:
                done, plane = next(planes, (None, None))
                if plane is None:
                    raise ValueError(f"the slabs hold fewer planes than the grid's {grid_shape[2]}")
                held = {done - 1: held.get(done - 1), done: plane}
            pair = held[int(along.lower[first])], held[int(along.upper[first])]
            list(threads.map(lambda z, pair=pair: fill(z, *pair), range(first, last)))
        for _ in planes:  # a generator is run to its end
            pass
    return out


def _runs(along: Between) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of the new planes that lie between the same two old ones."""
    starts = np.flatnonzero(np.diff(along.lower, prepend=-1) | np.diff(along.upper, prepend=-1))
    yield from zip(starts.tolist(), [*starts[1:].tolist(), along.lower.size], strict=True)


class ScorePlane:
    """One plane of class scores.

    Attributes:
        scores: float32 (C, y, x).
        box: rows and columns around the pixels where another channel than the first one wins; None if there are none.
    """

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = np.ascontiguousarray(scores)
        others = self.scores[1:].max(0, initial=-np.inf) > self.scores[0]
        rows, columns = np.flatnonzero(others.any(1)), np.flatnonzero(others.any(0))
        self.box = (
            (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
            if rows.size
            else None
        )

    def joined(self, other: ScorePlane) -> tuple[slice, slice] | None:
        """Return the box around both planes' boxes."""
        boxes = [plane.box for plane in (self, other) if plane.box]
        if not boxes:
            return None
        return tuple(
            slice(min(p.start for p in parts), max(p.stop for p in parts)) for parts in zip(*boxes, strict=True)
        )


def _best_between(
    lower: ScorePlane, upper: ScorePlane, share: np.float32, rows: Between, columns: Between
) -> np.ndarray:
    """Return the best channel (uint8 (rows, columns)) on a plane between two planes of the grid, channel by channel."""
    best = channels = None
    ys = slice(int(rows.lower[0]), int(rows.upper[-1]) + 1)
    rows = Between(rows.lower - ys.start, rows.upper - ys.start, rows.share)
    for channel, (below, above) in enumerate(zip(lower.scores[:, ys], upper.scores[:, ys], strict=True)):
        scores = rows.rows(columns.columns(_mixed(below, above.copy(), share)))
        if best is None:
            best, channels = scores, np.zeros(scores.shape, np.uint8)
        else:
            _outdo(best, channels, channel, scores)
    return channels
