"""Draw smooth random fields that are the same function of millimeters on every grid.

Second step of the cohort, after `patient`: a patient's warp, the lumps of organ surfaces and the texture of bowel
contents are cubic B-splines over random knots. A grid only decides where such a field is sampled, never what it is, so
the same patient looks alike at 8 mm, at 4 mm and in slabs of a full-size scan.

Reference:
    Rueckert et al. 1999, Nonrigid registration using free-form deformations (the tensor-product B-spline).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LOW_MM = np.array([-330.0, -260.0, -420.0])
HIGH_MM = np.array([330.0, 300.0, 440.0])


def _weights(positions_mm: np.ndarray, first_mm: float, knot_mm: float, knots: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the four knots that each position hangs on and their cubic weights, both (positions, 4).

    Outside the knots the border value goes on.
    """
    place = np.clip((positions_mm - first_mm) / knot_mm, 1.0, knots - 2.001)
    index = np.floor(place).astype(int)
    t = place - index
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    return index[:, None] + np.arange(-1, 3), weights.astype(np.float32)


def _basis(positions_mm: np.ndarray, first_mm: float, knot_mm: float, knots: int) -> np.ndarray:
    """Return the weights as a table of shape (positions, knots), float32."""
    index, weights = _weights(positions_mm, first_mm, knot_mm, knots)
    table = np.zeros((len(index), knots), np.float32)
    np.put_along_axis(table, index, weights, axis=1)
    return table


@dataclass(frozen=True, eq=False)
class SplineField:
    """A smooth vector or scalar field over the patient's space.

    Attributes:
        knot_mm: distance of the knots.
        coefficients: float32, shape (channels, knots x, knots y, knots z).
    """

    knot_mm: float
    coefficients: np.ndarray

    @staticmethod
    def knot_positions(knot_mm: float) -> tuple[np.ndarray, ...]:
        """Return the positions in mm of the knots along x, y and z."""
        return tuple(
            low + knot_mm * (np.arange(int(np.ceil((high - low) / knot_mm)) + 4) - 1)
            for low, high in zip(LOW_MM, HIGH_MM, strict=True)
        )

    @classmethod
    def random(cls, rng: np.random.Generator, knot_mm: float, channels: int = 1) -> SplineField:
        """Draw a field of standard deviation about 1 in each channel."""
        shape = tuple(len(axis) for axis in cls.knot_positions(knot_mm))
        white = rng.standard_normal((channels, *shape), dtype=np.float32)
        return cls(knot_mm, white / np.float32(0.32))  # cubic B-spline weights shrink white noise to 0.69**3 = 0.33

    def on_grid(self, axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
        """Sample the field on the grid spanned by three 1-D arrays of positions in mm.

        Returns:
            float32 array of shape (channels, X, Y, Z); an empty axis gives an empty array.
        """
        values = self.coefficients
        for axis in range(3):
            first = LOW_MM[axis] - self.knot_mm
            table = _basis(axes_mm[axis], first, self.knot_mm, self.coefficients.shape[axis + 1])
            values = np.tensordot(values, table, axes=(1, 1))  # the sampled axis moves to the end: x, y, z in turn
        return values

    def at_points(self, points_mm: np.ndarray) -> np.ndarray:
        """Sample the field at single points of shape (N, 3), in mm. Returns shape (N, channels)."""
        (ix, wx), (iy, wy), (iz, wz) = (
            _weights(points_mm[:, axis], LOW_MM[axis] - self.knot_mm, self.knot_mm, self.coefficients.shape[axis + 1])
            for axis in range(3)
        )
        near = self.coefficients[:, ix[:, :, None, None], iy[:, None, :, None], iz[:, None, None, :]]
        near = (near * wz[:, None, None, :]).sum(-1)
        return ((near * wy[:, None, :]).sum(-1) * wx).sum(-1).T
