"""Shape the kidneys and adrenal glands of both sides and the fat around them."""

from __future__ import annotations

import numpy as np

from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.shapes import Field, ellipsoid, rotation, soft_max, soft_min
from flare_core.cases.cohort.space import Space
from flare_core.cases.cohort.structure import Structure


def kidneys(rng: np.random.Generator, patient: Patient) -> tuple[list[Structure], list[Structure]]:
    """Return the perirenal fat of both sides and the kidneys: beans beside the psoas, hilum to front and middle."""
    fat, beans = [], []
    spread = patient.difficulty
    drop = 6 * rng.standard_normal() * spread
    for side, target, name in ((1, 2, "right_kidney"), (-1, 13, "left_kidney")):
        base = np.array([side * 74, -2, -36]) if side > 0 else np.array([side * 75, -5, -27])
        base = base + np.array([0, 0, drop]) + np.array([5, 5, 9]) * rng.standard_normal(3) * spread
        axis = (side * (-0.24 + 0.1 * rng.standard_normal() * spread), -0.22 + 0.1 * rng.standard_normal() * spread, 1)
        frame = rotation(axis, 0.0)
        radii = np.array([28, 25, 55]) * np.exp(0.07 * rng.standard_normal(3) * spread)
        fat.append(_perirenal(base, radii, frame, patient))
        beans += _kidney(rng, patient, (base, radii, frame), (side, target, name))
    return fat, beans


def _perirenal(base, radii, frame, patient: Patient) -> Structure:
    """Fat capsule, thicker behind and below, and in people with much visceral fat."""
    thick = 6 + 14 * patient.visceral
    room = ellipsoid(base + [0, -0.25 * thick, -0.3 * thick], radii + [thick, thick, 1.2 * thick], frame)

    def bounds(space: Space) -> np.ndarray:
        return space.wall + 2

    return Structure("fat around kidney", "fat", room, base[None], radii.max() + thick + 8, bounds=bounds)


def _kidney(rng: np.random.Generator, patient: Patient, shape, side_target_name) -> list[Structure]:
    """One kidney with cortex, medulla and sinus; sometimes a cyst."""
    base, radii, frame = shape
    side, target, name = side_target_name
    spread = patient.difficulty
    inward = np.array([-side * 0.86, 0.5, 0.0])
    hilum = base + inward * rng.uniform(8, 17)
    whole = ellipsoid(base, radii, frame)
    sinus = ellipsoid(
        hilum,
        np.array([14, 9.0, 28]) * np.exp(0.15 * rng.standard_normal(3)),
        rotation((inward[1], -inward[0], 0), np.pi / 2),
    )
    pelvis = ellipsoid(hilum + inward * 8, (6 * rng.uniform(0.5, 1.5), 4, 8))
    cortex, medulla = np.float32(patient.tissues_hu["cortex"]), np.float32(patient.tissues_hu["medulla"])

    def field(space: Space) -> np.ndarray:
        return soft_max(whole(space) + 1.3 * space.lumps * spread, -sinus(space), 5.0)

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        inner = np.clip((-distance - 7 - 2 * space.grain) / 3, 0, 1)
        return cortex + inner * (medulla - cortex)

    parts = [
        Structure(
            name, "cortex", field, base[None], radii.max() + 14, target, None, fill, volume_ml=patient.volumes_ml[name]
        )
    ]
    parts.append(Structure("renal pelvis", "urine", pelvis, hilum[None], 16))
    if rng.random() < 0.3:
        size = rng.uniform(5, 17)
        away = rng.standard_normal(3) * [0.6, 0.6, 0.6] + [side * 0.6, 0, 0]
        place = base + away / np.linalg.norm(away) * radii * 0.95
        parts.append(Structure("renal cyst", "urine", ellipsoid(place, (size, size, size)), place[None], size + 6))
    if rng.random() < 0.15:
        place = hilum - inward * rng.uniform(4, 10) + [0, 0, rng.uniform(-18, 18)]
        parts.append(Structure("renal stone", "cortical_bone", ellipsoid(place, (3.5, 3, 3)), place[None], 8, target))
    return parts


def adrenals(rng: np.random.Generator, patient: Patient) -> tuple[list[Structure], list[Structure]]:
    """Return fat around and both adrenal glands: thin inverted Y shapes above and before the upper kidney poles."""
    fat, glands = [], []
    spread = patient.difficulty
    for side, target, name in ((1, 7, "right_adrenal_gland"), (-1, 8, "left_adrenal_gland")):
        apex = np.array([30, 27, 20]) if side > 0 else np.array([-38, 32, 16])
        apex = apex + np.array([3, 3, 6]) * rng.standard_normal(3) * spread
        opening = rng.uniform(0.25, 0.5)
        limbs = []
        for turn, length in ((-opening, 12), (opening, 10.5)):
            toward = np.array([side * (0.28 + np.sin(turn)), -np.cos(turn), 0.0])
            toward /= np.linalg.norm(toward)
            middle = apex + toward * length
            frame = np.stack([np.array([toward[1], -toward[0], 0]), toward, np.array([0.0, 0.0, 1.0])])
            limbs.append(ellipsoid(middle, (2.4, length + 2, rng.uniform(10, 14)), frame))
        limbs.append(ellipsoid(apex, (3.3, 6, 10)))
        field = _joined(limbs)
        middle = (apex + np.array([side * 4, -12, 0]))[None]
        fat.append(Structure("fat around adrenal", "fat", field, middle, 36, level=4.5))
        glands.append(Structure(name, "adrenal", field, middle, 34, target, volume_ml=patient.volumes_ml[name]))
    return fat, glands


def _joined(fields: list[Field]) -> Field:
    """Unite limbs with filled grooves."""

    def field(space: Space) -> np.ndarray:
        result = fields[0](space)
        for other in fields[1:]:
            result = soft_min(result, other(space), 3.0)
        return result

    return field
