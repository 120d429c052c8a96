"""Build spine, ribs, pelvis and the muscles along them: what the organs lean on and what networks must not mistake."""

from __future__ import annotations

import numpy as np

from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.shapes import ellipsoid, rotation, smooth_path, soft_max, tube, union
from flare_core.cases.cohort.structure import Structure
from flare_core.cases.cohort.trunk import Trunk

# z of each vertebral body's middle, y of it (lordosis, kyphosis), half width, half depth, half height; mm
VERTEBRAE = {
    "T4": (232, -44, 15, 12, 10), "T5": (209, -42, 15, 13, 10), "T6": (185, -40, 16, 14, 11),
    "T7": (161, -37, 16, 15, 11), "T8": (137, -33, 17, 15, 11), "T9": (112, -27, 18, 16, 12),
    "T10": (87, -19, 19, 16, 12), "T11": (60, -10, 20, 16, 13), "T12": (31, -4, 21, 17, 13),
    "L1": (0, 0, 22, 17, 13.5), "L2": (-33, 8, 23, 17, 14), "L3": (-67, 15, 24, 17.5, 14),
    "L4": (-101, 18, 25, 18, 14), "L5": (-135, 12, 26, 18, 14),
}  # fmt: skip


def _bone(shell_hu_key: str, tissues: dict[str, float], shell_mm: float):
    """Fill with a cortical shell around marrow that is spotted by trabecular texture."""

    def fill(space, distance):
        inside = np.clip((-distance - np.float32(shell_mm)) / 2.5 + 0.5, 0, 1)
        marrow = np.float32(tissues["marrow"]) * (1 + 0.12 * space.grain)
        return np.float32(tissues[shell_hu_key]) * (1 - inside) + marrow * inside

    return fill


def spine(patient: Patient) -> list[Structure]:
    """Return the vertebrae with arches and processes, the discs, the canal."""
    tissues = patient.tissues_hu
    column = np.array([(0, y, z) for z, y, *_ in VERTEBRAE.values()], float)
    rough = _bone("cortical_bone", tissues, 1.4)
    parts = [Structure("discs", "disc", tube(np.column_stack([smooth_path(column, 2), np.full(27, 17.5)])), column, 28)]
    canal = smooth_path(column + [0, -26, 0], 2)
    for level, (z, y, wide, deep, high) in VERTEBRAE.items():
        body = _vertebral_body((0, y, z), (wide, deep, high))
        parts.append(Structure(level, "marrow", body, np.array([[0, y, z]]), 32, fill=rough))
        is_lumbar = level.startswith("L")
        reach = 40 if is_lumbar else 33
        tip = y - (56 if is_lumbar else 50)
        drop = 10 if is_lumbar else 24
        arch = []
        for side in (-1, 1):
            pedicle = [(side * 13, y - 8, z + 4, 5), (side * 16, y - 26, z + 2, 6), (side * 5, y - 38, z - 8, 5)]
            process = [(side * 15, y - 24, z + 2, 5), (side * reach, y - (28 if is_lumbar else 36), z + 3, 3.5)]
            facet = [(side * 17, y - 30, z + 8, 6.5), (side * 16, y - 32, z - 16, 6.5)]
            arch += [tube(np.array(pedicle)), tube(np.array(process)), tube(np.array(facet))]
        arch.append(tube(np.array([(0, y - 38, z - 6, 4.5), (0, tip, z - drop, 5.5)])))
        points = np.array([[-reach, tip, z - drop], [reach, y, z + 8]])
        parts.append(
            Structure(f"{level} arch", "marrow", union(*arch), points, 10, fill=_bone("cortical_bone", tissues, 1.5))
        )
    parts.append(Structure("canal", "disc", tube(np.column_stack([canal, np.full(27, 8.5)])), canal, 10, fill=_canal))
    return parts


def _canal(space, distance):
    """Cord and fluid in a rim of fat."""
    return np.where(distance < -3, np.float32(30), np.float32(-20))


