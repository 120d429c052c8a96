"""Shape the upper gut, the part of it that is segmented: esophagus, stomach, duodenum, and what fills them."""

from __future__ import annotations

import numpy as np

from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.shapes import blob_path, smooth_path, tube, under_dome
from flare_core.cases.cohort.space import Space
from flare_core.cases.cohort.structure import Structure


def esophagus(rng: np.random.Generator, patient: Patient, lift_mm: float) -> list[Structure]:
    """Return the esophagus, between trachea and spine, then left and forward through the hiatus to the cardia."""
    spread = patient.difficulty
    radius = 8.2 * np.exp(0.12 * rng.standard_normal() * spread)
    nodes = np.array([
        (-2, -8, 330, radius), (-2, -14, 260, radius), (0, -10, 200, radius), (-3, -2, 160, radius),
        (-9, 12, 128, radius),
        (-17, 28, 102, 1.05 * radius), (-27, 40, 84, 1.15 * radius), (-40, 46, 72, 1.2 * radius)], float)  # fmt: skip
    nodes[4:, 2] += lift_mm * np.array([0.5, 0.75, 0.85, 0.9])
    nodes[:, :2] += rng.standard_normal((8, 2)) * 2.0 * spread
    path = smooth_path(nodes, 2)
    wall = np.float32(patient.tissues_hu["esophagus"])
    content = np.float32(rng.choice([-700.0, -300.0, 15.0]))
    open_where = np.float32(rng.uniform(0.3, 2.5))

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        lumen = np.clip((-distance - 4.5) / 2, 0, 1) * (space.lumps > open_where)
        return wall + lumen * (content - wall)

    around = Structure("fat around esophagus", "fat", tube(path), path[:9, :3], 14, level=2.0)
    return [around, Structure("esophagus", "esophagus", tube(path, 0.85), path[:, :3], 14, 10, None, fill)]


def stomach(rng: np.random.Generator, patient: Patient, lift_mm: float) -> list[Structure]:
    """Return the stomach: fundus under the left dome, body to the front, antrum across to the pylorus."""
    spread = patient.difficulty
    sag = abs(22 * rng.standard_normal() * spread)
    nodes = np.array([
        (-62, 8, 66, 27), (-62, 32, 52, 32), (-66, 62, 32, 30), (-60, 88, 4 - 0.5 * sag, 24), (-32, 98, -20 - sag, 19),
        (0, 96, -30 - 0.8 * sag, 15), (24, 88, -24 - 0.3 * sag, 10)], float)  # fmt: skip
    nodes[:, 2] += lift_mm * np.array([0.9, 0.8, 0.6, 0.3, 0.1, 0, 0])
    nodes[:, 1] *= 0.93 + 0.2 * patient.visceral
    nodes[:, :3] += rng.standard_normal((7, 3)) * 4.5 * spread
    path = smooth_path(nodes, 2)
    field = blob_path(path, 2.0 * spread, 0.5)
    wall_mm = rng.uniform(3.0, 6.5)
    fill = _gastric_fill(rng, patient.tissues_hu["gastric_wall"], wall_mm)
    return [
        Structure(
            "stomach",
            "gastric_wall",
            field,
            path[:, :3],
            48,
            11,
            under_dome(3.0, 3.0, 10.0),
            fill,
            volume_ml=patient.volumes_ml["stomach"],
        )
    ]


def _gastric_fill(rng: np.random.Generator, wall_hu: float, wall_mm: float):
    """Wall, gas that rises to the front, fluid or food behind it, a level between."""
    wall = np.float32(wall_hu)
    level = np.float32(62 + rng.uniform(-25, 50))
    gas = np.float32(rng.uniform(-1000, -930))
    kind = rng.choice(4, p=[0.4, 0.25, 0.15, 0.2])
    fluid = np.float32([rng.uniform(0, 25), rng.uniform(20, 50), rng.uniform(120, 350), rng.uniform(10, 60)][kind])
    crumbs = np.float32([0.0, 18.0, 0.0, 45.0][kind])

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        content = fluid + crumbs * space.grain
        if kind == 3:
            content = np.where(space.grain > 1.1, np.float32(-300), content)
        content = content + np.clip((space.y - level) / 3 + 0.5, 0, 1) * (gas - content)
        lumen = np.clip((-distance - np.float32(wall_mm)) / 2 + 0.5, 0, 1)
        return wall + lumen * (content - wall)

    return fill


def duodenum(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the duodenum: bulb at the pylorus, C around the pancreatic head, across under the mesenteric root."""
    spread = patient.difficulty
    low = 7 * rng.standard_normal() * spread
    nodes = np.array([
        (26, 86, -22, 10), (40, 76, -18, 11), (51, 60, -32, 11), (52, 54, -56 + 0.5 * low, 11), (40, 56, -78 + low, 11),
        (14, 64, -84 + low, 10), (-12, 64, -78 + low, 10),
        (-30, 58, -62 + 0.5 * low, 10), (-36, 66, -46, 10)], float)  # fmt: skip
    nodes[:, :3] += rng.standard_normal((9, 3)) * 2.5 * spread
    path = smooth_path(nodes, 2)
    fill = _duodenal_fill(rng, patient)
    around = Structure("fat around duodenum", "fat", tube(path[5:]), path[5:, :3], 18, level=2.5)
    field = blob_path(path, 1.2 * spread, 0.6)
    return [
        around,
        Structure(
            "duodenum", "bowel_wall", field, path[:, :3], 24, 12, None, fill, volume_ml=patient.volumes_ml["duodenum"]
        ),
    ]


def _duodenal_fill(rng: np.random.Generator, patient: Patient):
    """Collapsed or filled by patches of fluid, gas or contrast."""
    wall = np.float32(patient.tissues_hu["bowel_wall"])
    content = np.float32(rng.choice([12.0, 25.0, 180.0], p=[0.5, 0.35, 0.15]))
    gas_at, open_at = np.float32(rng.uniform(0.8, 2.2)), np.float32(rng.uniform(-1.2, 0.6))

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        lumen = np.clip((-distance - 3.5) / 2, 0, 1) * np.clip((space.lumps - open_at) * 2, 0, 1)
        inside = np.where(space.lumps > gas_at, np.float32(-850), content)
        return wall + lumen * (inside - wall)

    return fill
