"""Colors: targets and series stay apart for everyone; figures, viewers and files take the targets' from one place."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from flare_core.cases.labels import ORGAN_NAMES
from flare_core.evaluation.style import COLORS, FAINT, SERIES, SHORT_TITLES
from flare_core.paths import ROOT

NEIGHBORS = (
    "liver gallbladder, liver right_kidney, liver stomach, liver inferior_vena_cava, liver duodenum, liver "
    "pancreas, liver right_adrenal_gland, liver esophagus, stomach spleen, stomach pancreas, stomach duodenum, "
    "stomach esophagus, stomach left_kidney, pancreas duodenum, pancreas spleen, pancreas left_kidney, pancreas "
    "inferior_vena_cava, pancreas aorta, pancreas left_adrenal_gland, spleen left_kidney, spleen "
    "left_adrenal_gland, aorta inferior_vena_cava, aorta esophagus, aorta left_adrenal_gland, aorta duodenum, "
    "aorta left_kidney, left_adrenal_gland left_kidney, right_adrenal_gland inferior_vena_cava, "
    "right_adrenal_gland right_kidney, gallbladder duodenum, gallbladder right_kidney, duodenum "
    "inferior_vena_cava, duodenum right_kidney, inferior_vena_cava right_kidney, left_kidney right_kidney, "
    "left_adrenal_gland right_adrenal_gland"
)
# How those without a kind of cone see linear sRGB (Machado, Oliveira and Fernandes 2009, severity 1).
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
RARE = "tritanopia"  # one in tens of thousands: fourteen targets were not chosen for it, seven series are


def oklab(linear: np.ndarray) -> np.ndarray:
    """Return perceptually even coordinates (Ottosson 2020), lightness from 0 to 100."""
    cones = linear @ np.transpose([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    mixed = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return 100 * np.cbrt(np.clip(cones, 0, None)) @ np.transpose(mixed)


def distances(colors: Mapping[str, str], vision: str) -> dict[tuple[str, str], float]:
    """Return how far apart all pairs of named colors are seen."""
    encoded = np.array([to_rgb(color) for color in colors.values()])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    seen = dict(zip(colors, oklab(np.clip(linear @ np.transpose(VISION[vision]), 0, 1)), strict=True))
    return {(one, other): np.linalg.norm(seen[one] - seen[other]) for one, other in combinations(colors, 2)}


@pytest.mark.parametrize("vision", [name for name in VISION if name != RARE])
def test_targets_have_colors_that_everyone_can_tell_apart(vision):
    apart = distances(COLORS, vision)
    assert min(apart.values()) > 10, min(apart, key=apart.get)  # 2 is about the smallest difference that is seen
    neighbors = {tuple(pair.split()) for pair in NEIGHBORS.split(", ")} | {(name, "tumor") for name in ORGAN_NAMES}
    touching = {pair: apart[pair] for pair in apart if {pair, pair[::-1]} & neighbors}
    assert len(touching) == len(neighbors)
    assert min(touching.values()) > 11.5, min(touching, key=touching.get)


@pytest.mark.parametrize("vision", VISION)
def test_series_have_colors_that_everyone_can_tell_apart_from_each_other_and_from_the_rest_of_a_bar(vision):
    apart = distances({color: color for color in (*SERIES, FAINT)}, vision)
    assert min(apart.values()) > 12, min(apart, key=apart.get)


def test_every_target_has_a_color_and_a_short_title_of_its_own():
    assert len(set(COLORS.values())) == len(set(SHORT_TITLES.values())) == 14


def test_the_colors_are_written_down_in_one_place():
    kinds = {".py", ".md", ".ipynb", ".css", ".html", ".js", ".yaml"}
    folders = [ROOT / name for name in ("flare_core", "notebooks", "docs", "data/published", "benchmarks")]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in kinds]
    found = {file.name for file in files if any(color in file.read_text().lower() for color in COLORS.values())}
    assert found == {"labels.py"}