def _vertebral_body(center, radii):
    """A waisted box with round corners."""
    round_body = ellipsoid(center, (radii[0], radii[1], 60))

    def field(space):
        return soft_max(round_body(space), np.abs(space.z - np.float32(center[2])) - np.float32(radii[2]), 4.0)

    return field


def ribs(patient: Patient, trunk: Trunk) -> list[Structure]:
    """Return the ribs 4 to 12 of both sides, steep around the wall, their cartilage, the sternum."""
    fill = _bone("cortical_bone", patient.tissues_hu, 1.5)
    parts = []
    for number in range(4, 13):
        z, y = VERTEBRAE[f"T{number}"][:2]
        sweep = {11: 105, 12: 72}.get(number, 128)
        angles = np.radians(np.linspace(24, sweep, 11 if number < 11 else 7))
        fall = (angles - angles[0]) / np.radians(100) * (62 + 4 * (number - 4)) + 6
        heights = z + 6 - fall
        for side in (-1, 1):
            points = _along_wall(trunk, side, angles, heights, outward_mm=5.0)
            points[0] = side * 20, y - 24, z + 4
            path = np.column_stack([points, np.full(len(points), 5.0)])
            parts.append(Structure(f"rib {number}", "marrow", tube(path), points, 10, fill=fill))
            if number < 10:
                front = np.radians(np.linspace(sweep, 172, 4))
                rise = heights[-1] + np.linspace(0, 14 + 9 * (number - 5), 4)
                bridge = _along_wall(trunk, side, front, rise, outward_mm=4.0)
                bridge = np.column_stack([bridge, np.full(4, 5.5)])
                parts.append(Structure("cartilage", "cartilage", tube(bridge), bridge[:, :3], 10))
    middle = _along_wall(trunk, 1, np.radians([180.0, 180.0, 180.0]), np.array([78.0, 140.0, 230.0]), outward_mm=5.0)
    sternum = tube(np.column_stack([middle, [6, 9, 11]]))
    return [*parts, Structure("sternum", "marrow", sternum, middle, 14, fill=fill)]


def _along_wall(trunk: Trunk, side: int, angles, heights, outward_mm: float) -> np.ndarray:
    """Return points just outside the cavity's wall; the angle runs from the back (0) over the side to the front."""
    rows = []
    for angle, z in zip(angles, heights, strict=True):
        reach = np.linspace(20, 260, 241)
        x, y = side * np.sin(angle) * reach, 30 - np.cos(angle) * reach
        outside, _ = trunk.cavity(x.astype(np.float32), y.astype(np.float32), np.full(241, z))
        i = int(np.argmax(outside > outward_mm))
        rows.append((x[i], y[i], z))
    return np.array(rows)


