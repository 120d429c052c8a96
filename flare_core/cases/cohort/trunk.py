"""Shape the trunk: skin, muscular wall, body cavity, diaphragm, as functions of canonical coordinates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flare_core.cases.cohort.patient import Patient

HEIGHTS_MM = np.array([-420, -330, -260, -200, -150, -110, -60, 0, 60, 120, 180, 240, 300, 360, 440], float)
CAVITY_HALF_WIDTH = np.array([30, 40, 62, 84, 112, 128, 134, 138, 138, 132, 122, 104, 76, 50, 40], float)
CAVITY_FRONT = np.array([20, 35, 72, 100, 116, 124, 128, 132, 132, 120, 104, 82, 52, 30, 20], float)
CAVITY_BACK = np.array([-10, -20, -42, -40, -28, -34, -46, -62, -72, -80, -84, -82, -66, -40, -30], float)
TRUNK_HALF_WIDTH = np.array([165, 168, 166, 160, 152, 147, 146, 150, 152, 152, 152, 160, 170, 150, 90], float)
TRUNK_FRONT = np.array([60, 72, 92, 112, 127, 135, 139, 143, 144, 134, 122, 106, 84, 64, 50], float)
TRUNK_BACK = np.array([-70, -82, -92, -92, -88, -86, -86, -88, -92, -100, -106, -106, -98, -88, -80], float)


def rim_distance(x, y, half_width, front, back, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the radial distance in mm outside a superellipse and the relative radius (1 on it)."""
    center, half_depth = (front + back) / 2, (front - back) / 2
    y = y - center
    relative = (
        np.abs(x / half_width) ** np.float32(power) + np.abs(y / half_depth) ** np.float32(power)
    ) ** np.float32(1 / power)
    relative = np.maximum(relative, np.float32(1e-3))
    return np.sqrt(x * x + y * y) * (1 - 1 / relative), relative


def _groove(x: np.ndarray, deep_mm: float) -> np.ndarray:
    """The furrow along the spine between the paraspinal muscles."""
    return np.float32(deep_mm) * np.exp(-(x * x) / np.float32(2 * 22.0**2))


@dataclass(frozen=True, eq=False)
class Trunk:
    """One patient's trunk.

    Attributes:
        patient: who it is.
        widen_mm, deepen_mm: how much visceral fat moves the wall outward, sideways and to the front.
        dome_right_mm, dome_left_mm: height of the diaphragm's domes.
        rim_back_mm, rim_front_mm: height of its attachment to the wall.
        steepness: how late the dome falls toward its rim.
        hips_mm: how much wider the hips are than the canonical adult's.
    """

    patient: Patient
    widen_mm: float
    deepen_mm: float
    dome_right_mm: float
    dome_left_mm: float
    rim_back_mm: float
    rim_front_mm: float
    steepness: float
    hips_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, patient: Patient) -> Trunk:
        """Draw the trunk of one patient."""
        spread = patient.difficulty
        right = 90.0  # until the liver is known: `raised`
        return cls(
            patient=patient,
            widen_mm=-4 + 12 * patient.visceral + 3 * rng.standard_normal(),
            deepen_mm=-13 + 50 * patient.visceral + 5 * rng.standard_normal(),
            dome_right_mm=right,
            dome_left_mm=right - 12 + 5 * rng.standard_normal() * spread,
            rim_back_mm=2 + 9 * rng.standard_normal() * spread,
            rim_front_mm=54 + 8 * rng.standard_normal() * spread,
            steepness=float(rng.uniform(4.0, 7.5)),
            hips_mm=(8 if patient.is_female else 0) + 5 * rng.standard_normal(),
        )

    def raised(self, by_mm: float) -> Trunk:
        """Return the trunk with both domes higher, their rim following in part."""
        return replace(
            self,
            dome_right_mm=self.dome_right_mm + by_mm,
            dome_left_mm=self.dome_left_mm + by_mm,
            rim_back_mm=self.rim_back_mm + 0.3 * by_mm,
            rim_front_mm=self.rim_front_mm + 0.6 * by_mm,
        )

    def _profile(self, z: np.ndarray, table: np.ndarray) -> np.ndarray:
        return np.interp(z, HEIGHTS_MM, table).astype(np.float32)

    def _belly(self, z: np.ndarray) -> np.ndarray:
        """Share of the visceral change at each height: full at the belly, none in the chest and pelvis."""
        return self._profile(z, np.array([0, 0, 0.1, 0.4, 0.85, 1, 1, 0.9, 0.6, 0.25, 0.1, 0, 0, 0, 0]))

    def cavity(self, x, y, z) -> tuple[np.ndarray, np.ndarray]:
        """Return the distance outside the cavity's wall and the relative radius."""
        belly = self._belly(z)
        half_width = self._profile(z, CAVITY_HALF_WIDTH) + np.float32(self.widen_mm) * belly
        front = self._profile(z, CAVITY_FRONT) + np.float32(self.deepen_mm) * belly
        return rim_distance(x, y, half_width, front, self._profile(z, CAVITY_BACK), 2.5)

    def muscle(self, x, y, z) -> np.ndarray:
        """Return the distance outside the muscular and bony trunk, skin and subcutaneous fat taken off."""
        belly = self._belly(z)
        hips = self._profile(z, np.array([1, 1, 1, 0.8, 0.4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])) * np.float32(self.hips_mm)
        half_width = self._profile(z, TRUNK_HALF_WIDTH) + np.float32(self.widen_mm) * belly + hips
        front = self._profile(z, TRUNK_FRONT) + np.float32(self.deepen_mm) * belly
        back = self._profile(z, TRUNK_BACK) + _groove(x, 7.0)
        return rim_distance(x, y, half_width, front, back, 2.6)[0]

    def skin(self, x, y, z) -> np.ndarray:
        """Return the distance outside the skin."""
        front_mm, side_mm, back_mm = (np.float32(v) for v in self.patient.subcutaneous_mm)
        belly = self._belly(z)
        hips = self._profile(z, np.array([1.6, 1.6, 1.5, 1.3, 1.15, 1, 0.95, 0.8, 0.65, 0.6, 0.6, 0.6, 0.6, 0.5, 0.5]))
        half_width = self._profile(z, TRUNK_HALF_WIDTH) + np.float32(self.widen_mm) * belly + side_mm * hips
        half_width = half_width + np.float32(self.hips_mm) * (hips - 0.6)
        front = self._profile(z, TRUNK_FRONT) + np.float32(self.deepen_mm) * belly + front_mm * (0.45 + 0.55 * belly)
        back = self._profile(z, TRUNK_BACK) - back_mm * (0.6 + 0.4 * belly)
        return rim_distance(x, y, half_width, front, back + _groove(x, 9.0), 2.35)[0]

    def dome(self, x, y, z, relative: np.ndarray) -> np.ndarray:
        """Return the height in mm above the diaphragm, given the relative radius in the cavity."""
        side = np.clip(x / 48, -1, 1)
        top = np.float32((self.dome_right_mm + self.dome_left_mm) / 2)
        top = top + np.float32((self.dome_right_mm - self.dome_left_mm) / 2) * side - 9 * (1 - np.abs(side))
        rise = np.clip((y + 65) / 190, 0, 1)
        rim = np.float32(self.rim_back_mm) + np.float32(self.rim_front_mm - self.rim_back_mm) * rise
        return z - (top - (top - rim) * np.minimum(relative, 1) ** np.float32(self.steepness))
