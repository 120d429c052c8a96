"""Hold the header fields that place a volume, so that what was read can be written again to the last bit.

Serves `Geometry`: a value without decisions; which of the two forms counts is decided in `placement`.

References:
    NIfTI-1 standard, nifti1.h, "3D image (volume) orientation and location in space" (methods 1 to 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimeters per unit, by the spatial code in `xyzt_units`: unknown (taken as mm), meter, millimeter, micron."""


@dataclass(frozen=True)
class HeaderForms:
    """The header fields that place a volume, exactly as stored (in the file's own unit), so that they can be rewritten.

    Attributes:
        version: 1 or 2, the NIfTI version.
        pixdim: qfac, then the voxel edge lengths of the three stored axes.
        quaternion: b, c, d of the qform's rotation.
        qoffset: translation of the qform.
        srow: the 12 numbers of the sform's first three rows.
        qform_code, sform_code: 0 means that the form is not to be used.
        unit: spatial code of `xyzt_units`, see `UNIT_MM`.
    """

    version: int
    pixdim: tuple[float, float, float, float]
    quaternion: tuple[float, float, float]
    qoffset: tuple[float, float, float]
    srow: tuple[float, ...]
    qform_code: int
    sform_code: int
    unit: int

    @property
    def unit_mm(self) -> float:
        """Millimeters per stored unit; an undefined code counts as millimeters."""
        return UNIT_MM.get(self.unit, 1.0)

    @property
    def zooms_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths of the stored axes in mm (float64 of the header's float32)."""
        return tuple(float(abs(zoom) * self.unit_mm) for zoom in self.pixdim[1:])

    @property
    def sform(self) -> np.ndarray:
        """The sform as a (4, 4) float64 matrix from stored voxel to mm, whatever its code."""
        matrix = np.eye(4)
        matrix[:3] = np.reshape(self.srow, (3, 4))
        matrix[:3] *= self.unit_mm
        return matrix

    @property
    def qform(self) -> np.ndarray:
        """The qform as a (4, 4) float64 matrix from stored voxel to mm, whatever its code.

        NaN throughout the rotation where the stored quaternion is longer than 1 beyond rounding.
        """
        vector = np.array(self.quaternion)
        rest = 1.0 - vector @ vector
        if rest < -1e-4:
            a = np.nan
        else:  # float32 rounding must not tilt a rotation by half a turn: its a is 0
            a = 0.0 if rest < 3 * np.finfo(np.float32).eps else np.sqrt(rest)
        a, b, c, d = np.array([a, *vector]) / np.sqrt(a * a + vector @ vector)
        rotation = np.array(
            [
                [1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)],
            ]
        )
        rotation[:, 2] *= -1 if self.pixdim[0] < 0 else 1  # qfac; 0 means 1 by the standard
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * self.zooms_mm
        matrix[:3, 3] = np.multiply(self.qoffset, self.unit_mm)
        return matrix
