"""Lay the great vessels and their branches: targets (aorta, inferior vena cava) and bright distractors."""

from __future__ import annotations

import numpy as np

from flare_core.cases.cohort.patient import Patient
from flare_core.cases.cohort.shapes import Field, smooth_path, tube, union
from flare_core.cases.cohort.structure import Structure


def _jitter(rng: np.random.Generator, nodes, amount_mm: float) -> np.ndarray:
    """Move nodes (N, 3 or 4) by a centered random walk, so that neighbors move alike."""
    nodes = np.array(nodes, float)
    walk = np.cumsum(rng.standard_normal((len(nodes), 3)), axis=0) * amount_mm * 0.5
    nodes[:, :3] += walk - walk.mean(0)
    return nodes


def great_vessels(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return branches first, then the inferior vena cava, then the aorta.

    Abdominal aortic diameters follow Rogers et al. 2013, Am J Cardiol (Framingham, CT): infrarenal 19.3 mm in men and
    16.7 mm in women on average.
    """
    spread = patient.difficulty
    width = (16.7 if patient.is_female else 19.3) / 2 * np.exp(0.10 * rng.standard_normal() * spread)
    bend = 5 * rng.standard_normal() * spread
    aorta = _jitter(rng, [
        (18, 22, 205, 1.55 * width), (10, 20, 238, 1.5 * width), (-10, -2, 258, 1.45 * width),
        (-24, -18, 235, 1.4 * width), (-26, -16, 190, 1.35 * width), (-24, -8, 145, 1.32 * width),
        (-18, 4, 105, 1.28 * width), (-12, 18, 68, 1.22 * width), (-9, 28, 32, 1.15 * width),
        (-10 + 0.5 * bend, 34, -5, 1.07 * width), (-10 + bend, 42, -45, width),
        (-7 + 0.6 * bend, 46, -80, 0.97 * width), (-2, 46, -104, 0.95 * width)], 2.2 * spread)  # fmt: skip
    caval = 10.5 * np.exp(0.14 * rng.standard_normal() * spread)
    cava = _jitter(rng, [
        (8, 44, -112, caval), (17, 43, -85, caval), (20, 40, -45, caval), (21, 39, -8, 1.08 * caval),
        (23, 40, 25, 1.12 * caval), (25, 40, 60, 1.15 * caval), (22, 44, 90, 1.15 * caval),
        (20, 52, 116, 1.2 * caval)], 2.2 * spread)  # fmt: skip
    flat = float(np.clip(0.82 + 0.14 * rng.standard_normal() * spread, 0.5, 1.05))
    paths = {"aorta": smooth_path(aorta, 3), "cava": smooth_path(cava, 3)}
    parts = _branches(rng, patient, aorta, cava)
    parts.append(
        Structure("fat around cava", "fat", tube(paths["cava"][:13], flat), paths["cava"][:13, :3], 16, level=2.0)
    )
    parts.append(Structure("fat around aorta", "fat", tube(paths["aorta"]), paths["aorta"][:, :3], 20, level=2.0))
    parts.append(Structure("cava", "venous_blood", tube(paths["cava"], flat), paths["cava"][:, :3], 16, target=6))
    parts.append(
        Structure(
            "aorta",
            "arterial_blood",
            tube(paths["aorta"]),
            paths["aorta"][:, :3],
            20,
            target=5,
            fill=_calcified(rng, patient),
        )
    )
    return parts


def _calcified(rng: np.random.Generator, patient: Patient):
    """Blood with plaques on the wall of the elderly."""
    blood = np.float32(patient.tissues_hu["arterial_blood"])
    threshold = np.float32(rng.uniform(1.0, 4.5))

    def fill(space, distance):
        return np.where((space.grain + 0.5 * space.lumps > threshold) & (distance > -2.5), np.float32(600), blood)

    return fill


def _branches(rng: np.random.Generator, patient: Patient, aorta: np.ndarray, cava: np.ndarray) -> list[Structure]:
    """Iliac, renal, mesenteric, celiac, portal and splenic vessels."""
    split, join = aorta[-1, :3], cava[0, :3]
    arteries, veins = [], []
    for side in (-1, 1):
        arteries.append(
            [
                (*split, 6.5),
                (side * 26, 42, -135, 5.5),
                (side * 48, 34, -175, 5),
                (side * 72, 58, -240, 4.5),
                (side * 76, 66, -330, 4.5),
            ]
        )
        veins.append(
            [
                (*join, 8),
                (side * 26, 32, -140, 7),
                (side * 46, 24, -180, 6.5),
                (side * 66, 50, -240, 6),
                (side * 70, 58, -330, 5.5),
            ]
        )
        arteries.append([(-9, 36, -14, 4), (side * 30, 24, -22, 3), (side * 52, 8, -26, 3)])
    veins.append([(18, 40, -18, 5), (36, 24, -28, 4.5), (54, 6, -32, 4)])
    veins.append([(16, 42, -10, 5), (-10, 52, -12, 4), (-32, 28, -14, 4.5), (-54, 6, -18, 4)])
    arteries.append([(-9, 42, 4, 4), (-6, 58, -14, 4), (-4, 66, -60, 3.5), (4, 68, -110, 2.5)])
    arteries.append([(-9, 40, 16, 4), (-8, 58, 20, 3.5), (20, 62, 18, 2.5), (44, 60, 16, 2.5)])
    arteries.append([(-8, 58, 20, 3), (-50, 44, 22, 2.5), (-84, 18, 28, 2.5)])
    parts = [_small("veins", "venous_blood", veins), _small("arteries", "arterial_blood", arteries)]
    return parts


def portal_system(rng: np.random.Generator, patient: Patient) -> list[Structure]:
    """Return the portal, splenic and superior mesenteric veins and the mesenteric branches."""
    trunks = [
        [(6, 58, -14, 6), (20, 60, 4, 7), (38, 60, 18, 7), (60, 52, 30, 6)],
        [(6, 58, -14, 6), (-24, 50, -2, 4.8), (-56, 40, 8, 4.5), (-86, 14, 22, 4)],
        [(6, 58, -14, 5.5), (8, 66, -55, 5), (14, 70, -110, 4)],
    ]
    branches = []
    for _ in range(22):
        z = rng.uniform(-150, -40)
        angle = rng.uniform(-1.35, 1.35)
        reach = rng.uniform(45, 90)
        end = (8 + reach * np.sin(angle), 66 + rng.uniform(-16, 40), z - 25 * rng.random())
        middle = (8 + 0.5 * reach * np.sin(angle) + rng.normal(0, 6), 68 + rng.uniform(-5, 20), z + 18)
        branches.append([(8, 67, max(z + 30, -100), 2.4), (*middle, 2.0), (*end, 1.6)])
    return [_small("mesenteric", "portal_blood", branches), _small("portal", "portal_blood", trunks)]


def hepatic_vessels(rng: np.random.Generator) -> tuple[Field, np.ndarray]:
    """Return the hepatic and portal veins inside the liver as one shape and its nodes."""
    trees = [
        [(24, 46, 88, 6), (62, 30, 66, 4.5), (98, 10, 30, 3)],
        [(22, 48, 88, 5.5), (42, 74, 62, 4.5), (62, 92, 24, 3)],
        [(20, 50, 88, 5), (-10, 74, 72, 4), (-40, 92, 52, 2.5)],
        [(40, 60, 18, 6.5), (64, 48, 28, 5), (96, 34, 44, 3.5), (116, 26, 62, 2.5)],
        [(64, 48, 28, 5), (92, 26, 6, 3.5), (108, 24, -22, 2.5)],
        [(44, 62, 22, 5.5), (18, 84, 36, 4), (-20, 98, 44, 2.8)],
    ]
    paths = [smooth_path(_jitter(rng, tree, 6.0), 2) for tree in trees]
    return union(*(tube(path) for path in paths)), np.vstack([path[:, :3] for path in paths])


def _small(name: str, tissue: str, trees) -> Structure:
    """Unite thin vessels into one structure."""
    paths = [smooth_path(tree, 2) for tree in trees]
    return Structure(
        name, tissue, union(*(tube(path) for path in paths)), np.vstack([path[:, :3] for path in paths]), 9
    )
