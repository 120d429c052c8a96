"""Draw a patient: build, organ volumes, tissue densities. First step of the cohort; nothing here knows of voxels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PHASES = ("unenhanced", "arterial", "portal", "delayed")

# name: (mean, standard deviation, lowest, highest) in ml
VOLUMES_ML = {
    "liver": (1640, 310, 950, 2500),
    "spleen": (220, 75, 107, 400),
    "right_kidney": (170, 33, 105, 270),
    "left_kidney": (178, 34, 105, 280),
    "pancreas": (78, 20, 42, 130),
    "gallbladder": (33, 14, 10, 75),
    "stomach": (340, 150, 110, 750),
    "duodenum": (80, 20, 45, 130),
    "right_adrenal_gland": (4.2, 1.0, 2.4, 7.0),
    "left_adrenal_gland": (4.8, 1.1, 2.6, 8.0),
}

# tissue: HU (unenhanced, arterial, portal venous, delayed), standard deviation between patients
TISSUES_HU = {
    "liver": ((57, 68, 108, 92), 8),
    "spleen": ((47, 105, 120, 95), 7),
    "cortex": ((32, 150, 165, 140), 9),
    "medulla": ((29, 60, 150, 140), 8),
    "pancreas": ((40, 92, 92, 75), 10),
    "arterial_blood": ((42, 270, 150, 115), 7),
    "venous_blood": ((42, 85, 140, 115), 7),
    "portal_blood": ((42, 120, 160, 118), 7),
    "adrenal": ((18, 50, 62, 48), 12),
    "bile": ((9, 9, 9, 9), 6),
    "esophagus": ((36, 48, 58, 52), 7),
    "gastric_wall": ((38, 62, 78, 66), 8),
    "bowel_wall": ((38, 66, 82, 68), 8),
    "muscle": ((52, 55, 62, 62), 7),
    "fat": ((-104, -104, -103, -103), 7),
    "lung": ((-840, -835, -830, -830), 35),
    "heart": ((41, 210, 140, 112), 8),
    "marrow": ((165, 170, 180, 175), 50),
    "cortical_bone": ((430, 430, 430, 430), 80),
    "disc": ((75, 75, 80, 80), 12),
    "cartilage": ((105, 105, 110, 110), 25),
    "urine": ((6, 6, 8, 60), 6),
    "skin": ((10, 12, 18, 18), 12),
}
FEW_BLOOD = ("arterial_blood", "venous_blood", "portal_blood", "heart")


@dataclass(frozen=True, eq=False)
class Patient:
    """A drawn person.

    Attributes:
        is_female: sex, which shifts sizes and pelvis.
        scale: size along x, y, z relative to the canonical adult.
        subcutaneous_mm: fat under the skin in front, at the sides, at the back.
        visceral: 0 (lean) to 1 (much fat in the cavity).
        volumes_ml: complete volume of each organ; an organ that was removed is absent.
        tissues_hu: density of each tissue in this scan's phase.
        phase: contrast phase.
        difficulty: spread of shapes, noise and contrast; 1 is the cohort's own.
    """

    is_female: bool
    scale: np.ndarray
    subcutaneous_mm: tuple[float, float, float]
    visceral: float
    volumes_ml: dict[str, float]
    tissues_hu: dict[str, float]
    phase: str
    difficulty: float = 1.0
    extras: dict = field(default_factory=dict)


def draw_patient(rng: np.random.Generator, phase: str, difficulty: float) -> Patient:
    """Draw one patient scanned in one contrast phase."""
    is_female = bool(rng.random() < 0.45)
    stature = (0.96 if is_female else 1.0) + 0.035 * rng.standard_normal() * difficulty
    fatness = float(np.clip(rng.beta(2.2, 2.3), 0.02, 0.98))
    visceral = float(np.clip(fatness + 0.18 * rng.standard_normal() - (0.1 if is_female else 0.0), 0, 1))
    breadth = stature * (0.97 + 0.06 * visceral) + 0.03 * rng.standard_normal() * difficulty
    depth = stature * (0.93 + 0.14 * visceral) + 0.04 * rng.standard_normal() * difficulty
    scale = np.clip(np.array([breadth, depth, stature]), 0.8, 1.22)
    spread = np.exp(0.25 * rng.standard_normal(3))
    front, side, back = (4 + 34 * fatness, 4 + 24 * fatness, 5 + 28 * fatness) * spread
    volumes = draw_volumes(rng, stature, visceral, difficulty)
    tissues = draw_tissues(rng, phase, difficulty)
    return Patient(is_female, scale, (front, side, back), visceral, volumes, tissues, phase, difficulty)


def draw_volumes(rng: np.random.Generator, stature: float, visceral: float, difficulty: float) -> dict[str, float]:
    """Draw each organ's volume in ml, larger in larger people, inside the published adult ranges."""
    size = 0.5 * (stature - 0.98) / 0.04
    volumes = {}
    for name, (mean, deviation, low, high) in VOLUMES_ML.items():
        share = 0.45 * size + 0.85 * rng.standard_normal()
        share += (1.8 if name == "liver" else 0.7) * (visceral - 0.5)  # the liver grows with body surface: Vauthey 2002
        volumes[name] = float(np.clip(mean + deviation * share * difficulty**0.5, low * 1.03, high * 0.97))
    return volumes


def draw_tissues(rng: np.random.Generator, phase: str, difficulty: float) -> dict[str, float]:
    """Draw each tissue's HU in one contrast phase."""
    column = PHASES.index(phase)
    scanner = 5.0 * rng.standard_normal() * difficulty
    dose = 1.0 if column == 0 else float(np.clip(1 + 0.22 * rng.standard_normal() * difficulty, 0.55, 1.6))
    tissues = {}
    for name, (means, deviation) in TISSUES_HU.items():
        uptake = (means[column] - means[0]) * dose
        tissues[name] = means[0] + uptake + deviation * rng.standard_normal() * difficulty + scanner
    if rng.random() < 0.25:
        tissues["liver"] -= rng.uniform(10, 45)
    if rng.random() < 0.5:
        tissues["pancreas"] -= rng.uniform(5, 40)
    if column == 0:
        blood = 41 + 5 * rng.standard_normal() + scanner
        for name in FEW_BLOOD:
            tissues[name] = blood + rng.standard_normal()
    return tissues