def pelvis(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the sacrum, iliac wings, pubis, ischium and femurs."""
    fill = _bone("cortical_bone", patient.tissues_hu, 1.6)
    flare = rng.uniform(0.7, 1.4)
    tilt = rotation((0, 0.55, 1))
    sacrum = union(
        ellipsoid((0, -30, -172), (48, 17, 40), tilt), ellipsoid((0, -62, -225), (24, 10, 34), rotation((0, -0.1, 1)))
    )
    parts = [Structure("sacrum", "marrow", sacrum, np.array([[0, -40, -190]]), 85, fill=fill)]
    for side in (-1, 1):
        wing = np.array([[side * 44, -55, -150], [side * 135, 45, -115], [side * 80, 10, -240]])
        parts.append(Structure("wing", "marrow", _wing(side, flare), wing, 25, fill=fill))
        hip = (side * 92, 18, -246)
        pubis = [
            (side * 80, 36, -246, 13),
            (side * 45, 62, -256, 9),
            (side * 8, 62, -272, 10),
            (side * 45, 20, -315, 8),
        ]
        ischium = [(side * 84, -5, -250, 15), (side * 70, -25, -285, 13), (side * 58, -10, -315, 13)]
        points = np.array([[side * 8, -30, -320], [side * 92, 62, -230]])
        parts.append(
            Structure("pubis", "marrow", union(tube(np.array(pubis)), tube(np.array(ischium))), points, 16, fill=fill)
        )
        cup = _cup(hip)
        parts.append(Structure("acetabulum", "marrow", cup, np.array([hip]), 38, fill=fill))
        femur = [(*hip, 23), (side * 118, 2, -268, 17), (side * 138, -8, -280, 17), (side * 136, 4, -420, 15)]
        ends = np.array([hip, (side * 138, -8, -420)])
        parts.append(Structure("femur", "marrow", tube(np.array(femur)), ends, 26, fill=fill))
    return parts


def _wing(side: int, flare: float):
    """An iliac wing: a thin, slightly bent plate from the sacrum outward to the front, wider apart higher up."""

    def field(space):
        height = np.clip((space.z + 230) / 120, 0, 1.1)
        x, y = space.x * side - 88, space.y + 5
        along = 0.687 * x + 0.725 * y
        outward = 0.725 * x - 0.687 * y - np.float32(flare) * (16 * height - 14) - 7 * (1 - (along / 65) ** 2)
        shell = np.abs(outward) - (6.0 - 1.5 * height)
        crest = (space.z + 113) + np.maximum(np.abs(along + 8) - 12, 0) * 0.55
        ends = np.maximum(np.abs(along) - 66, -(space.z + 246))
        return soft_max(soft_max(shell, crest, 5.0), ends, 5.0)

    return field


def _cup(hip):
    """The acetabulum around the femoral head."""
    outer, inner = (
        ellipsoid(hip, (36, 34, 36)),
        ellipsoid((hip[0] + np.sign(hip[0]) * 9, hip[1], hip[2] - 5), (30, 29, 31)),
    )
    return lambda space: soft_max(outer(space), -inner(space), 3.0)


def muscles(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the paraspinal muscles, psoas, iliacus, quadratus lumborum and the crura."""
    bulk = (0.92 if patient.is_female else 1.05) * (1 + 0.1 * rng.standard_normal())
    fill = _marbled(patient.tissues_hu, rng.uniform(0, 1))
    parts = []
    for side in (-1, 1):
        back = [(side * 30, -66, 260, 20), (side * 32, -68, 140, 24), (side * 36, -58, 40, 31),
                (side * 38, -46, -30, 35), (side * 38, -40, -90, 35), (side * 32, -48, -150, 30),
                (side * 20, -66, -200, 14)]  # fmt: skip
        psoas = [(side * 24, 6, 6, 6), (side * 34, 10, -40, 14 * bulk), (side * 44, 14, -85, 21 * bulk),
                 (side * 54, 20, -130, 24 * bulk), (side * 66, 36, -185, 21 * bulk), (side * 84, 48, -240, 17),
                 (side * 100, 30, -285, 14)]  # fmt: skip
        iliacus = [(side * 92, 12, -125, 14), (side * 92, 22, -170, 19), (side * 82, 36, -215, 18)]
        square = [(side * 62, -40, 14, 9), (side * 72, -32, -45, 13), (side * 82, -28, -105, 14)]
        crus = [(side * 10, 22, 88, 6), (side * 19, 18, 55, 6.5), (side * 20, 16, 15, 6), (side * 14, 20, -35, 3.5)]
        for name, nodes in (
            ("paraspinal", back),
            ("psoas", psoas),
            ("iliacus", iliacus),
            ("quadratus", square),
            ("crus", crus),
        ):
            path = smooth_path(nodes, 2)
            parts.append(Structure(name, "muscle", tube(path), path[:, :3], path[:, 3].max() + 6, fill=fill))
    return parts


def _marbled(tissues: dict[str, float], amount: float):
    """Muscle with streaks of fat, more of them in some patients."""
    muscle, fat = np.float32(tissues["muscle"]), np.float32(tissues["fat"])

    def fill(space, distance):
        streak = np.clip(1 - np.abs(space.grain) / 0.22, 0, 1) * np.float32(0.12 + 0.35 * amount)
        return muscle + (fat - muscle) * streak

    return fill
