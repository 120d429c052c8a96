"""Draw a patient: build, organ volumes, tissue densities. First step of the cohort; nothing here knows of voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PHASES = ("unenhanced", "arterial", "portal", "delayed")

VOLUMES_ML = {
    "liver": (1640, 310, 950, 2500),
    "spleen": (215, 65, 107, 400),
    "right_kidney": (166, 33, 95, 270),
    "left_kidney": (174, 34, 95, 280),
    "pancreas": (78, 21, 38, 139),
    "gallbladder": (27, 10, 11, 51),
    "stomach": (340, 150, 110, 750),
    "duodenum": (80, 20, 45, 130),
    "right_adrenal_gland": (4.26, 0.86, 2.59, 6.56),
    "left_adrenal_gland": (4.23, 0.74, 2.85, 5.83),
}
"""Mean, standard deviation, lowest and highest volume of an adult's organs, ml.

Liver: 1267 ml/m2 of body surface less 794 ml (Vauthey et al. 2002, Liver Transpl 8:233), so about 1000 to 2250 ml for
    1.4 to 2.4 m2; 594 to 2250 ml were measured in 369 Chinese adults (World J Gastroenterol 2017, 23:4968). Ours lie
    in the upper part of that, with room for the heavy.
Spleen: 214.6 ml, 107.2 to 314.5 (Prassopoulos et al. 1997, Eur Radiol 7:246); 198 +- 88 ml (Caglar et al. 2014, Folia
    Morphol).
Kidney: 177 +- 34 ml in men, 146 +- 28 in women (Kwon et al. 2008, Korean J Nephrol 27:659); 202 +- 36 and 154 +- 33
    (Cheong et al. 2007, Clin J Am Soc Nephrol 2:38).
Pancreas: 77.9 +- 21.7 ml, 18.8 to 139.8 (Abdom Radiol 2019, 44:958); 72.4 +- 25.8 (Saisho et al. 2007, Clin Anat
    20:933).
Gallbladder: 24.2 +- 8.4 ml, 11.1 to 50.9, fasting (Idris et al. 2016, Niger J Basic Clin Sci 13:23).
Adrenal glands: right 4.26 +- 0.86 ml, 2.59 to 6.56, left 4.23 +- 0.74, 2.85 to 5.83 (Wang et al. 2012, Chin Med Sci J
    27:220).
Stomach, duodenum: [ours]; what fills them decides, and patients are not scanned fasting only.
"""

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
"""HU of each tissue unenhanced, arterial, portal venous and delayed, and the standard deviation between patients [ours,
textbook values; the spread is wide on purpose, so that a network cannot rely on absolute numbers]."""

BLOOD = ("arterial_blood", "venous_blood", "portal_blood", "heart")


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
    difficulty: float


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
    """Draw each organ's volume in ml, larger in larger people, inside the published adult ranges.

    Args:
        stature: relative to the canonical adult, 0.98 on average.
        visceral: 0 to 1, see `Patient`.
        difficulty: see `Patient`.
    """
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
        for name in BLOOD:
            tissues[name] = blood + rng.standard_normal()
    return tissues
