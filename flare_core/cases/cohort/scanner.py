"""Image the patient: which phase, range and voxels a source uses, and the noise, blur and streaks of its scanner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from flare_core.cases.cohort.patient import PHASES


@dataclass(frozen=True)
class Source:
    """What the cases of one annotation group have in common: hospitals differ, and networks notice.

    Attributes:
        phases: share of unenhanced, arterial, portal venous and delayed scans.
        ranges: share of each scanned range (keys of RANGES_MM).
        slice_factor: lowest and highest slice thickness relative to the pixel size.
        noise_hu: lowest and highest noise.
        narrow: share of scans whose field of view cuts the patient's sides.
        axes: stored orientations.
    """

    phases: tuple[float, float, float, float]
    ranges: dict[str, float]
    slice_factor: tuple[float, float]
    noise_hu: tuple[float, float]
    narrow: float
    axes: tuple[str, ...]


# lower and upper end in canonical mm, each (mean, standard deviation)
RANGES_MM = {
    "abdomen": ((-150, 25), (128, 14)),
    "upper abdomen": ((-95, 14), (124, 12)),
    "abdomen and pelvis": ((-295, 12), (124, 14)),
    "below the dome": ((-290, 15), (52, 18)),
    "chest and abdomen": ((-120, 25), (275, 22)),
    "chest to pelvis": ((-300, 12), (290, 20)),
}

SOURCES = {
    "organs13": Source(
        (0.25, 0.15, 0.5, 0.1),
        {"abdomen": 0.3, "abdomen and pelvis": 0.45, "below the dome": 0.15, "chest to pelvis": 0.1},
        (0.75, 1.25), (8, 18), 0.05, ("LPS", "RAS")),
    "organs5": Source(
        (0.2, 0.3, 0.4, 0.1),
        {"abdomen": 0.5, "upper abdomen": 0.15, "abdomen and pelvis": 0.25, "below the dome": 0.1},
        (0.75, 1.5), (8, 22), 0.1, ("LPS", "PSR", "IPL")),
    "tumor_only": Source(
        (0.15, 0.15, 0.6, 0.1),
        {"abdomen and pelvis": 0.4, "chest to pelvis": 0.35, "chest and abdomen": 0.25},
        (1.0, 1.6), (10, 24), 0.03, ("LPS", "LAS")),
    "unlabeled": Source(
        (0.3, 0.15, 0.45, 0.1),
        {"abdomen": 0.25, "upper abdomen": 0.1, "abdomen and pelvis": 0.35, "below the dome": 0.1,
         "chest and abdomen": 0.1, "chest to pelvis": 0.1},
        (0.75, 1.6), (8, 26), 0.08, ("LPS", "RAS", "RPI", "PSR")),
}  # fmt: skip


@dataclass(frozen=True)
class Scan:
    """How one case is scanned.

    Attributes:
        phase: contrast phase.
        range_name: scanned range.
        lower_mm, upper_mm: its ends in canonical mm.
        pixel_mm, slice_mm: voxel size.
        extent_mm: width and depth of the field of view.
        center_mm: its center in canonical x and y.
        noise_hu: standard deviation of the noise in soft tissue.
        sharpness: -1 (smooth kernel) to 1 (sharp kernel).
        axes: stored orientation.
        has_table, has_arms: what else lies in the field of view.
        streaks_hu: strength of horizontal streaks.
    """

    phase: str
    range_name: str
    lower_mm: float
    upper_mm: float
    pixel_mm: float
    slice_mm: float
    extent_mm: tuple[float, float]
    center_mm: tuple[float, float]
    noise_hu: float
    sharpness: float
    axes: str
    has_table: bool
    has_arms: bool
    streaks_hu: float


def draw_scan(rng: np.random.Generator, source: Source, pixel_mm: tuple[float, float], difficulty: float) -> Scan:
    """Draw the scan of one case from its source."""
    name = str(rng.choice(list(source.ranges), p=list(source.ranges.values())))
    (low, low_sd), (high, high_sd) = RANGES_MM[name]
    pixel = float(rng.uniform(*pixel_mm))
    is_narrow = rng.random() < source.narrow
    width = rng.uniform(270, 310) if is_narrow else rng.uniform(350, 450)
    return Scan(
        phase=str(rng.choice(PHASES, p=source.phases)),
        range_name=name,
        lower_mm=float(low + low_sd * rng.standard_normal()),
        upper_mm=float(high + high_sd * rng.standard_normal()),
        pixel_mm=pixel,
        slice_mm=float(pixel * rng.uniform(*source.slice_factor)),
        extent_mm=(float(width), float(width * rng.uniform(0.72, 0.95))),
        center_mm=(float(rng.normal(0, 8)), float(rng.normal(28, 10))),
        noise_hu=float(rng.uniform(*source.noise_hu) * difficulty**0.5),
        sharpness=float(rng.uniform(-1, 1)),
        axes=str(rng.choice(source.axes)),
        has_table=bool(rng.random() < 0.7),
        has_arms=bool(rng.random() < 0.15),
        streaks_hu=float(rng.exponential(2.0)),
    )


def noise(rng: np.random.Generator, shape: tuple[int, int, int], scan: Scan) -> np.ndarray:
    """Return noise in HU with a grain in the slice and horizontal streaks, float32 of shape (X, Y, Z)."""
    if 0 in shape:
        return np.zeros(shape, np.float32)
    field = rng.standard_normal(shape, dtype=np.float32)
    grain = 0.52 - 0.22 * scan.sharpness
    for axis in (0, 1):
        field = gaussian_filter1d(field, grain, axis=axis, mode="wrap", truncate=3)
    field *= np.float32(scan.noise_hu / max(float(field.std()), 1e-6))
    lines = rng.standard_normal((1, shape[1], shape[2]), dtype=np.float32)
    return field + np.float32(scan.streaks_hu) * lines
