"""Fill the rest of the cavity: colon, small bowel, bladder, rectum, heart, so that no organ sits in empty fat."""

from __future__ import annotations

import numpy as np

from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.shapes import blob_path, ellipsoid, rotation, smooth_path, soft_max, tube, under_dome
from flare_core.cases.cohort.space import Space
from flare_core.cases.cohort.structure import Structure


def spread_by_fat(patient: Patient) -> np.ndarray:
    """Return how far visceral fat pushes the bowel apart, along x and y."""
    return np.array([0.95 + 0.1 * patient.visceral, 0.9 + 0.28 * patient.visceral])


def colon(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the colon as a frame of haustrated tubes with stool, gas, fluid or contrast."""
    spread = patient.difficulty
    wide = np.exp(0.18 * rng.standard_normal() * spread)
    sag = rng.uniform(-10, 55)
    nodes = np.array([
        (80, 48, -168, 26), (92, 36, -140, 27), (102, 26, -100, 24), (104, 30, -66, 23), (86, 66, -56, 22),
        (56, 104, -62 - 0.5 * sag, 22), (10, 114, -60 - sag, 22), (-44, 112, -36 - 0.7 * sag, 22), (-84, 88, 6, 22),
        (-106, 50, 34, 22), (-112, 16, 0, 19), (-108, 4, -60, 16), (-104, 8, -110, 15), (-92, 28, -155, 15),
        (-58, 52, -190, 15), (-20, 40, -186, 16), (2, 16, -196, 17), (0, -10, -225, 20),
        (0, -26, -265, 19), (0, -30, -300, 12)], float)  # fmt: skip
    nodes[:, :2] *= spread_by_fat(patient)
    nodes[:, :3] += rng.standard_normal((20, 3)) * 6 * spread
    nodes[:, 3] *= wide * np.exp(0.14 * rng.standard_normal(20))
    path = smooth_path(nodes, 3)
    round_tube = tube(path)
    fill = _stool(rng, patient)

    def field(space: Space) -> np.ndarray:
        return round_tube(space) + 2.8 * space.lumps + 0.8 * space.grain

    bounds = under_dome(3.0, 4.0, 8.0)
    return [Structure("colon", "bowel_wall", field, path[:, :3], 44, bounds=bounds, fill=fill)]


def _stool(rng: np.random.Generator, patient: Patient):
    """Wall, then stool full of small gas pockets, with gas in front; or fluid; or oral contrast."""
    wall = np.float32(patient.tissues_hu["bowel_wall"])
    kind = rng.choice(3, p=[0.72, 0.16, 0.12])
    base = np.float32([rng.uniform(20, 70), rng.uniform(5, 25), rng.uniform(150, 450)][kind])
    pockets = np.float32([rng.uniform(0.2, 1.0), 9.0, 1.3][kind])
    gas_at = np.float32(rng.uniform(0.2, 1.8))

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        content = base + np.clip((space.grain - pockets) * 1.4, 0, 1) * np.float32(-520)
        gas = np.clip((space.lumps + (space.y - 60) / 60 - gas_at) * 4, 0, 1)
        content = content + gas * (np.float32(-980) - content)
        lumen = np.clip((-distance - 2.5) / 2, 0, 1)
        return wall + lumen * (content - wall)

    return fill


def small_bowel(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return jejunum and ileum: meandering chains of loops in front of the retroperitoneum, up to the stomach."""
    chains = []
    wider = np.array([*spread_by_fat(patient), 1.0])
    low, high = np.array([-92, 34, -225]) * wider, np.array([90, 108, -30]) * wider
    for start in range(11):
        place = low + (high - low) * rng.random(3)
        if start < 4:
            place = np.array([rng.uniform(-90, -35), rng.uniform(35, 100), rng.uniform(-60, 30)])
        heading = rng.standard_normal(3)
        radius = rng.uniform(8.5, 13.5)
        nodes = []
        for _ in range(26):
            heading = 0.72 * heading + 0.75 * rng.standard_normal(3) * [1.2, 0.9, 0.8]
            place = place + heading / np.linalg.norm(heading) * 17
            top = high.copy()
            top[2] = 34.0 if place[0] < -35 else high[2]
            heading = np.where(
                (place < low) | (place > top),
                -np.sign(place - (low + top) / 2) * np.abs(heading) - 0.1 * heading,
                heading,
            )
            place = np.clip(place, low, top)
            nodes.append((*place, radius * np.exp(0.12 * rng.standard_normal())))
        path = smooth_path(nodes, 2)
        bounds = under_dome(4.0, 6.0, 6.0)
        field = blob_path(path, 0.0, 1.2)
        chains.append(
            Structure("small bowel", "bowel_wall", field, path[:, :3], 22, bounds=bounds, fill=_chyme(rng, patient))
        )
    return chains


def _chyme(rng: np.random.Generator, patient: Patient):
    """Wall and fluid, some gas, sometimes contrast; or a collapsed loop."""
    wall = np.float32(patient.tissues_hu["bowel_wall"])
    content = np.float32(rng.choice([12.0, 28.0, 220.0], p=[0.5, 0.38, 0.12]))
    gas_at = np.float32(rng.uniform(1.0, 2.6))
    thick = np.float32(rng.uniform(2.5, 7.0))

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        inside = np.where(space.lumps + (space.y - 70) / 60 > gas_at, np.float32(-900), content)
        lumen = np.clip((-distance - thick) / 2, 0, 1)
        return wall + lumen * (inside - wall)

    return fill


def pelvic_organs(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the bladder, more or less full, and the uterus or prostate behind and below it."""
    fullness = rng.uniform(0.6, 1.35)
    bladder = np.array([0, 48, -240 + 12 * fullness])
    radii = np.array([42, 34, 34]) * fullness
    below = np.array([0, 22, -238]) if patient.is_female else np.array([0, 30, -278])
    size = np.array([26, 24, 32]) if patient.is_female else np.array([24, 19, 19])
    return [
        Structure("uterus or prostate", "bowel_wall", ellipsoid(below, size), below[None], 40),
        Structure("bladder", "urine", ellipsoid(bladder, radii), bladder[None], 62),
    ]


def heart(rng: np.random.Generator, patient: Patient, lift_mm: float) -> list[Structure]:
    """Return the pericardial fat and the heart on the left dome, chambers brighter than its wall when enhanced."""
    center = np.array([-22, 48, 138 + 0.8 * lift_mm]) + 5 * rng.standard_normal(3) * patient.difficulty
    frame = rotation((-0.7, 0.62, -0.35))
    radii = np.array([42, 44, 58]) * np.exp(0.06 * rng.standard_normal(3))
    whole = ellipsoid(center, radii, frame)

    def bounds(space: Space) -> np.ndarray:
        return soft_max(space.wall + 3, -(space.dome - 2), 8.0)

    wall, blood = np.float32(patient.tissues_hu["muscle"]), np.float32(patient.tissues_hu["heart"])
    if patient.phase != "unenhanced":
        wall = 0.45 * wall + 0.55 * blood

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        inside = np.clip((-distance - 11) / 3, 0, 1) * (np.abs(space.lumps) > 0.25)
        return wall + inside * (blood - wall)

    around = Structure("pericardial fat", "fat", whole, center[None], 78, bounds=bounds, level=8.0)
    return [around, Structure("heart", "heart", whole, center[None], 72, bounds=bounds, fill=fill)]
