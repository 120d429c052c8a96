"""Shape the solid and hollow organs of the upper abdomen, each in its place among its neighbors."""

from __future__ import annotations

import numpy as np

from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.shapes import (
    Field,
    blob_path,
    ellipsoid,
    rotation,
    smooth_path,
    soft_max,
    soft_min,
    tube,
)
from flare_core.cases.cohort.space import Space
from flare_core.cases.cohort.structure import Structure
from flare_core.cases.cohort.vessels import hepatic_vessels


def under_dome(gap_mm: float) -> Field:
    """Return the room below the diaphragm and inside the wall, less a gap."""
    gap = np.float32(gap_mm)
    return lambda space: soft_max(space.wall + gap, space.dome + gap, 10.0)


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
    """Return the spleen: a lens on the inner side of the left wall, long axis along the tenth rib; the dome lifts it."""
    spread = patient.difficulty
    center = np.array([-126, -43, 32 + 0.8 * lift_mm]) + np.array([5, 9, 8]) * rng.standard_normal(3) * spread
    frame = rotation((0.12, 0.34 + 0.2 * rng.standard_normal() * spread, -0.8))
    radii = np.array([34, 40, 58]) * np.exp(0.10 * rng.standard_normal(3) * spread)
    smooth = ellipsoid(center, radii, frame)
    field = lambda space: smooth(space) + 1.5 * space.lumps * spread  # noqa: E731
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
            under_dome(2.0),
            fill,
            volume_ml=patient.volumes_ml["spleen"],
        )
    ]
    if rng.random() < 0.15:
        place = center + [28, 34, -26]
        parts.append(Structure("accessory spleen", "spleen", ellipsoid(place, (7, 7, 7)), place[None], 12))
    return parts


def kidneys(rng: np.random.Generator, patient: Patient) -> tuple[list[Structure], list[Structure]]:
    """Return the perirenal fat of both sides and the kidneys: beans beside the psoas, their hilum to front and middle."""
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
    bounds = lambda space: space.wall + 2  # noqa: E731
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


def pancreas(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the pancreas: head in the duodenal C, body over the aorta, tail up to the splenic hilum."""
    spread = patient.difficulty
    lift = 7 * rng.standard_normal() * spread
    nodes = np.array([
        (20, 58, -58, 8), (29, 60, -40, 13), (24, 66, -24, 12), (6, 71, -12, 9), (-18, 70, -2 + lift, 9.5),
        (-44, 56, 6 + 1.2 * lift, 10), (-68, 36, 14 + 1.4 * lift, 10.5), (-88, 14, 22 + 1.5 * lift, 8)], float)  # fmt: skip
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


def esophagus(rng: np.random.Generator, patient: Patient, lift_mm: float) -> list[Structure]:
    """Return the esophagus, between trachea and spine, then left and forward through the hiatus to the cardia."""
    spread = patient.difficulty
    radius = 8.2 * np.exp(0.12 * rng.standard_normal() * spread)
    nodes = np.array([
        (-2, -8, 330, radius), (-2, -14, 260, radius), (0, -10, 200, radius), (-3, -2, 160, radius), (-9, 12, 128, radius),
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


def hollow_fill(rng: np.random.Generator, wall_hu: float, wall_mm: float, tilt_point: np.ndarray):
    """Return the fill of a stomach or duodenum: wall, gas that rises to the front, fluid or food below, a level between."""
    wall = np.float32(wall_hu)
    level = np.float32(tilt_point[1] + rng.uniform(-25, 50))
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
    fill = hollow_fill(rng, patient.tissues_hu["gastric_wall"], wall_mm, np.array([0, 62, 0]))
    return [
        Structure(
            "stomach",
            "gastric_wall",
            field,
            path[:, :3],
            48,
            11,
            under_dome(3.0),
            fill,
            volume_ml=patient.volumes_ml["stomach"],
        )
    ]


def duodenum(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the duodenum: bulb at the pylorus, C around the pancreatic head, across under the mesenteric root."""
    spread = patient.difficulty
    low = 7 * rng.standard_normal() * spread
    nodes = np.array([
        (26, 86, -22, 10), (40, 76, -18, 11), (51, 60, -32, 11), (52, 54, -56 + 0.5 * low, 11), (40, 56, -78 + low, 11),
        (14, 64, -84 + low, 10), (-12, 64, -78 + low, 10), (-30, 58, -62 + 0.5 * low, 10), (-36, 66, -46, 10)], float)  # fmt: skip
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
