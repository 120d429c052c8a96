"""Volumes that are computed, padded, cropped and stored plane by plane, so that none needs to be whole in memory.

Serves the ninth and tenth step of the data flow: windows look at a few planes at a time, and scores leave in slabs of
planes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Protocol

import numpy as np

Corner = tuple[int, int, int]

IN_MEMORY = 64 * 2**20
"""Bytes of scores that may wait in memory; more lie in a file, so that memory does not grow with the slices."""


class Planes(Protocol):
    """A volume (X, Y, Z) whose planes are computed or cut out on demand (such as `cases.interpolation.GridImage`)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""

    def planes(self, start: int, stop: int) -> np.ndarray:
        """Return the planes start <= z < stop as a float32 array (X, Y, stop - start)."""

    def level(self, hu: float) -> float:
        """Return what a value in HU is on the planes; -inf where that is not known."""


@dataclass(frozen=True, eq=False)
class Held:
    """A volume (X, Y, Z) in memory."""

    volume: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        return tuple(self.volume.shape)

    def planes(self, start: int, stop: int) -> np.ndarray:
        """Return a view of the planes start <= z < stop."""
        return self.volume[..., start:stop]

    def level(self, hu: float) -> float:
        """Return -inf: nobody said what the values mean."""
        return -math.inf


@dataclass(frozen=True, eq=False)
class Inhabited:
    """A volume that says which of its values are air.

    Attributes:
        image: the volume.
        air_level: what lies at or below it is air.
    """

    image: Planes
    air_level: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        return self.image.shape

    def planes(self, start: int, stop: int) -> np.ndarray:
        """Return the planes start <= z < stop."""
        return self.image.planes(start, stop)


class Padded:
    """A volume with zeros on both sides where it is smaller than a shape.

    Attributes:
        shape: of the padded volume.
        kept: slices where the volume lies in it.
        air_level: what lies at or below it is air; -inf if nobody said.
    """

    def __init__(self, image: Planes, smallest: Sequence[int]) -> None:
        short = [max(0, side - size) for size, side in zip(image.shape, smallest, strict=True)]
        self.air_level = getattr(image, "air_level", -math.inf)
        self.image, self._margins = image, [(s // 2, s - s // 2) for s in short]
        self.shape = tuple(size + s for size, s in zip(image.shape, short, strict=True))
        self.kept = tuple(slice(b, b + n) for (b, _), n in zip(self._margins, image.shape, strict=True))

    def planes(self, start: int, stop: int) -> np.ndarray:
        """Return the planes start <= z < stop of the padded volume."""
        first, last = self.kept[2].start, self.kept[2].stop
        planes = self.image.planes(max(start, first) - first, min(stop, last) - first)
        margins = [*self._margins[:2], (max(0, first - start), max(0, stop - last))]
        return np.pad(planes, margins) if any(map(any, margins)) else planes

    def in_image(self, corner: Sequence[int]) -> Corner:
        """Return a corner on the padded volume in voxels of the volume itself."""
        return tuple(c - kept.start for c, kept in zip(corner, self.kept, strict=True))


@dataclass(frozen=True, eq=False)
class Cropped:
    """Some planes of a volume.

    Attributes:
        image: the volume.
        kept: its planes.
    """

    image: Planes
    kept: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along X, Y, Z."""
        return *self.image.shape[:2], self.kept.stop - self.kept.start

    def planes(self, start: int, stop: int) -> np.ndarray:
        """Return the planes start <= z < stop, counted from the first one kept."""
        return self.image.planes(self.kept.start + start, self.kept.start + stop)

    def level(self, hu: float) -> float:
        """Return what a value in HU is on the planes."""
        return self.image.level(hu)


class SlabStore:
    """Scores that are put away plane by plane and read again.

    Args:
        in_memory: bytes that it may hold in memory; all lie in a temporary file as soon as there are more.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._file = SpooledTemporaryFile(max_size=max(in_memory, 1))  # 0 would be no limit
        self._plane: tuple[int, ...] | None = None

    def __enter__(self) -> SlabStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, slab: np.ndarray) -> None:
        """Put away the next planes, float32 (C, X, Y, n)."""
        self._plane = slab.shape[:3]
        self._file.write(np.ascontiguousarray(np.moveaxis(slab, 3, 0)).data)

    def planes(self, start: int, stop: int) -> np.ndarray:
        """Return the planes start <= z < stop that were put away (C, X, Y, stop - start)."""
        size = math.prod(self._plane) * np.dtype(np.float32).itemsize
        self._file.seek(start * size)
        content = np.frombuffer(self._file.read((stop - start) * size), np.float32)
        return np.moveaxis(content.reshape(-1, *self._plane), 0, 3)
