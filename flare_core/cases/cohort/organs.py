"""Shape the liver, spleen, pancreas and gallbladder, each in its place among its neighbors."""

from __future__ import annotations

import numpy as np

from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.shapes import (
    blob_path,
    ellipsoid,
    rotation,
    smooth_path,
    soft_max,
    tube,
    under_dome,
)
from flare_core.cases.cohort.space import Space
from flare_core.cases.cohort.structure import Structure
from flare_core.cases.cohort.vessels import hepatic_vessels


def liver(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the liver: the cavity under the right dome down to a tilted visceral surface."""
    spread = patient.difficulty
    slope = np.array([0.55, 0.28, 0.72]) + np.array([0.09, 0.09, 0.08]) * rng.standard_normal(3) * spread
    slope = (slope / np.linalg.norm(slope)).astype(np.float32)
    left_mm = np.float32(np.clip(72 + 20 * rng.standard_normal() * spread, 25, 120))
    back_mm = np.float32(38 + 4 * rng.standard_normal())
    lean = np.float32(np.clip(0.5 + 0.2 * rng.standard_normal() * spread, 0.15, 1.0))
    hilum_mm = (np.array([20, 54, 2]) + np.array([6, 5, 8]) * rng.standard_normal(3) * spread).astype(np.float32)
    lumpy, tail = np.float32(4.0 * spread), np.float32(np.clip(rng.normal(0.0, 0.25), -0.4, 0.6))

    def visceral(space: Space) -> np.ndarray:
        x, y, z = space.x - hilum_mm[0], space.y - hilum_mm[1], space.z - hilum_mm[2]
        hollow = 16 * np.exp(-((space.x - 50) ** 2 + (space.y - 62) ** 2 + (space.z + 8) ** 2) / (2 * 26.0**2))
        reach = tail * np.clip((space.x - 80) / 50, 0, 1) * 40
        medial = hollow - slope[0] * x - slope[1] * y - slope[2] * z + lumpy * space.lumps
        lower = -reach - 0.55 * x - 0.1 * y - 0.83 * z + lumpy * space.lumps
        return soft_max(3 * medial, lower, 20.0)  # growing moves the lower edge thrice as far as the one at the hilum

    def room(space: Space) -> np.ndarray:
        body = soft_max(space.wall + 1.5, space.dome + 2, 8.0)
        behind = np.minimum(back_mm - space.y - 1.5 * space.x, back_mm - space.y - lean * space.x) * np.float32(0.7)
        return soft_max(soft_max(body, behind, 12.0), -(space.x + left_mm), 14.0)

    tree, nodes = hepatic_vessels(rng)
    portal = patient.tissues_hu["portal_blood"]
    parenchyma = np.float32(patient.tissues_hu["liver"])
    vessel = np.float32(portal if patient.phase != "arterial" else 0.5 * (portal + parenchyma))

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        share = np.clip(0.5 - tree(space) / 3, 0, 1)
        return parenchyma + 1.2 * space.lumps * spread + share * (vessel - parenchyma)

    corners = np.array([[-95, 30, 20], [130, 60, -110], [60, 20, 125], [60, 120, 40], [80, -60, 40]])
    cleft = ellipsoid(
        np.array([10, 92, 8]) + 6 * rng.standard_normal(3) * spread,
        (rng.uniform(1.5, 4.5), 24, 26),
        rotation((0.1, -0.5, 1)),
    )
    hilum = ellipsoid(np.array([34, 60, 14]) + 4 * rng.standard_normal(3), (20, 5 + 4 * patient.visceral, 8))
    return [
        Structure("liver", "liver", visceral, corners, 25, 1, room, fill, volume_ml=patient.volumes_ml["liver"]),
        Structure("fat of ligament", "fat", cleft, np.array([[10, 92, 8]]), 40),
        Structure("fat of hilum", "fat", hilum, np.array([[34, 60, 14]]), 34),
    ]


def spleen(rng: np.random.Generator, patient: Patient, lift_mm: float) -> list[Structure]:
    """Return the spleen: a lens inside the left wall, long axis along the tenth rib; the dome lifts it."""
    spread = patient.difficulty
    center = np.array([-126, -43, 32 + 0.8 * lift_mm]) + np.array([5, 9, 8]) * rng.standard_normal(3) * spread
    frame = rotation((0.12, 0.34 + 0.2 * rng.standard_normal() * spread, -0.8))
    radii = np.array([34, 40, 58]) * np.exp(0.10 * rng.standard_normal(3) * spread)
    smooth = ellipsoid(center, radii, frame)

    def field(space: Space) -> np.ndarray:
        return smooth(space) + 1.5 * space.lumps * spread

    mottled = patient.phase == "arterial"
    density = np.float32(patient.tissues_hu["spleen"])

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        return density + (28 * np.sin(3 * space.grain) if mottled else 1.5 * space.lumps)

    parts = [
        Structure(
            "spleen",
            "spleen",
            field,
            center[None],
            96,
            3,
            under_dome(2.0, 2.0, 10.0),
            fill,
            volume_ml=patient.volumes_ml["spleen"],
        )
    ]
    if rng.random() < 0.15:
        place = center + [28, 34, -26]
        parts.append(Structure("accessory spleen", "spleen", ellipsoid(place, (7, 7, 7)), place[None], 12))
    return parts


def pancreas(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the pancreas: head in the duodenal C, body over the aorta, tail up to the splenic hilum."""
    spread = patient.difficulty
    lift = 7 * rng.standard_normal() * spread
    nodes = np.array([
        (20, 58, -58, 8), (29, 60, -40, 13), (24, 66, -24, 12), (6, 71, -12, 9), (-18, 70, -2 + lift, 9.5),
        (-44, 56, 6 + 1.2 * lift, 10), (-68, 36, 14 + 1.4 * lift, 10.5),
        (-88, 14, 22 + 1.5 * lift, 8)], float)  # fmt: skip
    nodes[:, :3] += rng.standard_normal((8, 3)) * 2.5 * spread
    path = smooth_path(nodes, 2)
    lobules = float(rng.uniform(0.4, 2.2))
    field = blob_path(path, 1.4 * spread, lobules)
    density, fat = np.float32(patient.tissues_hu["pancreas"]), np.float32(patient.tissues_hu["fat"])
    lace = np.float32(rng.uniform(0, 0.3))

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        return density + np.clip(space.grain - 0.4, 0, 1) * lace * (fat - density)

    around = Structure("fat around pancreas", "fat", tube(path), path[:, :3], 24, level=5.0)
    return [
        around,
        Structure(
            "pancreas", "pancreas", field, path[:, :3], 26, 4, None, fill, volume_ml=patient.volumes_ml["pancreas"]
        ),
    ]


def gallbladder(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the gallbladder, a pear in the fossa under the liver; removed in one of twelve patients."""
    if rng.random() < 1 / 12:
        return []
    end = np.array([76, 98, -36]) + np.array([8, 8, 12]) * rng.standard_normal(3) * patient.difficulty
    nodes = np.array(
        [
            (46, 62, -4, 4),
            (54, 68, -12, 8),
            (0.5 * (58 + end[0]), 0.5 * (70 + end[1]), 0.5 * (end[2] - 14), 12),
            (*end, 13),
        ]
    )
    path = smooth_path(nodes, 2)
    bile = np.float32(patient.tissues_hu["bile"] + (rng.uniform(10, 60) if rng.random() < 0.08 else 0))
    stones = rng.random() < 0.12

    def fill(space: Space, distance: np.ndarray) -> np.ndarray:
        content = np.where(distance > -1.5, bile + 14, bile)
        return np.where(stones & (space.grain > 1.3) & (distance < -3), np.float32(110), content)

    return [
        Structure(
            "gallbladder",
            "bile",
            tube(path),
            path[:, :3],
            24,
            9,
            None,
            fill,
            volume_ml=patient.volumes_ml["gallbladder"],
        )
    ]
