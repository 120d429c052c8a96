"""Grow tumors in and beside the organs: number, host, size, shape, contrast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.scanner import Scan
from flare_core.cases.cohort.shapes import Field, ellipsoid, rotation
from flare_core.cases.cohort.space import Space
from flare_core.cases.cohort.structure import Structure

HOSTS = {"liver": 0.30, "right_kidney": 0.12, "left_kidney": 0.12, "pancreas": 0.13, "spleen": 0.03, "stomach": 0.05,
         "colon": 0.06, "node": 0.09, "mesentery": 0.05, "lung base": 0.05}  # fmt: skip
OUTSIDE = {"node": ((-34, 34), (36, 62), (-100, 10)), "mesentery": ((-60, 60), (66, 96), (-120, -50)),
           "lung base": ((-110, 110), (-50, 60), (95, 150))}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tumor:
    """One lesion.

    Attributes:
        host: the organ or region that it grows in.
        center: canonical position in mm.
        field: its shape.
        reach_mm: how far it may reach from its center.
        volume_ml: drawn size.
        contrast_hu: density minus that of its surroundings.
        core_hu: density of the core minus that of the rim; negative for necrosis, 0 for solid lesions.
    """

    host: str
    center: np.ndarray
    field: Field
    reach_mm: float
    volume_ml: float
    contrast_hu: float
    core_hu: float


def draw_tumors(
    rng: np.random.Generator,
    patient: Patient,
    structures: Sequence[Structure],
    space_around: Callable[[np.ndarray, float], Space],
    scan: Scan,
    least: int,
) -> list[Tumor]:
    """Draw `least` (0 or 1) to 3 tumors inside the scanned range; without a least number 86 of 100 patients have any.

    Sizes are log-normal around 12 ml, mostly 3 to 45 ml. Contrast is at least 2.5 times the noise in about 85 of 100
    lesions and 0.6 to 2 times in the rest, the hard tail. Half of the larger ones have a darker, necrotic core.
    """
    tumors = []
    for _ in range(max(least, int(rng.choice(4, p=[0.14, 0.32, 0.30, 0.24])))):
        host, center = _host_in_range(rng, structures, space_around, scan)
        volume = float(np.clip(np.exp(rng.normal(np.log(12.0), 0.75)), 1.5, 90.0))
        if host in ("pancreas", "node", "stomach"):
            volume = min(volume, 35.0)
        if center is not None:
            tumors.append(_tumor(rng, patient, host, center, volume, scan.noise_hu))
    return tumors


def _host_in_range(rng, structures, space_around, scan: Scan) -> tuple[str, np.ndarray | None]:
    """Pick a host and a center at least 10 mm inside the scanned range; gives up after 20 tries."""
    for _ in range(20):
        host = str(rng.choice(list(HOSTS), p=list(HOSTS.values())))
        center = _place(rng, host, structures, space_around)
        if center is not None and scan.lower_mm + 10 < center[2] < scan.upper_mm - 10:
            return host, center
    return host, None


def _place(rng, host: str, structures: Sequence[Structure], space_around) -> np.ndarray | None:
    """Pick a center inside the host, or None where the patient has no such organ."""
    if host in OUTSIDE:
        return np.array([rng.uniform(*side) for side in OUTSIDE[host]])
    organ = next((s for s in structures if s.name == host), None)
    if organ is None:
        return None
    space = space_around(organ.points, organ.reach_mm)
    distance = organ.distance(space)
    deep = np.flatnonzero(distance < min(-3.0, 0.35 * float(distance.min())))
    if len(deep) == 0:
        return None
    pick = int(rng.choice(deep))
    return np.array([part.reshape(-1)[pick] for part in (space.x, space.y, space.z)], float)


def _tumor(rng, patient: Patient, host: str, center: np.ndarray, volume_ml: float, noise_hu: float) -> Tumor:
    """Draw shape and density of one lesion."""
    radius = (volume_ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3)
    radii = radius * np.exp(0.16 * rng.standard_normal(3))
    radii *= radius / np.prod(radii) ** (1 / 3)
    smooth = ellipsoid(center, radii, rotation(tuple(rng.standard_normal(3))))
    rough, fine = np.float32(rng.uniform(0.3, 0.13 * radius + 0.5)), np.float32(rng.uniform(0.2, 0.9))
    if rng.random() < 0.85:
        size = max(2.5 * noise_hu, rng.uniform(40, 90) / patient.difficulty**0.5)
    else:
        size = noise_hu * rng.uniform(0.6, 2.0)
    brighter = host in ("lung base", "node", "mesentery") or rng.random() < (
        0.35 if patient.phase == "arterial" else 0.1
    )
    core = -rng.uniform(20, 55) if rng.random() < 0.55 and volume_ml > 4 else 0.0
    return Tumor(
        host, center, lambda space: smooth(space) + rough * space.lumps + fine * space.grain,
        float(radii.max() * 1.1 + 6), volume_ml, float(size if brighter else -size), core)  # fmt: skip


def surroundings_hu(tumor: Tumor, patient: Patient) -> float:
    """Return the HU that the contrast counts from: the host's; 5 HU in fat and lung, so that nodes are soft tissue."""
    tissue = {"liver": "liver", "spleen": "spleen", "pancreas": "pancreas", "right_kidney": "cortex",
              "left_kidney": "cortex", "stomach": "gastric_wall", "colon": "bowel_wall"}.get(tumor.host)  # fmt: skip
    return patient.tissues_hu[tissue] if tissue else 5.0
